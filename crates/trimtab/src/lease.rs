//! Who may act: one agent, chosen by a Lease.
//!
//! Every agent decides; the holder of the Lease writes. What to do with a Lease that was read is a pure function
//! (`claim`); the task around it reads, claims with the resourceVersion that it read, and renews. Expiry is judged by
//! this process's own clock from when it saw the Lease change, never by the times in it, so that a skewed clock steals nothing.
//! A holder's right ends by itself ([`Leadership::Ours`]), whatever became of this task: counted from when the renewal was
//! sent, which is before anybody can have seen it, and early enough that the last write that began under it has been given up
//! when another may take over. A Lease is a hint and no fence all the same (Jepsen, etcd 3.4.3; a request that was given up
//! may still be carried out): what keeps two writers apart is the `test`s in every patch.

use crate::inbox::{Event, Inbox};
use crate::words::chain;
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::Client;
use kube::api::{Api, PostParams};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A Lease that did not change for so long belongs to nobody.
const DURATION: Duration = Duration::from_secs(15);
/// The holder renews this often.
const RENEW: Duration = Duration::from_secs(5);
/// A holder begins no write later than this after it sent its last successful renewal.
const FENCE: Duration = Duration::from_secs(10);
/// A renewal that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(4);
/// Beyond its interval, a round may take so long until its agent is no longer worth renewing for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody was asked yet.
    Unknown,
    /// This agent, until then.
    Ours {
        /// When its right to write ends, unless it is renewed.
        until: Instant,
    },
    /// Another one, by its name.
    Theirs(String),
}

/// Where the Lease is and who asks for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This agent: its pod's name, or host and process.
    pub identity: String,
    /// How often its loop decides.
    pub interval: Duration,
}

/// What was seen of the Lease, and since when it has looked like that.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    holder: String,
    version: Option<String>,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Write our name into it.
    Take,
    /// Another holds it; look again later.
    Wait,
}

fn claim(identity: &str, seen: &Seen, now: Instant) -> Claim {
    let expired = now.duration_since(seen.since) >= DURATION;
    if seen.holder == identity || seen.holder.is_empty() || expired { Claim::Take } else { Claim::Wait }
}

/// Asks for the Lease until the inbox closes, and says who may act. `decided` holds when the loop last decided:
/// an agent that no longer decides lets the Lease go.
#[must_use]
pub fn run(
    client: Client,
    candidate: Candidate,
    decided: watch::Receiver<Instant>,
    inbox: Inbox,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let api: Api<Lease> = Api::namespaced(client, &candidate.namespace);
        let what = format!("lease {}/{}", candidate.namespace, candidate.name);
        let mut seen: Option<Seen> = None;
        let mut said = Leadership::Unknown;
        loop {
            let begun = Instant::now();
            let useful = decided.borrow().elapsed() < candidate.interval + PATIENCE;
            let answer = tokio::time::timeout(DEADLINE, step(&api, &candidate, &mut seen, useful)).await;
            let (now, problem) = match answer {
                Ok(Ok(holder)) => (holder.leadership(begun), None),
                Ok(Err(error)) => (said.clone(), Some(explain(&candidate, &error))),
                Err(_) => (said.clone(), Some(format!("no answer within {} s", DEADLINE.as_secs()))),
            };
            inbox.send(Event::Trouble { what: what.clone(), problem }).await;
            if now != said {
                said = now.clone();
                inbox.send(Event::Leadership(now)).await;
            }
            tokio::select! {
                () = inbox.closed() => break,
                () = tokio::time::sleep(RENEW) => {}
            }
        }
        if matches!(said, Leadership::Ours { .. }) {
            release(&api, &candidate).await;
        }
    })
}

/// Whom the Lease names, after a look at it or a write to it.
enum Holder {
    Nobody,
    Us,
    Other(String),
}

impl Holder {
    /// What follows for who may act, where the look or the write began then.
    fn leadership(self, begun: Instant) -> Leadership {
        match self {
            Self::Nobody => Leadership::Unknown,
            Self::Us => Leadership::Ours { until: begun + FENCE },
            Self::Other(agent) => Leadership::Theirs(agent),
        }
    }
}

async fn step(
    api: &Api<Lease>,
    candidate: &Candidate,
    seen: &mut Option<Seen>,
    useful: bool,
) -> Result<Holder, kube::Error> {
    let Some(lease) = api.get_opt(&candidate.name).await? else {
        if !useful {
            return Ok(Holder::Nobody);
        }
        api.create(&PostParams::default(), &lease_of(candidate, None)).await?;
        return Ok(Holder::Us);
    };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let version = lease.metadata.resource_version.clone();
    if seen.as_ref().is_none_or(|seen| seen.version != version) {
        *seen = Some(Seen { holder: holder.clone(), version, since: Instant::now() });
    }
    let Some(known) = seen.as_ref() else { return Ok(Holder::Nobody) };
    if claim(&candidate.identity, known, Instant::now()) == Claim::Wait {
        return Ok(Holder::Other(holder));
    }
    if !useful {
        return Ok(Holder::Nobody);
    }
    match api.replace(&candidate.name, &PostParams::default(), &lease_of(candidate, Some(&lease))).await {
        Ok(_) => Ok(Holder::Us),
        // Another one was quicker: its name will be there at the next look.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Holder::Nobody),
        Err(error) => Err(error),
    }
}

fn lease_of(candidate: &Candidate, before: Option<&Lease>) -> Lease {
    let now = MicroTime(jiff::Timestamp::now());
    let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let ours = spec.holder_identity.as_deref() == Some(&candidate.identity);
    Lease {
        metadata: ObjectMeta {
            name: Some(candidate.name.clone()),
            namespace: Some(candidate.namespace.clone()),
            resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
            ..before.map(|lease| lease.metadata.clone()).unwrap_or_default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(candidate.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if ours { spec.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..spec
        }),
    }
}

/// Lets the Lease go at a clean end, so that the next agent need not wait for it to expire.
async fn release(api: &Api<Lease>, candidate: &Candidate) {
    let released = async {
        let mut lease = api.get(&candidate.name).await?;
        if let Some(spec) =
            lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&candidate.identity))
        {
            spec.holder_identity = Some(String::new());
            api.replace(&candidate.name, &PostParams::default(), &lease).await?;
        }
        Ok::<(), kube::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(DEADLINE, released).await {
        tracing::warn!(error = chain(&error), "failed to release the lease");
    }
}

fn explain(candidate: &Candidate, error: &kube::Error) -> String {
    let Candidate { namespace, name, .. } = candidate;
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "not allowed to use lease {namespace}/{name}, so nothing is written: grant get, create and update on leases in namespace {namespace} ({})",
            status.message
        ),
        kube::Error::Api(status) if status.code == 404 => {
            format!(
                "namespace {namespace} of the lease does not exist, so nothing is written: create it, or name another with --lease-namespace"
            )
        }
        other => format!("cannot use lease {namespace}/{name}, so nothing is written: {}", chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn seen(holder: &str, since: Instant) -> Seen {
        Seen { holder: holder.into(), version: Some("1".into()), since }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_ours_free_or_has_not_changed_for_its_duration() {
        let now = Instant::now();
        assert_eq!(claim("a", &seen("a", now), now), Claim::Take);
        assert_eq!(claim("a", &seen("", now), now), Claim::Take);
        assert_eq!(claim("a", &seen("b", now), now + DURATION), Claim::Take);
        assert_eq!(claim("a", &seen("b", now), now + DURATION - Duration::from_millis(1)), Claim::Wait);
    }

    #[test]
    fn timings_fit_each_other() {
        assert!(FENCE + act::DEADLINE <= DURATION, "a write that began at the last moment has been given up");
        assert!(RENEW + DEADLINE < FENCE, "one failed renewal costs no right to write");
    }

    /// An API server that creates the Lease, and from then on answers nothing.
    fn hangs_after_the_first_claim() -> Client {
        let claimed = Arc::new(AtomicBool::new(false));
        let answer = move |request: http::Request<kube::client::Body>| {
            let claimed = Arc::clone(&claimed);
            async move {
                let (status, body) = match (request.method().as_str(), claimed.load(Ordering::SeqCst)) {
                    ("GET", false) => {
                        let missing =
                            r#"{"kind":"Status","status":"Failure","message":"","reason":"NotFound","code":404}"#;
                        (404, Vec::from(missing))
                    }
                    ("POST", false) => {
                        claimed.store(true, Ordering::SeqCst);
                        (201, request.into_body().collect_bytes().await.unwrap().to_vec())
                    }
                    _ => std::future::pending().await,
                };
                let response = http::Response::builder().status(status).body(kube::client::Body::from(body)).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "trimtab")
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_stops_before_anybody_may_take_over() {
        let (inbox, mut events) = Inbox::new();
        let (_decided, decides) = watch::channel(Instant::now());
        let candidate = Candidate {
            namespace: "trimtab".into(),
            name: "trimtab".into(),
            identity: "a".into(),
            interval: Duration::from_secs(1),
        };
        let claimed = Instant::now();
        let election = tokio::spawn(run(hangs_after_the_first_claim(), candidate, decides, inbox));
        let mut rights = Vec::new();
        let mut hung = 0;
        while hung < 3 {
            match events.recv().await.unwrap() {
                Event::Leadership(leadership) => rights.push(leadership),
                Event::Trouble { problem: Some(_), .. } => hung += 1,
                _ => {}
            }
        }
        assert!(claimed.elapsed() > FENCE, "renewals were tried all the while");
        assert_eq!(rights, [Leadership::Ours { until: claimed + FENCE }], "and none extended the right");
        drop(events);
        election.await.unwrap();
    }
}
