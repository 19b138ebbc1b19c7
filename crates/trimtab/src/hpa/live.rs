//! `trimtab hpa NAMESPACE/NAME`: what the autoscaler's controller sees of one autoscaler now, fetched as the controller fetches it and put
//! together as a case. Only reads.
//!
//! What the controller alone knows is not there: its earlier recommendations and changes of size. So nothing is held back by them here,
//! and the page shows what the controller itself said last beside it. A metric that cannot be fetched is a failed metric, as it is for
//! the controller; why is kept, and shown with it.

use crate::words;
use anyhow::{Context, anyhow};
use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a failure of the resource metrics is kept under, which all resources share.
pub(super) const RESOURCE_METRICS: &str = "the resource metrics API";

/// A case, and why what is not in it could not be fetched, by metric.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) case: Value,
    pub(super) failures: BTreeMap<String, String>,
}

impl Seen {
    fn add(&mut self, field: &str, value: Value) {
        if let Some(case) = self.case.as_object_mut() {
            case.insert(field.to_owned(), value);
        }
    }
}

/// What stands at a place, or null.
pub(super) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Looks at an autoscaler; nothing where there is none of that name.
pub(super) async fn look(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Option<Seen>> {
    let base = format!("/apis/autoscaling/v2/namespaces/{namespace}");
    let hpa = match fetch(client, &format!("{base}/horizontalpodautoscalers/{name}"), &[]).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        other => {
            other.map_err(|error| anyhow!("failed to read autoscaler {namespace}/{name}: {}", words::api(&error)))?
        }
    };
    let scale = scale_of(client, namespace, at(&hpa, "/spec/scaleTargetRef")).await?;
    let selector = text(at(&scale, "/status/selector")).to_owned();
    let labels = [("labelSelector", selector.as_str())];
    let pods = fetch(client, &format!("/api/v1/namespaces/{namespace}/pods"), &labels)
        .await
        .map_err(|error| anyhow!("failed to list pods {selector:?} in {namespace}: {}", words::api(&error)))?;
    let mut seen = Seen {
        case: json!({
            "id": format!("{namespace}/{name}"),
            "now": jiff::Timestamp::now().to_string(),
            "hpa": hpa,
            "scale": scale,
            "pods": at(&pods, "/items"),
            "recommendations": [],
        }),
        failures: BTreeMap::new(),
    };
    measure(client, namespace, &selector, &mut seen).await;
    Ok(Some(seen))
}

async fn scale_of(client: &Client, namespace: &str, target: &Value) -> anyhow::Result<Value> {
    let (kind, name) = (text(at(target, "/kind")), text(at(target, "/name")));
    let place = plural(client, target).await.with_context(|| format!("failed to find out what a {kind} is"))?;
    let path = format!("{}/namespaces/{namespace}/{}/{name}/scale", place.root, place.plural);
    fetch(client, &path, &[])
        .await
        .map_err(|error| anyhow!("failed to read the scale of {kind} {namespace}/{name}: {}", words::api(&error)))
}

/// Where objects of a kind are.
struct Place {
    root: String,
    plural: String,
    group: String,
}

async fn plural(client: &Client, reference: &Value) -> anyhow::Result<Place> {
    let version = text(at(reference, "/apiVersion"));
    let (group, number) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, number, text(at(reference, "/kind")));
    let (resource, _) = discovery::pinned_kind(client, &kind).await.map_err(|error| anyhow!(words::api(&error)))?;
    let root = if group.is_empty() { format!("/api/{number}") } else { format!("/apis/{version}") };
    Ok(Place { root, plural: resource.plural, group: group.to_owned() })
}

// === metrics ===

/// Fetches what each metric of the spec needs, once.
async fn measure(client: &Client, namespace: &str, selector: &str, seen: &mut Seen) {
    let metrics = at(&seen.case, "/hpa/spec/metrics").as_array().cloned().unwrap_or_default();
    let labels = [("labelSelector", selector)];
    if metrics.iter().any(|metric| ["Resource", "ContainerResource"].contains(&text(at(metric, "/type")))) {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        match fetch(client, &path, &labels).await {
            Ok(list) => seen.add("podMetrics", at(&list, "/items").clone()),
            Err(error) => {
                seen.failures.insert(RESOURCE_METRICS.to_owned(), words::api(&error));
            }
        }
    }
    let mut values: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (index, metric) in metrics.iter().enumerate() {
        let (field, source, name) = match text(at(metric, "/type")) {
            "Pods" => ("podsMetrics", "pods", text(at(metric, "/pods/metric/name"))),
            "Object" => ("objectMetrics", "object", text(at(metric, "/object/metric/name"))),
            "External" => ("externalMetrics", "external", text(at(metric, "/external/metric/name"))),
            _ => continue,
        };
        let own_source = at(metric, &format!("/{source}"));
        let series = series(at(own_source, "/metric/selector"));
        let fetched = match source {
            "pods" => of_pods(client, namespace, name, selector, &series).await,
            "object" => of_object(client, namespace, name, at(own_source, "/describedObject"), &series).await,
            _ => of_external(client, namespace, name, &series).await,
        };
        // Metrics of one name may differ in their series: each gets a name of its own, in the spec of the case too.
        let own = if series.is_empty() { name.to_owned() } else { format!("{name}{{{series}}}") };
        let name = seen.case.pointer_mut(&format!("/hpa/spec/metrics/{index}/{source}/metric/name"));
        if let Some(name) = name {
            *name = own.clone().into();
        }
        match fetched {
            Ok(value) => {
                values.entry(field).or_default().insert(own, value);
            }
            Err(error) => {
                seen.failures.insert(own, format!("{error:#}"));
            }
        }
    }
    for (field, values) in values {
        seen.add(field, values.into());
    }
}

async fn of_pods(client: &Client, namespace: &str, name: &str, selector: &str, series: &str) -> anyhow::Result<Value> {
    let path = format!("namespaces/{namespace}/pods/*/{name}");
    let items = custom(client, &path, &[("labelSelector", selector), ("metricLabelSelector", series)]).await?;
    let values =
        items.iter().map(|item| (text(at(item, "/describedObject/name")).to_owned(), at(item, "/value").clone()));
    Ok(values.collect::<Map<_, _>>().into())
}

async fn of_object(
    client: &Client,
    namespace: &str,
    name: &str,
    object: &Value,
    series: &str,
) -> anyhow::Result<Value> {
    let place = plural(client, object).await?;
    let path = match (place.group.as_str(), place.plural.as_str()) {
        ("", "namespaces") => format!("namespaces/{namespace}/metrics/{name}"),
        ("", plural) => format!("namespaces/{namespace}/{plural}/{}/{name}", text(at(object, "/name"))),
        (group, plural) => format!("namespaces/{namespace}/{plural}.{group}/{}/{name}", text(at(object, "/name"))),
    };
    let items = custom(client, &path, &[("metricLabelSelector", series)]).await?;
    match items.as_slice() {
        [item] => Ok(at(item, "/value").clone()),
        items => Err(anyhow!("the custom metrics API has {} values, and 1 was expected", items.len())),
    }
}

async fn of_external(client: &Client, namespace: &str, name: &str, series: &str) -> anyhow::Result<Value> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}");
    let list = fetch(client, &path, &[("labelSelector", series)]).await.map_err(|error| anyhow!(words::api(&error)))?;
    Ok(at(&list, "/items").as_array().into_iter().flatten().map(|item| at(item, "/value").clone()).collect())
}

/// Asks the newer version of the custom metrics API, and the older one where there is no newer.
async fn custom(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
    let ask = |version| fetch_owned(client, format!("/apis/custom.metrics.k8s.io/{version}/{path}"), parameters);
    let list = match ask("v1beta2").await {
        Err(kube::Error::Api(status)) if status.code == 404 => ask("v1beta1").await,
        other => other,
    };
    let list = list.map_err(|error| anyhow!(words::api(&error)))?;
    Ok(at(&list, "/items").as_array().cloned().unwrap_or_default())
}

// === requests ===

async fn fetch_owned(client: &Client, path: String, parameters: &[(&str, &str)]) -> Result<Value, kube::Error> {
    fetch(client, &path, parameters).await
}

async fn fetch(client: &Client, path: &str, parameters: &[(&str, &str)]) -> Result<Value, kube::Error> {
    let given: Vec<String> = parameters
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let address = if given.is_empty() { path.to_owned() } else { format!("{path}?{}", given.join("&")) };
    let request = http::Request::get(address).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

/// Percent-encoding of everything that has a meaning of its own in a URL.
fn encode(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text form of a label selector object.
fn series(selector: &Value) -> String {
    let labels = at(selector, "/matchLabels").as_object().into_iter().flatten();
    let equal = labels.map(|(key, value)| format!("{key}={}", text(value)));
    let further = at(selector, "/matchExpressions").as_array().into_iter().flatten().map(|expression| {
        let key = text(at(expression, "/key"));
        let values: Vec<&str> = at(expression, "/values").as_array().into_iter().flatten().map(text).collect();
        match text(at(expression, "/operator")) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    equal.chain(further).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_object_is_asked_for_in_its_text_form() {
        let selector = json!({
            "matchLabels": {"queue": "a"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["x", "y"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "new", "operator": "Exists"},
            ],
        });
        assert_eq!(series(&selector), "queue=a,zone in (x,y),!old,new");
        assert_eq!(series(&Value::Null), "");
        assert_eq!(encode("queue=a,zone in (x)"), "queue%3Da%2Czone%20in%20%28x%29");
    }

    /// An API server that knows these paths, with their parameters.
    fn serves(answers: Vec<(&'static str, Value)>) -> Client {
        let answers: std::sync::Arc<BTreeMap<&str, Value>> = std::sync::Arc::new(answers.into_iter().collect());
        let answer = move |request: http::Request<kube::client::Body>| {
            let answers = answers.clone();
            async move {
                let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                let missing =
                    json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": path});
                let (code, body) = answers.get(path.as_str()).map_or((404, &missing), |body| (200, body));
                let body = kube::client::Body::from(body.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "shop")
    }

    #[tokio::test]
    async fn an_autoscaler_is_seen_as_its_controller_sees_it() {
        let lag = |queue: &str| {
            json!({"type": "External", "external": {
                "metric": {"name": "lag", "selector": {"matchLabels": {"queue": queue}}},
                "target": {"type": "AverageValue", "averageValue": "10"},
            }})
        };
        let hpa = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 9,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}, lag("a"), lag("b")],
            },
        });
        let kinds = json!({"groupVersion": "apps/v1", "resources": [
            {"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment", "verbs": ["get"]},
        ]});
        let client = serves(vec![
            ("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web", hpa),
            ("/apis/apps/v1", kinds),
            (
                "/apis/apps/v1/namespaces/shop/deployments/web/scale",
                json!({"spec": {"replicas": 2}, "status": {"replicas": 2, "selector": "app=web"}}),
            ),
            ("/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb", json!({"items": []})),
            (
                "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/lag?labelSelector=queue%3Da",
                json!({"items": [{"value": "45"}]}),
            ),
        ]);
        let seen = look(&client, "shop", "web").await.unwrap().unwrap();
        assert_eq!(at(&seen.case, "/externalMetrics"), &json!({"lag{queue=a}": ["45"]}));
        let failed: Vec<&str> = seen.failures.keys().map(String::as_str).collect();
        assert_eq!(failed, ["lag{queue=b}", RESOURCE_METRICS]);
        let case = crate::hpa::read(seen.case.to_string().as_bytes()).unwrap();
        let answer = trimtab_hpa::evaluate(&case).unwrap();
        let proposals: Vec<_> = answer.metrics.iter().map(|metric| metric.proposal).collect();
        assert_eq!((proposals, answer.desired), (vec![None, Some(5), None], 4), "twice two at a time");
        assert!(look(&client, "shop", "gone").await.unwrap().is_none());
    }
}
