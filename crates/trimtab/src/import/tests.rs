use super::*;
use crate::config::{self, CountedAt, Document, Mode};
use crate::prometheus;
use serde_json::json;
use trimtab_core::policy::Capacity;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"spec": {
            "containers": [
                {"name": "app", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
                {"name": "proxy", "resources": {"limits": {"cpu": "50m", "memory": "32Mi"}}},
            ],
            "initContainers": [{"name": "once", "resources": {"requests": {"cpu": "2"}}}],
        }}},
    })
}

fn hpa(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

fn scaled_object(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "worker", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": "web"}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

fn cpu(percent: u32) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// Imports it, and reads what it became as a policy: without a problem, and without a warning on an expression.
fn read(object: &Value, around: &[Value]) -> (config::Workload, Imported) {
    let imported = of(object, around).unwrap();
    let text = imported.policy.clone().unwrap_or_else(|| panic!("{:?}", imported.left));
    let check = |promql: &str| prometheus::check(promql, None).iter().map(ToString::to_string).collect();
    let name = imported.source.to_string();
    let parsed = config::parse(&Document { name: &name, namespace: Some("shop"), text: text.as_bytes() }, &check);
    assert_eq!((parsed.problems, parsed.warnings), (vec![], vec![]), "{text}");
    let [workload] = <[_; 1]>::try_from(parsed.workloads).unwrap();
    (workload, imported)
}

fn left(imported: &Imported) -> Vec<&str> {
    imported.left.iter().map(|left| left.what.as_str()).collect()
}

fn rate(workload: &config::Workload) -> f64 {
    let Capacity::Declared(rate) = workload.policy.capacity else { panic!("{:?}", workload.policy.capacity) };
    rate.get()
}

#[test]
fn an_autoscaler_on_cpu_keeps_its_utilization() {
    let object = hpa(&json!({"metrics": [cpu(60)], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 120}}}));
    let (workload, imported) = read(&object, &[deployment()]);
    assert_eq!(workload.target.to_string(), "shop/deployment/web");
    assert_eq!((workload.policy.replicas.min().0, workload.policy.replicas.max().0), (2, 9));
    assert!((rate(&workload) - 90.0).abs() < 1e-9, "60 % of 100 and 50 millicores, as the API server fills limits in");
    assert!(!workload.policy.objective.is_promised(), "nobody promised a latency");
    assert!((workload.policy.stabilization.get() - 120.0).abs() < 1e-9);
    assert_eq!((workload.mode, workload.queries.counted_at), (Some(Mode::Shadow), CountedAt::Pods));
    assert_eq!(
        workload.queries.demand,
        r#"1000 * sum(max by (pod, container) (rate(container_cpu_usage_seconds_total{namespace="shop",pod=~"web-[a-z0-9]+-[a-z0-9]{5}",container!="",container!="POD"}[2m])))"#
    );
    assert_eq!(imported.left, []);
}

#[test]
fn of_several_metrics_the_largest_counts_and_a_missing_one_is_missed() {
    let memory = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "app", "target": {"averageValue": "50Mi"}}});
    let (workload, _) = read(&hpa(&json!({"metrics": [cpu(50), memory]})), &[deployment()]);
    assert!((rate(&workload) - 1.0).abs() < 1e-9);
    let query = &workload.queries.demand;
    assert!(query.starts_with("clamp_min((1000 * sum(") && query.contains(")) / 75, scalar((sum("), "{query}");
    assert!(query.ends_with(r#"container="app"}))) / 52428800))"#), "{query}");
}

#[test]
fn without_its_target_a_share_of_the_request_is_asked_for() {
    let (workload, _) = read(&hpa(&json!({"metrics": [cpu(60)]})), &[]);
    assert_eq!(workload.policy.capacity, Capacity::Measured);
    let query = workload.queries.capacity.unwrap();
    assert!(query.starts_with("600 * max(sum by (pod) (kube_pod_container_resource_requests{"), "{query}");
}

#[test]
fn what_has_no_metric_left_says_why_and_gives_no_policy() {
    let mut bare = deployment();
    bare["spec"]["template"]["spec"]["containers"] = json!([{"name": "app"}]);
    let imported = of(&hpa(&json!({"metrics": [cpu(60)]})), &[bare]).unwrap();
    assert_eq!(imported.policy, None);
    let said = imported.problem().unwrap();
    assert!(said.contains("hpa shop/web gives no policy: cpu: container app requests no cpu"), "{said}");
    let unknown = hpa(&json!({"metrics": [{"type": "Weather"}]}));
    assert!(of(&unknown, &[]).unwrap().problem().unwrap().contains("metric of type Weather"));
    let mut group = hpa(&json!({}));
    group["spec"]["scaleTargetRef"] = json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "old"});
    assert!(of(&group, &[]).unwrap().problem().unwrap().contains("spec.scaleTargetRef"));
}

#[test]
fn a_target_of_another_kind_is_named_by_its_plural() {
    let mut rollout = hpa(&json!({"metrics": [cpu(60)]}));
    rollout["spec"]["scaleTargetRef"] = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"});
    assert_eq!(read(&rollout, &[]).0.target.to_string(), "shop/rollouts.argoproj.io/web");
}

#[test]
fn what_of_behavior_has_no_counterpart_is_listed() {
    let object = hpa(&json!({"metrics": [cpu(60)], "behavior": {
        "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
        "scaleDown": {"selectPolicy": "Disabled", "tolerance": "0.2"},
    }}));
    let (_, imported) = read(&object, &[deployment()]);
    assert_eq!(
        left(&imported),
        [
            "behavior.scaleUp.policies",
            "behavior.scaleDown.selectPolicy: Disabled",
            "behavior.scaleDown.tolerance",
            "behavior.scaleUp.stabilizationWindowSeconds"
        ]
    );
}

fn adapter() -> Value {
    let config = r#"
rules:
- seriesQuery: '{__name__=~".*_total",namespace!="",pod!=""}'
  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
  name: {matches: '^(.*)_total$', as: '${1}_per_second'}
  metricsQuery: 'sum(rate(<<.Series>>{<<.LabelMatchers>>}[1m])) by (<<.GroupBy>>)'
- seriesQuery: 'requests{ingress!=""}'
  resources: {template: "k8s_<<.Resource>>"}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
externalRules:
- seriesQuery: 'queue_messages{job="q"}'
  resources: {namespaced: false}
  metricsQuery: 'max(<<.Series>>{<<.LabelMatchers>>})'
"#;
    json!({"kind": "ConfigMap", "metadata": {"name": "prometheus-adapter", "namespace": "monitoring"}, "data": {"config.yaml": config}})
}

#[test]
fn behind_a_custom_metric_stands_the_expression_of_the_adapters_rule() {
    let metric = |kind: &str, inner: Value| json!({"metrics": [{"type": kind, kind.to_lowercase(): inner}]});
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let pods = hpa(&metric("Pods", json!({"metric": {"name": "http_requests_per_second"}, "target": target})));
    let (workload, _) = read(&pods, &[adapter()]);
    assert_eq!(
        workload.queries.demand,
        r#"sum(sum(rate(http_requests_total{namespace="shop",pod=~"web-[a-z0-9]+-[a-z0-9]{5}"}[1m])) by (pod))"#
    );
    assert!((rate(&workload) - 10.0).abs() < 1e-9);
    let object = json!({"metric": {"name": "requests"}, "describedObject": {"kind": "Ingress", "name": "front"}, "target": target});
    let (workload, _) = read(&hpa(&metric("Object", object)), &[adapter()]);
    assert_eq!(
        workload.queries.demand,
        r#"sum(sum(requests{k8s_namespace="shop",k8s_ingress="front"}) by (k8s_ingress))"#
    );
    let external =
        json!({"metric": {"name": "queue_messages", "selector": {"matchLabels": {"queue": "a"}}}, "target": target});
    let (workload, _) = read(&hpa(&metric("External", external.clone())), &[adapter()]);
    assert_eq!(
        (workload.queries.demand.as_str(), workload.queries.counted_at),
        (r#"sum(max(queue_messages{queue="a"}))"#, CountedAt::Proxy)
    );
    let without = of(&hpa(&metric("External", external)), &[]).unwrap();
    assert!(without.problem().unwrap().contains("no prometheus-adapter rules were found"));
    let other = json!({"metric": {"name": "http_errors_rate"}, "target": target});
    assert!(of(&hpa(&metric("Pods", other)), &[adapter()]).unwrap().problem().unwrap().contains("no rule"));
    let ratio = json!({"metric": {"name": "queue_messages"}, "target": {"type": "Value", "value": "10"}});
    assert!(
        of(&hpa(&metric("External", ratio)), &[adapter()])
            .unwrap()
            .problem()
            .unwrap()
            .contains("type Value is a ratio")
    );
}

#[test]
fn a_scaled_objects_query_is_demand() {
    let object = scaled_object(&json!({
        "minReplicaCount": 3, "maxReplicaCount": 30,
        "triggers": [{"type": "prometheus", "metadata": {
            "serverAddress": "http://prometheus:9090", "query": "sum(rate(requests_total{app='web'}[2m]))", "threshold": "40",
        }}],
        "fallback": {"failureThreshold": 3, "replicas": 6},
    }));
    let (workload, imported) = read(&object, &[]);
    assert_eq!(workload.queries.demand, "sum(rate(requests_total{app='web'}[2m]))");
    assert!((rate(&workload) - 40.0).abs() < 1e-9);
    assert_eq!((workload.policy.replicas.min().0, workload.policy.replicas.max().0), (3, 30));
    assert_eq!(workload.queries.counted_at, CountedAt::Proxy, "nobody knows where it counts");
    assert_eq!(left(&imported), ["fallback"]);
    assert!(imported.policy.unwrap().contains("KEDA asks http://prometheus:9090"));
}

#[test]
fn of_other_triggers_what_keda_publishes_is_demand() {
    let object = scaled_object(&json!({"triggers": [
        {"type": "cron", "metadata": {"timezone": "Europe/Berlin", "start": "0 6 * * *", "end": "0 20 * * *", "desiredReplicas": "10"}},
        {"type": "kafka", "metadata": {"topic": "t", "lagThreshold": "50"}},
        {"type": "crystal-ball", "metadata": {}},
    ]}));
    let (workload, imported) = read(&object, &[]);
    assert_eq!(
        workload.queries.demand,
        r#"max(keda_scaler_metrics_value{exported_namespace="shop",scaledObject="worker",metric=~"s1-.*"} or keda_scaler_metrics_value{namespace="shop",scaledObject="worker",metric=~"s1-.*"})"#
    );
    assert!((rate(&workload) - 50.0).abs() < 1e-9);
    assert_eq!(workload.policy.replicas.min().0, 1, "0 stays KEDA's");
    assert_eq!(left(&imported), ["scaling to 0", "trigger 0 (cron)", "trigger 2 (crystal-ball)"]);
}

#[test]
fn a_formula_that_only_reckons_is_carried_over() {
    let trigger = |name: &str, query: &str| json!({"type": "prometheus", "name": name, "metadata": {"serverAddress": "http://p", "query": query, "threshold": "1"}});
    let object = |formula: &str| {
        scaled_object(&json!({
            "minReplicaCount": 1, "triggers": [trigger("a", "sum(x)"), trigger("b", "sum(y)")],
            "advanced": {"scalingModifiers": {"formula": formula, "target": "5"}},
        }))
    };
    let (workload, _) = read(&object("(a + b) / 2"), &[]);
    assert_eq!(workload.queries.demand, "((sum(x)) + (sum(y))) / 2");
    assert!((rate(&workload) - 5.0).abs() < 1e-9);
    for formula in ["a > 3 ? a : b", "max(a, b)", "a ?? b"] {
        let imported = of(&object(formula), &[]).unwrap();
        assert_eq!(
            (imported.policy.as_ref(), left(&imported).as_slice()),
            (None, &["scalingModifiers.formula"][..]),
            "{formula}"
        );
    }
}

#[test]
fn kedas_own_autoscaler_and_other_objects_are_none() {
    let mut owned = hpa(&json!({"metrics": [cpu(60)]}));
    owned["metadata"]["ownerReferences"] = json!([{"kind": "ScaledObject", "name": "web"}]);
    assert_eq!(of(&owned, &[]), None);
    assert_eq!(of(&deployment(), &[]), None);
    assert_eq!(of(&json!("nonsense"), &[]), None);
}

#[test]
fn a_vertical_autoscaler_of_the_same_target_is_told_of() {
    let vpa = json!({
        "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": {"name": "size", "namespace": "shop"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "updatePolicy": {"updateMode": "Off"}},
    });
    let (_, imported) = read(&hpa(&json!({"metrics": [cpu(60)]})), &[deployment(), vpa]);
    assert_eq!(left(&imported), ["VerticalPodAutoscaler size"]);
}

#[test]
fn the_label_of_the_autoscaler_asks_for_a_floor_and_for_nothing_else() {
    for (label, mode) in [("floor", Mode::Floor), ("own", Mode::Shadow), ("shadow", Mode::Shadow)] {
        let mut object = hpa(&json!({"metrics": [cpu(60)]}));
        object["metadata"]["labels"] = json!({MODE_LABEL: label});
        assert_eq!(read(&object, &[deployment()]).0.mode, Some(mode), "{label}");
    }
}

#[test]
fn the_least_size_is_the_owners_though_a_floor_was_raised() {
    let mut object = hpa(&json!({"metrics": [cpu(60)], "minReplicas": 6}));
    object["metadata"]["annotations"] = json!({ANNOTATION: r#"{"own":3,"set":6,"at":0,"spent":0}"#});
    assert_eq!(read(&object, &[deployment()]).0.policy.replicas.min().0, 3);
    object["spec"]["minReplicas"] = json!(5);
    assert_eq!(read(&object, &[deployment()]).0.policy.replicas.min().0, 5, "somebody set another since");
}

#[test]
fn nothing_in_an_object_gets_out_of_its_place() {
    let evil = "x'\n    mode: own\n# ";
    let mut object = scaled_object(&json!({"triggers": [
        {"type": "prometheus", "name": evil, "metadata": {"serverAddress": evil, "query": format!("sum(x) # {evil}"), "threshold": "1"}},
        {"type": evil, "metadata": {}},
    ]}));
    object["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": evil});
    let imported = of(&object, &[]).unwrap();
    let parsed = config::parse(
        &Document { name: "x", namespace: Some("shop"), text: imported.policy.unwrap().as_bytes() },
        &|_| Vec::new(),
    );
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.workloads[0].mode, Some(Mode::Shadow));
}
