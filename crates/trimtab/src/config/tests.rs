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
    assert_eq!((workload.policy.objective.misses, workload.policy.capacity), (MISSES, Capacity::Measured));
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
        ("mode: own", "mode: floor"),
        ("mode: own", "mode: enforce"),
        ("workloads:", "workload:"),
        ("    replicas: {", "    replicas: {{"),
        ("    mode: own", "   mode: own"),
    ];
    let all: Vec<String> =
        mistakes.iter().map(|(from, to)| format!("# {from:?} -> {to:?}\n{}\n", said(from, to))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn all_problems_are_said_at_once() {
    let text =
        GOOD.replace("min: 3", "min: 0").replace("target: 200ms", "target: 0s").replace("mode: own", "mode: floor");
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
fn bombs_and_oversize_are_refused() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (letter, before) in ('b'..='i').zip('a'..='h') {
        let list = vec![format!("*{before}"); 7].join(", ");
        bomb = format!("{bomb}{letter}: &{letter} [{list}]\n");
    }
    bomb.push_str("workloads: *i\n");
    assert!(apply(bomb.as_bytes(), None).rejected.is_some());
    assert!(apply(&vec![b' '; LONGEST + 1], None).rejected.unwrap().contains("65537 bytes"));
    assert!(apply("[".repeat(10_000).as_bytes(), None).rejected.is_some());
    assert!(apply(b"\xff\xfe", None).rejected.unwrap().contains("UTF-8"));
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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        apply(&bytes, None);
    }

    #[test]
    fn no_mutation_of_a_good_document_makes_it_panic(at in 0..GOOD.len(), letter in any::<char>(), cut in 0_usize..40) {
        let mut text: Vec<char> = GOOD.chars().collect();
        let at = at.min(text.len() - 1);
        text[at] = letter;
        text.drain(at..(at + cut).min(text.len()));
        let applied = apply(text.iter().collect::<String>().as_bytes(), None);
        prop_assert!(applied.rejected.is_none_or(|said| said.contains("policy.yaml:")));
    }
}
