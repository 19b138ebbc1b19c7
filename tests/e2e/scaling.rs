//! Demand, policies and what protects: scenarios that share the cluster.

use crate::cluster::{Busy, Cluster, throughout, until};
use crate::world::{Agent, World, policy_map};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use trimtab::report::Writes;
use trimtab_core::Verb;
use trimtab_core::unit::RequestsPerSecond;

#[tokio::test]
async fn demand_that_doubles_is_served_and_demand_that_falls_is_followed_calmly() {
    let Some(cluster) = Cluster::with_nodes("demand doubles and falls").await else { return };
    let busy = Busy::begin();
    let mut world = World::with_service(&cluster, "e2e-scaling", 4, &[]).await;
    world.load(100).await;
    let mark = cluster.is_testbed("one write per change (audit log)").then(|| cluster.audit_mark());
    let agent = world.trimtab(&world.policy("own", ""));
    // 100 requests/s need 3 replicas of 50; a fourth is what the band of a guessed forecast may ask for.
    agent
        .until("a settled start", 120, |workload| {
            let last = workload.last.as_ref();
            let demand = last.and_then(|last| last.snapshot.demand.fresh()).map_or(0.0, RequestsPerSecond::get);
            workload.writes == Writes::Own
                && (85.0..115.0).contains(&demand)
                && last.is_some_and(|last| last.decision.verb == Verb::Hold)
        })
        .await;
    throughout(20, async || match world.replicas().await.0 {
        3..=5 => Ok(()),
        other => Err(format!("{other} replicas at a steady 100 requests/s")),
    })
    .await;

    world.load(200).await;
    until("6 replicas are ready for 200 requests/s", 45, async || (world.replicas().await.1 >= 5).then_some(())).await;
    throughout(30, async || {
        let (desired, _) = world.replicas().await;
        if (5..=9).contains(&desired) { Ok(()) } else { Err(format!("{desired} replicas at a steady 200 requests/s")) }
    })
    .await;

    world.load(50).await;
    let mut sizes = vec![world.replicas().await.0];
    until("the descent to what 50 requests/s need", 150, async || {
        let (desired, _) = world.replicas().await;
        if sizes.last() != Some(&desired) {
            sizes.push(desired);
        }
        (desired <= 3).then_some(())
    })
    .await;
    // What was on its way up when demand fell may still arrive; from the peak on it only goes down.
    let peak = sizes.iter().max().and_then(|most| sizes.iter().rposition(|size| size == most)).unwrap_or_default();
    let sizes = &sizes[peak..];
    assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0]), "a calm descent never turns back: {sizes:?}");
    assert!(sizes.windows(2).all(|pair| pair[1] * 2 >= pair[0]), "no step removes more than half: {sizes:?}");

    // Demand that doubles at once queues until the pods that it needs have started; not for long, and not again later.
    let slow = world.end_load(0.2);
    assert!(
        slow <= 6,
        "more than a tenth of the requests took over 200 ms for {slow} intervals of 5 s on end{}:\n{}",
        busy.said(),
        world.results()
    );
    let status = agent.process.end("-TERM");
    assert!(status.success(), "a clean end: {status}");
    world.replay(0);
    if let Some(mark) = mark {
        one_write_per_change(&world, mark).await;
    }
}

/// Every patch of ours that is no claim changed the size, none was repeated, and each has its Event.
async fn one_write_per_change(world: &World, mark: u64) {
    let audited = world.cluster.audited(mark);
    let patches: Vec<_> = audited
        .iter()
        .filter(|entry| entry.is_ours() && entry.object_ref.namespace == world.namespace())
        .filter(|entry| entry.object_ref.resource == "deployments" && entry.verb == "patch")
        .filter(|entry| entry.operation("add", "/metadata/labels/trimtab.dev~1epoch").is_none())
        .collect();
    let committed = patches.iter().filter(|entry| entry.response_status.code == 200);
    let sizes: Vec<u64> = committed.map(|entry| entry.size().expect("a patch of ours sets a size")).collect();
    assert!(sizes.len() > 1, "the size changed up and down: {sizes:?}");
    assert!(
        sizes.iter().zip(sizes.iter().skip(1)).all(|(one, next)| one != next),
        "each write changes the size: {sizes:?}"
    );
    let events: Api<Event> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    let events = events.list(&ListParams::default()).await.expect("events can be listed");
    let ours = events.iter().filter(|event| event.reporting_controller.as_deref() == Some("trimtab")).count();
    assert!(ours >= 2, "ScaleOut and ScaleDown are announced on the workload: {ours}");
}

#[tokio::test]
async fn shadow_writes_nothing_at_all() {
    let Some(cluster) = Cluster::with_nodes("shadow").await else { return };
    if !cluster.is_testbed("shadow writes nothing (audit log)") {
        return;
    }
    let mut world = World::with_service(&cluster, "e2e-shadow", 2, &[]).await;
    world.load(200).await;
    let mark = cluster.audit_mark();
    let agent = world.trimtab(&world.policy("shadow", ""));
    let decided = agent
        .until("a decision to scale out", 60, |workload| {
            workload.last.as_ref().is_some_and(|last| last.decision.verb == Verb::ScaleOut)
        })
        .await;
    assert_eq!(decided.writes, Writes::Shadow);
    throughout(10, async || match world.replicas().await.0 {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    assert!(agent.process.end("-TERM").success());
    let written: Vec<_> = cluster
        .audited(mark)
        .into_iter()
        .filter(|entry| entry.is_ours() && entry.object_ref.namespace == world.namespace())
        .collect();
    assert!(written.is_empty(), "shadow wrote: {written:?}");
}

#[tokio::test]
async fn a_slow_database_is_not_scaled_out_into() {
    let Some(cluster) = Cluster::with_nodes("slow database").await else { return };
    let mut world = World::empty(&cluster, "e2e-protect").await;
    world.apply(DATABASE).await;
    until("the database is ready", 60, async || {
        cluster.ready_pods(world.namespace(), "app=db").await.filter(|pods| !pods.is_empty())
    })
    .await;
    let pods = cluster.ready_pods(world.namespace(), "app=db").await.expect("it was ready");
    let database = format!("http://{}:8080", pods.first().expect("one pod"));
    world.start_service(3, &["--database-url", "http://$(DB_SERVICE_HOST):8080"]).await;
    tune(&database, "400ms").await;
    world.load(60).await;
    let namespace = world.namespace().to_owned();
    // Measured at the database: what its callers measure also rises when they are too few.
    let rate =
        |what: &str| format!("sum(rate(database_request_duration_seconds_{what}{{namespace=\"{namespace}\"}}[15s]))");
    let protect =
        format!("    protect: [{{ name: database, query: '{} / {}', limit: 250ms }}]\n", rate("sum"), rate("count"));
    let agent = world.trimtab(&world.policy("own", &protect));
    agent
        .until("the database is seen above its limit", 60, |workload| {
            workload
                .last
                .as_ref()
                .is_some_and(|last| last.decision.guards.iter().any(|guard| guard.blocks_until.is_some()))
        })
        .await;
    world.load(250).await;
    let held = agent
        .until("scaling out is held back for the database", 60, |workload| {
            workload.last.as_ref().is_some_and(|last| last.decision.reason.code() == "TT-R37")
        })
        .await;
    let said = trimtab::explain::explain(&held);
    assert!(said.contains("database is above its limit"), "{said}");
    throughout(15, async || match world.replicas().await.0 {
        3 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    tune(&database, "5ms").await;
    until("it scales out once the database has recovered", 90, async || (world.replicas().await.0 > 5).then_some(()))
        .await;
}

async fn tune(database: &str, latency: &str) {
    let answer = reqwest::Client::new()
        .put(format!("{database}/tune?latency={latency}"))
        .send()
        .await
        .expect("the database listens");
    assert!(answer.status().is_success(), "{}", answer.status());
}

const DATABASE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, labels: {app: db}}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata:
      labels: {app: db}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: db
        image: trimtab.dev/reference:dev
        imagePullPolicy: IfNotPresent
        args: [database, --tunable]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
"#;

#[tokio::test]
async fn a_policy_is_changed_live_and_a_wrong_one_leaves_the_old_one() {
    let Some(cluster) = Cluster::with_nodes("live policy").await else { return };
    let world = World::with_service(&cluster, "e2e-policy", 2, &[]).await;
    let agent = world.trimtab(&world.policy("own", ""));
    agent.until_decided().await;
    let file = world.directory.path().join("policy.yaml");

    let wrong = world.policy("own", "").replace("min: 2", "min: 20");
    std::fs::write(&file, wrong).expect("a file");
    let troubles = until("the wrong policy is reported", 30, async || {
        agent.report().await.map(|report| report.troubles).filter(|troubles| !troubles.is_empty())
    })
    .await;
    let said: Vec<&String> = troubles.values().collect();
    assert!(said.iter().any(|text| text.contains("policy.yaml:3:")), "line and column: {said:?}");
    let kept = agent.workload().await.expect("the old policy is kept");
    assert_eq!(kept.last.expect("and decided by").policy.replicas.min().0, 2);

    std::fs::write(&file, world.policy("own", "").replace("min: 2", "min: 4")).expect("a file");
    world.until_ready(4, 60).await;
    until("the trouble is over", 30, async || agent.report().await.filter(|report| report.troubles.is_empty())).await;
}

#[tokio::test]
async fn a_policy_in_a_configmap_acts_in_its_own_namespace_and_in_no_other() {
    let Some(cluster) = Cluster::with_nodes("policy in a ConfigMap").await else { return };
    let world = World::with_service(&cluster, "e2e-configmap", 2, &[]).await;
    let agent = world.trimtab("workloads: []\n");
    let policy = world.policy("own", "");
    world.apply(&policy_map(&policy.replace("min: 2", "min: 3"))).await;
    world.until_ready(3, 60).await;

    world.apply(&policy_map(&policy.replace("target: e2e-configmap/", "target: kube-system/"))).await;
    let troubles = until("the foreign target is refused", 30, async || {
        agent.report().await.map(|report| report.troubles).filter(|troubles| !troubles.is_empty())
    })
    .await;
    assert!(troubles.values().any(|text| text.contains("namespace")), "{troubles:?}");
}

#[tokio::test]
async fn who_changes_the_size_behind_our_back_is_not_fought() {
    let Some(cluster) = Cluster::with_nodes("foreign writer").await else { return };
    let mut world = World::with_service(&cluster, "e2e-foreign", 2, &[]).await;
    world.load(150).await;
    let agent = world.trimtab(&world.policy("own", ""));
    until("it has scaled out", 60, async || (world.replicas().await.0 >= 4).then_some(())).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(cluster.client.clone(), world.namespace());
    let patch = serde_json::json!({"spec": {"replicas": 2}});
    deployments
        .patch_scale("web", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&patch))
        .await
        .expect("kubectl scale");
    agent.until("it stands down", 30, |workload| matches!(workload.writes, Writes::StandingDown(_))).await;
    throughout(15, async || match world.replicas().await.0 {
        2 => Ok(()),
        other => Err(format!("{other} replicas: it fights")),
    })
    .await;
}

#[tokio::test]
async fn each_workload_that_cannot_be_decided_says_why_and_the_others_go_on() {
    let Some(cluster) = Cluster::with_nodes("bad input").await else { return };
    let mut world = World::with_service(&cluster, "e2e-bad", 2, &[]).await;
    world.load(40).await;
    let good = world.policy("shadow", "");
    let second = |name: &str, query: &str| {
        format!(
            "  - target: e2e-bad/deployment/{name}\n    replicas: {{ min: 1, max: 3 }}\n    demand: {{ query: '{query}' }}\n    capacity: {{ rate: 50 }}\n    slo: {{ target: 200ms }}\n"
        )
    };
    let blind = [
        ("syntax", "sum(rate(up[1m]", "refuses the query"),
        ("two", "up", "series"),
        ("nothing", "sum(no_such_metric)", "no series"),
        ("text", "\"a text\"", "a text"),
        ("nan", "vector(0) / vector(0)", "NaN"),
        ("negative", "vector(-5)", "gives -5"),
    ];
    let mut policy = good + &second("absent", "vector(1)");
    for (name, query, _) in blind {
        world.apply(&SPARE.replace("NAME", name)).await;
        policy += &second(name, query);
    }
    let lease =
        serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lock"}});
    world.apply(&lease.to_string()).await;
    for target in ["gadgets.example.com/x", "leases.coordination.k8s.io/lock"] {
        policy += &second("absent", "vector(1)").replace("deployment/absent", target);
    }
    let agent = world.trimtab(&policy);
    agent.until_decided().await;
    until("every bad workload says what is wrong", 60, async || {
        let report = agent.report().await?;
        let says = |name: &str, text: &str| {
            report.workloads.iter().filter(|workload| workload.workload.ends_with(name)).any(|workload| {
                let signals = workload.signals.iter().filter_map(|signal| signal.problem.clone());
                signals.chain(workload.problem.clone()).any(|problem| problem.contains(text))
            })
        };
        let all = blind.iter().all(|(name, _, text)| says(&format!("/{name}"), text))
            && says("/absent", "does not exist")
            && says("/x", "no kind")
            && says("/lock", "has no scale subresource");
        all.then_some(())
    })
    .await;
    agent
        .until("the good one is decided on fresh demand", 60, |good| {
            let fresh = good.last.as_ref().and_then(|last| last.snapshot.demand.fresh());
            fresh.is_some_and(|demand| demand.get() > 20.0)
                && good.signals.iter().all(|signal| signal.problem.is_none())
        })
        .await;
    for (name, ..) in blind {
        let verb = until("it is decided too", 30, async || {
            let report = agent.report().await?;
            let workload = report.workloads.into_iter().find(|workload| workload.workload.ends_with(name));
            Some(workload?.last?.decision.verb)
        })
        .await;
        assert_eq!(verb, Verb::Hold, "{name}");
    }
}

const SPARE: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      containers: [{name: web, image: trimtab.dev/reference:dev, imagePullPolicy: IfNotPresent}]
";

#[tokio::test]
async fn of_two_agents_one_writes_and_the_other_says_who_and_follows() {
    let Some(cluster) = Cluster::find("two agents").await else { return };
    let world = World::empty(&cluster, "e2e-two").await;
    world.deploy_service(1, &[], "10m").await;
    let policy = world.policy("own", "");
    let one = world.trimtab(&policy);
    one.until("the first may write", 30, |workload| workload.writes == Writes::Own).await;

    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("policy.yaml"), &policy).expect("a file");
    let other = Agent::start(&cluster, world.namespace(), directory.path(), &cluster.kubeconfig);
    let claim = one.workload().await.and_then(|it| it.claim).expect("it has claimed it");
    let says = Writes::OtherAgent(Some(claim.epoch.split('.').nth(1).expect("an epoch names an agent").to_owned()));
    other.until("the second says who writes", 30, |workload| workload.writes == says).await;
    // Longer than an agent may write without renewing its Lease.
    throughout(45, async || {
        let (one, other) = (one.workload().await, other.workload().await);
        match (one.map(|workload| workload.writes), other.map(|workload| workload.writes)) {
            (Some(Writes::Own), Some(writes)) if writes == says => Ok(()),
            both => Err(format!("{both:?}")),
        }
    })
    .await;

    assert!(one.process.end("-TERM").success());
    other.until("the second follows a clean end at its next look", 30, |it| it.writes == Writes::Own).await;
    let one = world.trimtab_again();
    one.until("the first says who writes", 30, |it| matches!(it.writes, Writes::OtherAgent(Some(_)))).await;
    other.process.end("-KILL");
    one.until("the first follows when the Lease is silent", 100, |it| it.writes == Writes::Own).await;
}
