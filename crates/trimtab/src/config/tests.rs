//! The mistakes that people make, and what they hear.

use super::*;
use proptest::prelude::*;

const GOOD: &str = "workloads:
  - target: shop/deployment/checkout
    replicas: { min: 3, max: 50 }
    demand: { query: 'sum(rate(http_requests_total[1m]))' }
    capacity: { rate: 50 }
    slo: { query: 'histogram_quantile(0.99, x)', target: 200ms, misses: 0.5% }
    protect: [{ name: postgres, query: 'up', limit: 250ms }]
    stabilization: 5m
    mode: own
";

fn apply(text: &[u8], namespace: Option<&str>) -> Applied {
    let check = |promql: &str| if promql.contains("rate(sum") { vec!["rate of a sum".to_owned()] } else { Vec::new() };
    Policies::default().apply(&Document { name: "policy.yaml", namespace, text }, &check)
}

/// What is said of the good document with `from` exchanged for `to`.
fn said(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    apply(GOOD.replacen(from, to, 1).as_bytes(), None).rejected.unwrap_or_else(|| "accepted".into())
}

#[test]
fn a_good_document_is_read_in_full() {
    let mut policies = Policies::default();
    let document = Document { name: "policy.yaml", namespace: Some("shop"), text: GOOD.as_bytes() };
    assert_eq!(policies.apply(&document, &|_| Vec::new()), Applied { warnings: vec![], rejected: None });
    let workload = policies.workloads().values().next().unwrap();
    assert_eq!(workload.target.to_string(), "shop/deployment/checkout");
    assert_eq!((workload.policy.replicas.min(), workload.policy.replicas.max()), (Replicas(3), Replicas(50)));
    assert_eq!(workload.policy.objective.latency, Seconds::new(0.2).unwrap());
    assert_eq!(workload.policy.objective.misses, Ratio::permille(5));
    assert_eq!(workload.policy.protect[0].limit, Level::new(0.25).unwrap());
    assert_eq!((workload.policy.stabilization, workload.mode), (Seconds::whole(300), Some(Mode::Own)));
    assert_eq!(workload.origin.to_string(), "policy.yaml:2");
}

#[test]
fn what_is_left_out_has_its_default() {
    let short = "workloads:\n- target: shop/web\n  replicas: {min: 1, max: 2}\n  demand: {query: x}\n  capacity: {query: z}\n  slo: {target: 1s}\n";
    let parsed = parse(&Document { name: "p", namespace: None, text: short.as_bytes() }, &|_| Vec::new());
    assert_eq!(parsed.problems, vec![]);
    let workload = &parsed.workloads[0];
    assert_eq!((workload.policy.stabilization, workload.mode), (STABILIZATION, None));
    assert_eq!(workload.queries.counted_at, CountedAt::Pods);
    assert_eq!((workload.policy.objective.misses, workload.policy.capacity), (MISSES, Capacity::Measured));
}

/// What is said of each mistake, under the mistake.
fn said_of_each(mistakes: &[(&str, &str)]) -> String {
    let one = |(from, to): &(&str, &str)| format!("# {from:?} -> {to:?}\n{}\n", said(from, to));
    mistakes.iter().map(one).collect::<Vec<String>>().join("\n")
}

#[test]
fn each_mistake_is_named_with_its_place_and_its_cure() {
    let mistakes = [
        ("target: shop/deployment/checkout", "target: checkout"),
        ("shop/deployment/checkout", "Shop/deployment/checkout"),
        ("shop/deployment/checkout", "shop/pod/checkout"),
        ("  - target: shop/deployment/checkout\n    replicas", "  - replicas"),
        ("min: 3, max: 50", "min: 50, max: 3"),
        ("min: 3, max: 50", "min: 0, max: 50"),
        ("min: 3, max: 50", "min: three, max: 50"),
        ("min: 3, max: 50", "min: 3"),
        ("    replicas: { min: 3, max: 50 }\n", "    replcas: { min: 3, max: 50 }\n"),
        ("target: 200ms, misses", "target_p99: 200ms, misses"),
        ("target: 200ms", "target: -200ms"),
        ("target: 200ms", "target: 200"),
        ("target: 200ms", "target: 3 days"),
        ("misses: 0.5%", "misses: 0"),
        ("misses: 0.5%", "misses: 99%"),
        ("capacity: { rate: 50 }", "capacity: { rate: 50, query: 'x' }"),
        ("capacity: { rate: 50 }", "capacity: {}"),
        ("capacity: { rate: 50 }", "capacity: 50"),
        ("rate: 50", "rate: .nan"),
        ("query: 'sum(rate(http_requests_total[1m]))'", "query: ''"),
        ("limit: 250ms", "limit: fast"),
        ("protect: [{ name: postgres, query: 'up', limit: 250ms }]", "protect: postgres"),
        ("stabilization: 5m", "stabilization: 5"),
        ("stabilization: 5m", "stabilization: 48h"),
        ("mode: own", "mode: ceiling"),
        ("mode: own", "mode: enforce"),
        ("mode: own", "method: guess"),
        ("[1m]))' }", "[1m]))', counted_at: ingress }"),
        ("workloads:", "workload:"),
        ("    replicas: {", "    replicas: {{"),
        ("    mode: own", "   mode: own"),
    ];
    insta::assert_snapshot!(said_of_each(&mistakes));
}

/// What is said of the good document with what a policy may say of its future, and `from` in that exchanged for `to`.
fn said_of_the_future(mistakes: &[(&str, &str)]) -> String {
    let one = |(from, to): &(&str, &str)| {
        assert!(FUTURE.contains(from), "{from}");
        let said = apply(format!("{GOOD}{}", FUTURE.replacen(from, to, 1)).as_bytes(), None).rejected;
        format!("# {from:?} -> {to:?}\n{}\n", said.unwrap_or_else(|| "accepted".into()))
    };
    mistakes.iter().map(one).collect::<Vec<String>>().join("\n")
}

const FUTURE: &str = "    utilization: { query: 'avg(busy)' }
    forecast:
      - { ahead: 1m, query: 'model offset -1m' }
      - { ahead: 5m, query: 'model offset -5m' }
    events:
      - { from: 2026-12-24T18:00:00+01:00, until: 2026-12-24T22:00:00+01:00, rate: 900 }
      - { from: \"2026-12-31T22:30:00Z\", until: 2027-01-01T01:00:00Z, rate: 1500.5 }
    ramp: 4
";

#[test]
fn the_published_gate_is_a_method_of_any_workload_with_a_promise() {
    let parsed = |text: &str| parse(&Document { name: "p", namespace: None, text: text.as_bytes() }, &|_| Vec::new());
    let method = |text: &str| parsed(text).workloads.first().map(|workload| workload.policy.method);
    assert_eq!(method(GOOD), Some(Method::Priced));
    assert_eq!(method(&format!("{GOOD}    method: priced\n")), Some(Method::Priced));
    let gate = format!("{GOOD}    method: gate\n");
    assert_eq!(method(&gate), Some(Method::Gate));
    let none = parsed(
        "workloads:\n- { target: a/deployment/b, replicas: { min: 1, max: 2 }, demand: { query: 'x' }, capacity: { rate: 1 }, slo: none, method: gate }\n",
    );
    let codes: Vec<&str> = none.problems.iter().map(|problem| problem.code).collect();
    assert_eq!((none.workloads, codes), (vec![], vec!["TT-C18"]));
}

#[test]
fn what_is_known_of_the_future_is_read() {
    let text = format!("{}{FUTURE}", GOOD.replace("misses: 0.5%", "window: 1m"));
    let parsed = parse(&Document { name: "p", namespace: None, text: text.as_bytes() }, &|_| Vec::new());
    assert_eq!(parsed.problems, vec![]);
    let Workload { policy, queries, .. } = &parsed.workloads[0];
    assert_eq!((policy.ramp, policy.objective.window), (Some(Replicas(4)), Seconds::whole(60)));
    assert_eq!(queries.utilization.as_deref(), Some("avg(busy)"));
    let ahead: Vec<_> = queries.forecast.iter().map(|(ahead, query)| (ahead.as_secs(), query.as_str())).collect();
    assert_eq!(ahead, [(60, "model offset -1m"), (300, "model offset -5m")]);
    let events: Vec<_> = policy.events.iter().map(|it| (it.from.0 / 1000, it.until.0 / 1000, it.rate.get())).collect();
    assert_eq!(events, [(1_798_131_600, 1_798_146_000, 900.0), (1_798_756_200, 1_798_765_200, 1500.5)]);
}

#[test]
fn each_mistake_about_the_future_is_named_with_its_place_and_its_cure() {
    let mistakes = [
        ("{ query: 'avg(busy)' }", "'avg(busy)'"),
        ("{ query: 'avg(busy)' }", "{}"),
        ("ahead: 1m", "ahead: 2h"),
        ("ahead: 1m", "ahead: 60"),
        ("ahead: 1m", "ahead: 5m"),
        ("ahead: 1m, ", ""),
        ("query: 'model offset -1m'", "file: forecast.csv"),
        ("from: 2026-12-24T18:00:00+01:00", "from: 2026-12-24 18:00"),
        ("from: 2026-12-24T18:00:00+01:00", "from: 1798131600"),
        ("until: 2026-12-24T22:00:00+01:00", "until: 2026-12-24T22:00:00+09:00"),
        (", rate: 900", ""),
        ("rate: 900", "rate: 0"),
        ("ramp: 4", "ramp: 0"),
        ("ramp: 4", "ramp: 2.5"),
        ("ramp: 4", "ramp: none"),
    ];
    insta::assert_snapshot!(said_of_the_future(&mistakes));
    let many = "{ from: 2026-12-24T18:00:00Z, until: 2026-12-24T19:00:00Z, rate: 1 }, ".repeat(101);
    let many = apply(format!("{GOOD}    events: [{many}]\n").as_bytes(), None).rejected.unwrap();
    assert!(many.contains("`events` has 101 entries") && many.contains("at most 100"), "{many}");
    for window in ["5s", "1h", "30", "soon"] {
        let said = said("misses: 0.5%", &format!("window: {window}"));
        assert!(said.contains("TT-C06") && said.contains("10s to 10m"), "{said}");
    }
}

#[test]
fn mistakes_of_yaml_and_of_templates_are_named_too() {
    let mistakes = [
        ("    mode: own\n", "    mode: own\n---\nworkloads: []\n"),
        ("    mode: own\n", "    mode: own\n    slo: { target: 1s }\n"),
        ("    mode: own\n", "    mode: own\n  - target: shop/checkout\n    replicas: {}\n"),
        ("    mode: own", "\tmode: own"),
        ("min: 3", "min: {{ .Values.min }}"),
        ("min: 3", "min: \"3\""),
        ("min: 3", "min: 1e300"),
        ("    replicas: {", "    replicas: !!binary {"),
        ("mode: own", "mode:"),
        ("mode: own", "prometheus: infra/eu"),
        ("query: 'up'", "query: y"),
        ("query: 'up'", "query: 5"),
        ("query: 'up'", "query: *up"),
        ("limit: 250ms }", "limit: 250ms }, { name: postgres, query: up, limit: 0 }"),
        ("name: postgres", "name: \"post\\e[31mgres\\n\""),
        (
            "postgres, query: 'up', limit: 250ms",
            "postgres, query: 'max(pg_stat_activity_count{namespace=\"shop\", state=\"active\"})', limit: 250ms, burst: 2",
        ),
        ("workloads:\n", "- workloads:\n"),
    ];
    insta::assert_snapshot!(said_of_each(&mistakes));
}

#[test]
fn what_is_probably_not_meant_is_a_warning_and_no_more() {
    for (text, warned) in [
        ("", "TT-C20"),
        ("# all gone\n", "TT-C20"),
        ("workloads:\n", "TT-C20"),
        ("workloads: []\n", "TT-C20"),
        (&GOOD.replace("deployment", "rollout.argoproj.io"), "did you mean `rollouts.argoproj.io`?"),
        (&GOOD.replace("sum(rate(", "rate(sum("), "(workloads[0].demand.query)"),
    ] {
        let applied = apply(text.as_bytes(), None);
        assert_eq!(applied.rejected, None, "{text}");
        assert!(applied.warnings.len() == 1 && applied.warnings[0].contains(warned), "{:?}", applied.warnings);
    }
    assert_eq!(apply(format!("\u{feff}{}", GOOD.replace('\n', "\r\n")).as_bytes(), None).rejected, None);
}

#[test]
fn all_problems_are_said_at_once() {
    let text =
        GOOD.replace("min: 3", "min: 0").replace("target: 200ms", "target: 0s").replace("mode: own", "mode: ceiling");
    let said = apply(text.as_bytes(), None).rejected.unwrap();
    assert!(said.contains("3 problems in policy.yaml; nothing of it was applied"), "{said}");
    for place in ["policy.yaml:3:", "policy.yaml:6:", "policy.yaml:9:"] {
        assert!(said.contains(place), "{place}: {said}");
    }
}

#[test]
fn a_configmap_may_only_name_its_own_namespace() {
    let said = apply(GOOD.as_bytes(), Some("pay")).rejected.unwrap();
    assert!(said.contains("TT-C09") && said.contains("namespace pay"), "{said}");
}

#[test]
fn a_workload_that_two_documents_name_is_in_force_by_none() {
    let mut policies = Policies::default();
    for name in ["a.yaml", "b.yaml"] {
        policies.apply(&Document { name, namespace: None, text: GOOD.as_bytes() }, &|_| Vec::new());
    }
    assert!(policies.workloads().is_empty());
    let conflict = policies.conflicts().values().next().unwrap();
    assert!(conflict.contains("a.yaml:2 and b.yaml:2"), "{conflict}");
    policies.remove("b.yaml");
    assert_eq!(policies.workloads().len(), 1);
}

#[test]
fn a_wrong_version_leaves_the_last_good_one_in_force() {
    let mut policies = Policies::default();
    let mut apply = |text: &str| {
        let applied = policies.apply(&Document { name: "p", namespace: None, text: text.as_bytes() }, &|_| Vec::new());
        (applied.rejected.is_some(), policies.workloads().len())
    };
    assert_eq!(apply(GOOD), (false, 1));
    assert_eq!(apply("workloads: [{}]"), (true, 1));
    assert_eq!(apply("workloads: []"), (false, 0));
}

#[test]
fn a_bomb_is_refused_by_name() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (letter, before) in ('b'..='i').zip('a'..='h') {
        let list = vec![format!("*{before}"); 7].join(", ");
        bomb = format!("{bomb}{letter}: &{letter} [{list}]\n");
    }
    bomb.push_str("workloads: *i\n");
    let flood = format!("x: &x [{}]\nworkloads: [{}]\n", "1,".repeat(3_000), "*x,".repeat(3_000));
    for text in [bomb, flood] {
        let said = apply(text.as_bytes(), None).rejected.unwrap();
        assert!(said.contains("too many values"), "{said}");
    }
    assert!(apply(&vec![b' '; LONGEST_FILE + 1], None).rejected.unwrap().contains("1048577 bytes"));
    assert!(apply(&vec![b' '; LONGEST_MAP + 1], Some("shop")).rejected.unwrap().contains("65537 bytes"));
    assert!(apply(b"workloads:\n\xff\xfe", None).rejected.unwrap().contains("policy.yaml:2:1"));
}

#[test]
fn no_depth_costs_more_stack_than_a_thread_has() {
    // Half of what a thread has by default. A thread that runs out of it ends the process, and with it this test.
    let deep = |depth: usize| {
        let block = (0..depth).map(|level| " ".repeat(level) + "a:\n").collect::<String>();
        [
            block,
            "{a: ".repeat(depth) + "1" + &"}".repeat(depth),
            "[".repeat(depth) + &"]".repeat(depth),
            "- ".repeat(depth),
        ]
    };
    let reading = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for depth in [5, 11, 12, 13, 50, 200, 300] {
            for text in deep(depth) {
                assert!(apply(text.as_bytes(), None).rejected.is_some(), "{depth} levels");
            }
        }
        apply("[".repeat(60_000).as_bytes(), None).rejected.unwrap()
    });
    assert!(reading.unwrap().join().unwrap().contains("nested too deeply"));
}

#[test]
fn thousands_of_problems_make_no_thousands_of_lines() {
    let said = apply(format!("workloads:\n{}", "- {}\n".repeat(999)).as_bytes(), None).rejected.unwrap();
    assert!(
        said.contains("4995 problems in policy.yaml; the first 50 are shown") && said.len() < 10_000,
        "{}",
        said.len()
    );
}

/// The object schemas of the published schema by the path at which a policy has them.
fn objects_of_the_schema() -> Vec<(&'static str, serde_json::Value)> {
    let root: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let of = |name: &str| root["$defs"][name].clone();
    vec![
        ("workloads[0]", of("Workload")),
        ("workloads[0].replicas", of("Replicas")),
        ("workloads[0].demand", of("Demand")),
        ("workloads[0].slo", of("Slo")),
        ("workloads[0].protect[0]", of("Protection")),
        ("workloads[0].utilization", of("Utilization")),
        ("workloads[0].forecast[0]", of("Forecast")),
        ("workloads[0].events[0]", of("Event")),
    ]
}

#[test]
fn the_schema_has_the_fields_that_are_read_and_requires_those_that_are_required() {
    let good: serde_json::Value = serde_saphyr::from_str(&format!("{GOOD}{FUTURE}")).unwrap();
    for (path, object) in objects_of_the_schema() {
        let pointer = format!("/{}", path.replace("[0]", "/0").replace('.', "/"));
        let verdict = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
            let mut document = good.clone();
            change(document.pointer_mut(&pointer).unwrap().as_object_mut().unwrap());
            apply(document.to_string().as_bytes(), None).rejected.unwrap_or_default()
        };
        // The reader says which fields it knows when it meets one that it does not know.
        let said = verdict(&|fields| drop(fields.insert("qqqqqqqqqq".into(), 1.into())));
        let known = said.split("expected one of: ").nth(1).unwrap().lines().next().unwrap();
        let mut known: Vec<&str> = known.split(", ").collect();
        known.sort_unstable();
        let properties: Vec<&String> = object["properties"].as_object().unwrap().keys().collect();
        assert_eq!(properties, known, "{path}");
        assert_eq!(object["additionalProperties"], false, "{path}");
        for field in known {
            let refused = verdict(&|fields| drop(fields.remove(field))).contains("TT-C04");
            let required = object["required"].as_array().unwrap().iter().any(|name| name == field);
            assert_eq!(refused, required, "{path}.{field}");
        }
    }
}

#[test]
fn every_code_is_documented_and_every_documented_code_exists() {
    let codes = |text: &str| -> std::collections::BTreeSet<String> {
        text.match_indices("TT-C").map(|(at, _)| text[at..].chars().take(6).collect()).collect()
    };
    let sources =
        [include_str!("mod.rs"), include_str!("walk.rs"), include_str!("node.rs"), include_str!("coming.rs")].concat();
    let documentation = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md")).unwrap();
    assert_eq!(codes(&sources), codes(&documentation));
}

#[test]
fn the_published_schema_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.schema.json");
    let published = std::fs::read_to_string(path).unwrap();
    assert_eq!(published.trim(), schema().trim(), "write it anew: trimtab schema > docs/policy.schema.json");
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks.into_iter().filter(|block| block.starts_with("workloads:")) {
        assert_eq!(apply(block.as_bytes(), None).rejected, None, "{block}");
    }
}

/// Pieces that documents are made of, so that random texts get past the first bracket.
const PIECES: [&str; 32] = [
    "workloads:",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "target: ",
    "shop/web",
    "replicas: ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "min: ",
    "max: ",
    "3",
    "-1",
    "1e999",
    ".nan",
    "slo: ",
    "query: ",
    "'sum(x)'",
    "200ms",
    "0.5%",
    "&a ",
    "*a",
    "<<: ",
    "\t",
    "\"\\e[2J\\n",
    "\"",
    "---\n",
    "\u{202e}",
];

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        sound(&bytes)?;
    }

    #[test]
    fn nothing_that_is_made_of_the_right_pieces_makes_it_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60),
    ) {
        sound(pieces.concat().as_bytes())?;
    }

    #[test]
    fn no_mutation_of_a_good_document_makes_it_panic(at in 0..GOOD.len(), letter in any::<char>(), cut in 0_usize..40) {
        let mut text: Vec<char> = GOOD.chars().collect();
        let at = at.min(text.len() - 1);
        text[at] = letter;
        text.drain(at..(at + cut).min(text.len()));
        sound(text.iter().collect::<String>().as_bytes())?;
    }
}

/// What holds whatever the document is: it gives workloads or problems, and nothing of it acts on who reads about it.
fn sound(text: &[u8]) -> Result<(), TestCaseError> {
    let parsed = parse(&Document { name: "policy.yaml", namespace: None, text }, &|_| Vec::new());
    prop_assert!(parsed.problems.is_empty() || parsed.workloads.is_empty());
    for workload in &parsed.workloads {
        prop_assert!(workload.policy.objective.latency.get() > 0.0 && workload.policy.objective.misses.get() > 0.0);
        prop_assert_eq!(workload.target.to_string().parse::<Target>(), Ok(workload.target.clone()));
        prop_assert_eq!(workload.policy.protect.len(), workload.queries.protect.len());
    }
    let applied = apply(text, None);
    for said in applied.warnings.iter().chain(&applied.rejected) {
        prop_assert!(said.contains("policy.yaml"), "{}", said);
        let acts = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        prop_assert!(!said.contains(acts), "{:?}", said);
        // Nothing that a document holds begins a line of its own: each begins as the layout has it.
        let ours = |line: &str| {
            ["error[", "warning[", " "].iter().any(|start| line.starts_with(start))
                || line.starts_with(|first: char| first.is_ascii_digit())
        };
        prop_assert!(said.lines().all(ours), "{}", said);
    }
    Ok(())
}
