//! What trimtab may ask of the API server: the one list, which the shipped roles are compared with.

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Wherever workloads are.
    Workloads,
    /// In the agents' own namespace.
    Own,
    /// In no namespace.
    Cluster,
}

/// When a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Whatever is asked for.
    Always,
    /// To write.
    Writes,
    /// To ask who looks.
    Authenticates,
}

/// A right, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, in the plural.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Where.
    pub place: Place,
    /// When it is needed.
    pub when: When,
    /// What for.
    pub why: &'static str,
}

const READ: &[&str] = &["list", "watch"];
const READ_ONE: &[&str] = &["get", "list", "watch"];

const fn read(group: &'static str, resource: &'static str, verbs: &'static [&'static str], why: &'static str) -> Right {
    Right { group, resource, verbs, place: Place::Workloads, when: When::Always, why }
}

const fn write(
    place: Place,
    (group, resource): (&'static str, &'static str),
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right { group, resource, verbs, place, when: When::Writes, why }
}

const fn review(group: &'static str, resource: &'static str, why: &'static str) -> Right {
    Right { group, resource, verbs: &["create"], place: Place::Cluster, when: When::Authenticates, why }
}

/// All of them.
pub const ALL: &[Right] = &[
    read("apps", "deployments", READ_ONE, "sizes and claims; reading back a write whose answer was lost"),
    read("apps", "statefulsets", READ_ONE, "the same"),
    read("apps", "replicasets", READ_ONE, "the same"),
    read("", "pods", READ, "Ready or starting, how long starting takes, and on which node"),
    read("", "configmaps", READ, "policies; what an adapter's metrics are made of"),
    read("autoscaling", "horizontalpodautoscalers", READ, "what other autoscalers want, as policies in shadow"),
    read("keda.sh", "scaledobjects", READ, "the same"),
    write(Place::Workloads, ("apps", "deployments"), &["patch"], "replicas and claims"),
    write(Place::Workloads, ("apps", "statefulsets"), &["patch"], "replicas and claims"),
    write(Place::Workloads, ("autoscaling", "horizontalpodautoscalers"), &["patch"], "floors and claims"),
    write(Place::Workloads, ("keda.sh", "scaledobjects"), &["patch"], "floors and claims"),
    write(Place::Workloads, ("events.k8s.io", "events"), &["create", "patch"], "what was changed, and why"),
    write(Place::Own, ("coordination.k8s.io", "leases"), &["get", "create", "update"], "who lives"),
    review("authentication.k8s.io", "tokenreviews", "whose a token is"),
    review("authorization.k8s.io", "subjectaccessreviews", "whether they may look"),
    write(Place::Own, ("discovery.k8s.io", "endpointslices"), READ, "who the agents are"),
];
