//! Cases from seeds, as `trimtab hpa --cases` takes them. Numbers are drawn around the edges that decide: tolerances, windows,
//! periods, rates, bounds; now and then they are what nobody means but somebody sends.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Map, Value, json};

/// The case of a seed with this number. Each number has a stream of its own, so that any case can be made alone.
pub(crate) fn case(seed: u64, number: u64) -> Value {
    let stream = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut maker = Maker { random: Pcg64Mcg::seed_from_u64(stream), now: 0 };
    maker.case(number)
}

/// 2026-11-24T09:00:00Z.
const MORNING: i64 = 1_795_510_800;

struct Maker {
    random: Pcg64Mcg,
    /// Seconds since 1970.
    now: i64,
}

/// What the autoscaler measures, for pods to use it.
struct Fleet {
    pods: Vec<Value>,
    names: Vec<String>,
}

impl Maker {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())].clone()
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        self.random.random_range(least..=most)
    }

    /// So many seconds before now.
    fn ago(&mut self, seconds: i64) -> String {
        time(self.now - seconds)
    }

    fn case(&mut self, number: u64) -> Value {
        self.now = MORNING + self.between(0, 100_000);
        let current = if self.chance(3) {
            self.of(&[0, 0, -1, i32::MAX, i32::MAX / 2, 1_000_000]).into()
        } else {
            self.between(0, 14)
        };
        let there = if self.chance(75) { current } else { self.between(0, 14) };
        let selector = self.selector();
        let fleet = self.fleet(current);
        let metrics = self.metrics();
        let hpa = self.autoscaler(current, &metrics);
        let now = match self.random.random_range(0..12) {
            0 => time(self.now).replace('Z', ".25Z"),
            1 => time(self.now + 7200).replace('Z', "+02:00"),
            _ => time(self.now),
        };
        let mut case = json!({
            "id": format!("{number}"),
            "now": now,
            "hpa": hpa,
            "scale": {"spec": {"replicas": current}, "status": {"replicas": there, "selector": selector}},
            "podMetrics": self.pod_metrics(&fleet),
            "podsMetrics": self.pods_metrics(&fleet.names),
            "objectMetrics": self.values(),
            "externalMetrics": self.series(),
        });
        case["pods"] = fleet.pods.into();
        self.memory(&mut case, current);
        case
    }

    /// Mostly the plain one, else what the grammar of selectors is made of, in any order.
    fn selector(&mut self) -> String {
        const PARTS: [&str; 26] = [
            "app", "app", "app", "web", "web", "tier", "5", "=", "=", "==", "!=", "!", "in", "in", "notin", "(", ")",
            ",", ",", " ", " ", ">", "<", "gone", "a.b/c", "-x",
        ];
        match self.random.random_range(0..50) {
            0..45 => "app=web".to_owned(),
            45 => self
                .of(&["", "app=", "app in (web, api)", "app", "!gone,app=web", "a b", "app=web,", "tier>3"])
                .to_owned(),
            46 => {
                let (operator, end) =
                    (self.of(&["in (", "notin (", " in(", "=", "!=", "=="]), self.of(&[")", "", ",)", ",x)"]));
                format!("app {operator}{}{end}", self.of(&["web", "", "web,", ",web", "x,,web", "in"]))
            }
            _ => {
                let count = self.between(1, 7);
                (0..count).map(|_| self.of(&PARTS)).collect()
            }
        }
    }

    // === pods ===

    fn fleet(&mut self, current: i64) -> Fleet {
        let count = if self.chance(80) { current.clamp(0, 12) } else { self.between(0, 12) };
        let names: Vec<String> = (0..count).map(|index| format!("web-{index}")).collect();
        let calm = self.chance(30);
        let pods = names.iter().map(|name| self.pod(name, calm)).collect();
        Fleet { pods, names }
    }

    fn pod(&mut self, name: &str, calm: bool) -> Value {
        let label = if self.chance(97) { "web" } else { "other" };
        let mut metadata = json!({"name": name, "namespace": "shop", "labels": {"app": label, "tier": "5"}});
        if !calm && self.chance(6) {
            metadata["deletionTimestamp"] = self.ago(5).into();
        }
        let started = if calm { 7200 } else { self.of(&[3, 20, 29, 31, 60, 298, 299, 300, 301, 302, 600, 4000]) };
        // Ready after a while, perhaps at the edge of the delay in which a pod was never ready.
        let changed = started - if calm { 10 } else { self.of(&[0, 1, 10, 29, 30, 31, 60, 300, 3000]).min(started) };
        let ready = if calm || self.chance(75) { "True" } else { self.of(&["False", "False", "False", "Unknown"]) };
        let phase = if calm || self.chance(85) {
            "Running"
        } else {
            self.of(&["Pending", "Pending", "Failed", "Succeeded", "Unknown"])
        };
        let mut status = json!({"phase": phase});
        if calm || self.chance(96) {
            status["startTime"] = self.ago(started).into();
        }
        if calm || self.chance(96) {
            let since = if self.chance(99) { Value::from(self.ago(changed)) } else { Value::Null };
            status["conditions"] = json!([
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": self.ago(started)},
                {"type": "Ready", "status": ready, "lastTransitionTime": since},
            ]);
        }
        json!({"metadata": metadata, "spec": self.pod_spec(), "status": status})
    }

    fn pod_spec(&mut self) -> Value {
        let mut containers = vec![self.container("app")];
        if self.chance(30) {
            containers.push(self.container("side"));
        }
        let mut spec = json!({"containers": containers});
        if self.chance(12) {
            let mut before = self.container("before");
            if self.chance(60) {
                before["restartPolicy"] = self.of(&["Always", "Always", "OnFailure"]).into();
            }
            spec["initContainers"] = json!([before, self.container("setup")]);
        }
        if self.chance(8) {
            let requests = self.of(&[
                json!({"cpu": "1"}),
                json!({"memory": "1Gi"}),
                json!({"cpu": "750m", "memory": "1.5Gi"}),
                json!({}),
                json!({"example.com/gpu": "1"}),
            ]);
            spec["resources"] = json!({"requests": requests});
        }
        if self.chance(5) {
            spec["overhead"] = self.of(&[json!({"cpu": "50m"}), json!({"cpu": "500u", "memory": "32Mi"})]);
        }
        spec
    }

    fn container(&mut self, name: &str) -> Value {
        let mut requests = Map::new();
        if self.chance(99) {
            let cpu = if self.chance(98) {
                self.of(&["100m", "250m", "0.5", "1", "200m"]).to_owned()
            } else {
                self.strange()
            };
            requests.insert("cpu".into(), cpu.into());
        }
        if self.chance(97) {
            requests.insert("memory".into(), self.of(&["128Mi", "256Mi", "1Gi", "1.5Gi", "100M", "1e8"]).into());
        }
        json!({"name": name, "resources": {"requests": requests}})
    }

    // === what is measured ===

    fn pod_metrics(&mut self, fleet: &Fleet) -> Value {
        if self.chance(3) {
            return json!([]);
        }
        // One load for all, in percent of what is asked for, at and around the edges of the usual targets and tolerances.
        let load =
            self.of(&[0, 10, 25, 44, 45, 46, 49, 50, 51, 54, 55, 56, 60, 66, 72, 80, 88, 89, 100, 110, 150, 200, 399]);
        let even = self.chance(50);
        let calm = self.chance(40);
        let mut list = Vec::new();
        for pod in &fleet.pods {
            if !calm && self.chance(12) {
                continue;
            }
            let load = if even { load } else { load + self.between(-9, 9).max(-load) };
            let sample = self.sample(pod, load);
            list.push(sample);
        }
        if self.chance(6) {
            let stranger =
                json!({"metadata": {"name": "stranger"}, "spec": {"containers": [{"name": "app"}]}, "status": {}});
            let sample = self.sample(&stranger, load);
            list.push(sample);
        }
        list.into()
    }

    fn sample(&mut self, pod: &Value, load: i64) -> Value {
        let taken = self.of(&[0, 5, 10, 14, 15, 16, 30, 31, 59, 60, 61, 120]);
        let mut containers = Vec::new();
        let inits = pod["spec"]["initContainers"].as_array().into_iter().flatten();
        let sidecars = inits.filter(|container| container["restartPolicy"] == "Always");
        for container in pod["spec"]["containers"].as_array().into_iter().flatten().chain(sidecars) {
            if self.chance(1) {
                continue;
            }
            let asked = &container["resources"]["requests"];
            let milli = match asked["cpu"].as_str() {
                Some("100m") => 100,
                Some("200m") => 200,
                Some("0.5") => 500,
                Some("1") => 1000,
                _ => 250,
            };
            let micro = milli * load * 10;
            let cpu = match self.random.random_range(0..20) {
                0 => format!("{}n", micro * 1000 + 1),
                1 => self.strange(),
                2..=10 => format!("{micro}u"),
                _ => format!("{}m", micro / 1000),
            };
            let memory = if self.chance(50) { format!("{}Ki", load * 2621) } else { format!("{}Mi", load * 2) };
            let mut usage = Map::new();
            if self.chance(99) {
                usage.insert("cpu".into(), cpu.into());
            }
            if self.chance(98) {
                usage.insert("memory".into(), memory.into());
            }
            containers.push(json!({"name": container["name"], "usage": usage}));
        }
        let mut metadata = json!({"name": pod["metadata"]["name"], "namespace": "shop"});
        if self.chance(50) && !pod["metadata"]["labels"].is_null() {
            metadata["labels"] = pod["metadata"]["labels"].clone();
        }
        let window = self.of(&["15s", "15.5s", "30s", "1m0s", "0s"]);
        json!({"metadata": metadata, "timestamp": self.ago(taken), "window": window, "containers": containers})
    }

    fn pods_metrics(&mut self, names: &[String]) -> Value {
        if self.chance(4) {
            return json!({});
        }
        let base = self.of(&[0, 10, 50, 89, 90, 91, 99, 100, 101, 109, 110, 111, 150, 200, 400, 999]);
        let even = self.chance(60);
        let mut values = Map::new();
        for name in names {
            if self.chance(92) {
                let value = if even { base } else { base + self.between(-3, 3) };
                let text = if self.chance(97) { format!("{value}") } else { self.strange() };
                values.insert(name.clone(), text.into());
            }
        }
        if self.chance(6) {
            values.insert("stranger".into(), "70".into());
        }
        json!({"rps": values})
    }

    fn values(&mut self) -> Value {
        if self.chance(5) {
            return json!({});
        }
        json!({"depth": self.amount()})
    }

    fn series(&mut self) -> Value {
        if self.chance(5) {
            return json!({});
        }
        let count = self.of(&[0, 1, 1, 1, 2, 3]);
        json!({"lag": (0..count).map(|_| self.amount()).collect::<Vec<_>>()})
    }

    fn amount(&mut self) -> String {
        if self.chance(8) {
            return self.strange();
        }
        let value = self.of(&[0, 1, 5, 89, 90, 91, 100, 109, 110, 111, 250, 500, 900, 1000, 1100, 1101, 3000]);
        if self.chance(30) { format!("{value}500m") } else { format!("{value}") }
    }

    /// What nobody means.
    fn strange(&mut self) -> String {
        const STRANGE: [&str; 26] = [
            "0",
            "-1",
            "-100m",
            "-1500u",
            "0.1m",
            "1n",
            "1.5Gi",
            "10P",
            "9223372036854775807",
            "9223372036854775807m",
            "9E",
            "1e3",
            "-0.3Ki",
            "100Ei",
            "-100Ei",
            "0.1Ki",
            "1e30",
            "12345678901234567890",
            "-12345678901234567890m",
            "999999999999999999",
            "1.0000000001",
            "-1.0000000001",
            "1e-12",
            "2147483648",
            "0.0005",
            "7E",
        ];
        if self.chance(50) { self.of(&STRANGE).to_owned() } else { self.any_quantity() }
    }

    /// Whatever the grammar of quantities allows.
    fn any_quantity(&mut self) -> String {
        let mut digits = |most| -> String {
            let count = self.between(0, most);
            (0..count).map(|_| char::from(b'0' + self.of(&[0, 0, 1, 5, 9, 9, 2, 4]))).collect()
        };
        let (whole, fraction) = (digits(20), digits(12));
        let point = if fraction.is_empty() && self.chance(90) { "" } else { "." };
        let sign = self.of(&["", "", "", "+", "-"]);
        let suffix = self.of(&[
            "", "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-5",
            "e+20", "e-11",
        ]);
        let whole = if whole.is_empty() && fraction.is_empty() { "0" } else { &whole };
        format!("{sign}{whole}{point}{fraction}{suffix}")
    }

    // === the autoscaler ===

    fn metrics(&mut self) -> Vec<Value> {
        let count = if self.chance(3) { 0 } else { self.of(&[1, 1, 1, 2, 2, 3]) };
        (0..count).map(|_| self.metric()).collect()
    }

    fn metric(&mut self) -> Value {
        let resource = self.of(&["cpu", "cpu", "cpu", "memory", "example.com/gpu"]);
        match self.random.random_range(0..100) {
            0..30 => json!({"type": "Resource", "resource": {"name": resource, "target": self.utilization()}}),
            30..42 => json!({"type": "Resource", "resource": {"name": resource, "target": self.average(&["50m", "100m", "125m", "500m", "100Mi", "1Gi"])}}),
            42..54 => {
                let container = self.of(&["app", "app", "side", "gone", ""]);
                let target = if self.chance(70) { self.utilization() } else { self.average(&["100m", "125m", "64Mi"]) };
                json!({"type": "ContainerResource", "containerResource": {"name": resource, "container": container, "target": target}})
            }
            54..70 => json!({"type": "Pods", "pods": {"metric": self.named("rps"), "target": self.average(&["100", "50", "100500m", "0", "-10"])}}),
            70..84 => {
                let target = if self.chance(50) { self.value(&["100", "10", "1k", "0"]) } else { self.average(&["100", "10", "30500m", "0"]) };
                let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "door"});
                json!({"type": "Object", "object": {"describedObject": object, "metric": self.named("depth"), "target": target}})
            }
            84..98 => {
                let target = if self.chance(50) { self.value(&["100", "10", "1k", "0"]) } else { self.average(&["100", "10", "30500m", "0"]) };
                json!({"type": "External", "external": {"metric": self.named("lag"), "target": target}})
            }
            98 => json!({"type": "Guess"}),
            _ => self.of(&[
                json!({"type": "Pods"}),
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}),
                json!({"type": "Object", "object": {"metric": {"name": "depth"}, "target": {"type": "Utilization", "value": "3"}}}),
                json!({"type": "External", "external": {"metric": {"name": "lag"}, "target": {"type": "Value"}}}),
            ]),
        }
    }

    fn named(&mut self, name: &str) -> Value {
        let mut metric = json!({"name": if self.chance(95) { name } else { "gone" }});
        if self.chance(10) {
            metric["selector"] = self.of(&[
                json!({"matchLabels": {"queue": "a"}}),
                json!({}),
                json!({"matchExpressions": [{"key": "queue", "operator": "In", "values": ["a", "b"]}]}),
                json!({"matchExpressions": [{"key": "queue", "operator": "In"}]}),
                json!({"matchExpressions": [{"key": "queue", "operator": "Near", "values": ["a"]}]}),
                json!({"matchLabels": {"bad key": "a"}}),
            ]);
        }
        metric
    }

    fn utilization(&mut self) -> Value {
        let percent = if self.chance(97) {
            self.of(&[50, 50, 60, 80, 100, 110, 200, 1])
        } else {
            self.of(&[0, -1, i32::MAX, i32::MIN])
        };
        json!({"type": "Utilization", "averageUtilization": percent})
    }

    fn average(&mut self, choices: &[&str]) -> Value {
        let target = if self.chance(95) { self.of(choices).to_owned() } else { self.strange() };
        json!({"type": "AverageValue", "averageValue": target})
    }

    fn value(&mut self, choices: &[&str]) -> Value {
        let target = if self.chance(95) { self.of(choices).to_owned() } else { self.strange() };
        json!({"type": "Value", "value": target})
    }

    fn autoscaler(&mut self, current: i64, metrics: &[Value]) -> Value {
        let most = match self.random.random_range(0..20) {
            0 => self.of(&[0, 1, i32::MAX, -5]).into(),
            1 | 2 => self.between(1, 8),
            _ => self.between(current.clamp(0, 60), 60),
        };
        let reference = if self.chance(99) { "apps/v1" } else { self.of(&["a/b/c", "v1", "", "/"]) };
        let mut spec = json!({
            "scaleTargetRef": {"apiVersion": reference, "kind": "Deployment", "name": "web"},
            "maxReplicas": most,
            "metrics": metrics,
        });
        if self.chance(85) {
            let least =
                if self.chance(97) { self.of(&[1, 1, 1, 2, 3, 5, 0]) } else { self.of(&[-3, i32::MAX, i32::MIN, 40]) };
            spec["minReplicas"] = least.into();
        }
        if self.chance(60) {
            spec["behavior"] = json!({"scaleUp": self.rules(true), "scaleDown": self.rules(false)});
        }
        let mut hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        if self.chance(40) {
            hpa["status"] =
                json!({"currentReplicas": current, "desiredReplicas": current, "conditions": self.conditions()});
        }
        hpa
    }

    fn rules(&mut self, up: bool) -> Value {
        let count = self.of(&[0, 1, 1, 1, 2, 2, 3]);
        let policies: Vec<Value> = (0..count).map(|_| self.policy()).collect();
        let mut rules =
            json!({"selectPolicy": self.of(&["Max", "Max", "Max", "Min", "Disabled", "Odd"]), "policies": policies});
        if up || self.chance(70) {
            rules["stabilizationWindowSeconds"] = self.of(&[0, 0, 0, 15, 60, 300, 3600]).into();
        }
        if self.chance(25) {
            let tolerance = if self.chance(90) {
                self.of(&["0", "50m", "0.05", "0.1", "100m", "0.2", "1", "75m"]).to_owned()
            } else {
                self.strange()
            };
            rules["tolerance"] = tolerance.into();
        }
        rules
    }

    fn policy(&mut self) -> Value {
        let kind = self.of(&["Pods", "Pods", "Percent", "Percent", "Percent", "Guess"]);
        let value = if self.chance(97) {
            self.of(&[1, 2, 4, 10, 25, 33, 50, 100, 150])
        } else {
            self.of(&[0, -10, i32::MAX, i32::MIN])
        };
        let period = if self.chance(97) { self.of(&[15, 30, 60, 300, 1800]) } else { self.of(&[0, -60, i32::MAX]) };
        json!({"type": kind, "value": value, "periodSeconds": period})
    }

    fn conditions(&mut self) -> Value {
        let mut conditions = vec![
            json!({"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "fine", "lastTransitionTime": self.ago(900)}),
            json!({"type": "ScalingActive", "status": self.of(&["True", "False"]), "reason": "ValidMetricFound"}),
            json!({"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange"}),
        ];
        if self.chance(30) {
            conditions
                .push(json!({"type": "ScaledToZero", "status": self.of(&["True", "False"]), "reason": "ScaledToZero"}));
        }
        let turn = self.random.random_range(0..conditions.len());
        conditions.rotate_left(turn);
        let kept = self.random.random_range(0..=conditions.len());
        conditions.truncate(kept);
        conditions.into()
    }

    // === the controller ===

    fn memory(&mut self, case: &mut Value, current: i64) {
        if self.chance(65) {
            let count = self.between(0, 6);
            let list: Vec<Value> = (0..count)
                .map(|_| {
                    let age = self.of(&[0, 1, 14, 15, 16, 59, 60, 61, 120, 299, 300, 301, 600, 3600]);
                    let replicas = if self.chance(98) {
                        (current + self.between(-5, 5)).clamp(0, i32::MAX.into())
                    } else {
                        self.of(&[i32::MAX, -1]).into()
                    };
                    json!({"at": self.ago(age), "replicas": replicas})
                })
                .collect();
            case["recommendations"] = list.into();
        }
        for field in ["scaleUpEvents", "scaleDownEvents"] {
            if self.chance(40) {
                let count = self.between(0, 4);
                let list: Vec<Value> = (0..count)
                    .map(|_| {
                        let age = self.of(&[0, 1, 14, 15, 16, 29, 30, 31, 60, 299, 300, 301, 1799, 1800]);
                        let change = if self.chance(98) { self.between(1, 6) } else { i32::MAX.into() };
                        json!({"at": self.ago(age), "change": change})
                    })
                    .collect();
                case[field] = list.into();
            }
        }
        if self.chance(35) {
            case["controller"] = self.controller();
        }
    }

    fn controller(&mut self) -> Value {
        let mut controller = json!({});
        if self.chance(50) {
            controller["tolerance"] = self.of(&[0.0, 0.05, 0.1, 0.2, 1.0, 0.123_456_789]).into();
        }
        if self.chance(50) {
            controller["cpuInitializationPeriod"] = self.of(&["2m0s", "5m0s", "0s", "1h", "30.5s"]).into();
        }
        if self.chance(50) {
            controller["initialReadinessDelay"] = self.of(&["30s", "10s", "0s", "1m30s"]).into();
        }
        if self.chance(50) {
            controller["downscaleStabilization"] = self.of(&["5m0s", "0s", "1m", "15s", "1m0.5s", "-5s"]).into();
        }
        if self.chance(40) {
            let gates = [
                ("HPAScaleToZero", self.chance(70)),
                ("HPAConfigurableTolerance", self.chance(60)),
                ("PodLevelResources", self.chance(50)),
            ];
            controller["featureGates"] =
                gates.into_iter().map(|(gate, on)| (gate.to_owned(), on.into())).collect::<Map<_, _>>().into();
        }
        controller
    }
}

/// RFC 3339 of seconds since 1970.
fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days of a year that begins in March, in eras of 400 years (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
