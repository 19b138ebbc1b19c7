//! What a Deployment and a kubelet are in a cluster: as many replicas of the reference service as are wanted, each a task that answers real
//! requests on a port of its own.
//!
//! A replica that starts is probed until it is ready and only then gets requests; one that leaves gets no further ones, and ends when what
//! is inside has been answered; one that is lost breaks its connections.

use super::super::plant::{FIRST, Replica};
use super::scrape::{EVERY, Measured, Scraped, Scraper};
use crate::clock::Clock;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use trimtab_core::unit::{Replicas, Seconds, Timestamp};
use trimtab_load::{Balance, Fleet, Meant};
use trimtab_reference::database::Database;
use trimtab_reference::{Replica as Service, Settings, serve};

/// Mean service time; the database takes its own on top.
const SERVICE: Duration = Duration::from_millis(20);
/// Share of it that burns CPU: next to nothing, since all replicas share this machine.
const CPU_SHARE: f64 = 0.002;
/// Requests that wait at a replica at most: a second of its work.
const QUEUE: usize = 50;
/// A question to the database, while it is well, and while it is slow; how many it answers at a time, and how many a replica asks.
const DATABASE: Duration = Duration::from_millis(8);
const SLOW: Duration = Duration::from_millis(120);
const CAPACITY: usize = 100;
const POOL: usize = 10;
/// From ordering a replica to its serving, a tenth of what is common; three times as long while that goes wrong.
const STARTUP: Duration = Duration::from_secs(3);
/// How often a replica that starts is probed.
const PROBE: Duration = Duration::from_millis(200);
/// A replica that leaves serves on for so long, and then until all is answered, but no longer than the second time.
const DRAIN: Duration = Duration::from_millis(200);
const LEAVES: Duration = Duration::from_secs(10);
/// No answer within this time is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A fleet that somebody scales.
#[derive(Debug)]
pub(super) struct Deployment {
    seed: u64,
    clock: Clock,
    state: Mutex<State>,
    /// What the load is put on.
    pub(super) load: Arc<Fleet>,
    database: Database,
    database_at: SocketAddr,
    _database: AbortOnDropHandle<()>,
    pub(super) scraped: Mutex<Scraped>,
    /// Grows with everything that an API server would show.
    pub(super) changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    wanted: u32,
    ordered: u64,
    generation: i64,
    members: Vec<Member>,
    start_slow: bool,
    changes: u64,
    churn: u64,
    /// Why the last replica could not be started.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Member {
    replica: Replica,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: AbortOnDropHandle<()>,
    /// Probes it until it is ready.
    _kubelet: AbortOnDropHandle<()>,
}

/// What an API server would show of it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) wanted: u32,
    pub(super) generation: i64,
    pub(super) replicas: Vec<Replica>,
}

impl Deployment {
    /// A fleet of the first size, which has long been ready, and its database.
    pub(super) async fn start(seed: u64, clock: Clock) -> std::io::Result<Arc<Self>> {
        let database = Database::new(DATABASE, CAPACITY);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let database_at = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, database.router(false), std::future::pending()));
        let fleet = Arc::new(Self {
            seed,
            clock,
            state: Mutex::new(State { wanted: FIRST, generation: 1, ..State::default() }),
            load: Arc::new(Fleet::new(Balance::LeastOutstanding, seed, TIMEOUT, true)),
            database,
            database_at,
            _database: AbortOnDropHandle::new(server),
            scraped: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let mut state = fleet.state();
        for _ in 0..FIRST {
            let created = Timestamp(fleet.clock.now().0 - 3_600_000);
            state.ordered += 1;
            let mut member = fleet.member(state.ordered, Duration::ZERO, created)?;
            member.replica.ready = Some(created.after(Seconds::new(STARTUP.as_secs_f64()).unwrap_or_default()));
            state.members.push(member);
        }
        fleet.balance(&state);
        drop(state);
        Ok(fleet)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a list of replicas that is still one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the number of replicas.
    pub(super) fn scale(self: &Arc<Self>, to: Replicas) {
        let mut state = self.state();
        if to.0 == state.wanted {
            return;
        }
        state.changes += 1;
        state.churn += u64::from(to.0.abs_diff(state.wanted));
        state.wanted = to.0;
        state.generation += 1;
        self.settle(state);
    }

    /// Tries again what could not be started.
    pub(super) fn reconcile(self: &Arc<Self>) {
        self.settle(self.state());
    }

    /// Starts what is missing, and lets go of what is too many: those that are still starting first, then the youngest. Whoever changes the
    /// size meanwhile waits, so that two changes never both start what is missing.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut leaving = Vec::new();
        while state.members.len() > state.wanted as usize {
            let starting = state.members.iter().rposition(|member| member.replica.ready.is_none());
            let last = starting.unwrap_or(state.members.len() - 1);
            leaving.push(state.members.remove(last));
        }
        let startup = if state.start_slow { 3 * STARTUP } else { STARTUP };
        while state.members.len() < state.wanted as usize {
            state.ordered += 1;
            match self.member(state.ordered, startup, self.clock.now()) {
                Ok(member) => state.members.push(member),
                Err(error) => {
                    state.trouble = Some(format!("a replica could not be started: {error}"));
                    break;
                }
            }
        }
        self.balance(&state);
        drop(state);
        for Member { stop, server, .. } in leaving {
            tokio::spawn(async move {
                tokio::time::sleep(DRAIN).await;
                let _ = stop.send(());
                drop(tokio::time::timeout(LEAVES, server).await);
            });
        }
    }

    /// A replica that is lost, and another one ordered in its place.
    pub(super) fn kill(self: &Arc<Self>) {
        let mut state = self.state();
        let lost = state.members.iter().position(|member| member.replica.ready.is_some());
        // Its connections end with it.
        drop(lost.map(|lost| state.members.remove(lost)));
        self.settle(state);
    }

    /// A new replica, which is ready after `startup`, give or take a third.
    fn member(self: &Arc<Self>, number: u64, startup: Duration, created: Timestamp) -> std::io::Result<Member> {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
        let startup = startup.mul_f64(Pcg64Mcg::seed_from_u64(seed).random_range(0.8..1.4));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let service = Service::new(Settings {
            service_time: SERVICE,
            cpu_share: CPU_SHARE,
            queue: QUEUE,
            seed,
            database: Some((format!("http://{}", self.database_at), POOL)),
        })
        .map_err(std::io::Error::other)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (router, phase) = (service.router(), service.phase());
        let server = tokio::spawn(async move {
            let starts = async {
                tokio::time::sleep(startup).await;
                phase.started();
                std::future::pending::<()>().await;
            };
            let stop = async {
                drop(stopped.await);
            };
            tokio::select! {
                () = serve(listener, router, stop) => {}
                () = starts => {}
            }
        });
        let kubelet = tokio::spawn(probe(Arc::downgrade(self), number, address));
        Ok(Member {
            replica: Replica { number, created, ready: None },
            address,
            stop,
            server: AbortOnDropHandle::new(server),
            _kubelet: AbortOnDropHandle::new(kubelet),
        })
    }

    fn become_ready(&self, number: u64) {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(member) = state.members.iter_mut().find(|member| member.replica.number == number) {
            member.replica.ready.get_or_insert(now);
        }
        self.balance(&state);
    }

    /// Those that are ready get requests; everybody who watches is told. The state is held, so that no older one is put on after a newer.
    fn balance(&self, state: &State) {
        let ready = state.members.iter().filter(|member| member.replica.ready.is_some()).map(url).collect();
        self.load.become_these(ready);
        self.changed.send_modify(|changes| *changes += 1);
    }

    // === what can be seen of it ===

    pub(super) fn shown(&self) -> Shown {
        let state = self.state();
        Shown {
            wanted: state.wanted,
            generation: state.generation,
            replicas: state.members.iter().map(|member| member.replica).collect(),
        }
    }

    /// Changes of the size, and replicas added and removed by them.
    pub(super) fn changes(&self) -> (u64, u64) {
        let state = self.state();
        (state.changes, state.churn)
    }

    /// What has gone wrong with it since somebody asked.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state().trouble.take()
    }

    /// Scrapes all replicas; `dark`: Prometheus is lost.
    pub(super) async fn scrape(&self, scraper: &Scraper, dark: bool) {
        let replicas: Vec<(u64, SocketAddr)> =
            self.state().members.iter().map(|member| (member.replica.number, member.address)).collect();
        let round = scraper.scrape(&replicas).await;
        self.scraped().take_in(&round, dark);
    }

    /// Forgets what was measured: rates over a time that stood still are none.
    pub(super) fn forget(&self) {
        *self.scraped() = Scraped::default();
    }

    pub(super) fn scraped(&self) -> MutexGuard<'_, Scraped> {
        self.scraped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Prometheus would answer, while its samples are no older than a few scrapes.
    pub(super) fn measured(&self) -> Option<Measured> {
        self.scraped().measured().filter(|measured| measured.newest < 5 * EVERY)
    }

    // === what happens to it ===

    pub(super) fn make_database_slow(&self, slow: bool) {
        self.database.set_latency(if slow { SLOW } else { DATABASE });
    }

    pub(super) fn make_starts_slow(&self, slow: bool) {
        self.state().start_slow = slow;
    }
}

fn url(member: &Member) -> String {
    format!("http://{}/work", member.address)
}

/// Probes a replica until it is ready.
async fn probe(fleet: std::sync::Weak<Deployment>, number: u64, address: SocketAddr) {
    let probe = Fleet::new(Balance::RoundRobin, 0, PROBE, false);
    probe.become_these(vec![format!("http://{address}/readyz")]);
    loop {
        let meant = Meant { begun: tokio::time::Instant::now(), due: Duration::ZERO };
        if probe.ask(meant).await.end == trimtab_load::End::Served {
            break;
        }
        tokio::time::sleep(PROBE).await;
    }
    if let Some(fleet) = fleet.upgrade() {
        fleet.become_ready(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two changes that come quickly, while somebody loses a replica and somebody tries again: as many as were wanted last.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn changes_that_come_at_once_start_no_replica_twice() {
        let fleet = Deployment::start(1, Clock::start()).await.unwrap();
        for round in 0..12_u32 {
            let changes: Vec<_> = (0..6_u32)
                .map(|change| {
                    let fleet = Arc::clone(&fleet);
                    tokio::spawn(async move {
                        match change {
                            0 => fleet.reconcile(),
                            1 => fleet.kill(),
                            _ => fleet.scale(Replicas(2 + (7 * round + 5 * change) % 11)),
                        }
                    })
                })
                .collect();
            for change in changes {
                change.await.unwrap();
            }
            let shown = fleet.shown();
            assert_eq!(shown.replicas.len(), shown.wanted as usize, "round {round}");
        }
        let all_ready = async {
            while fleet.load.len() != fleet.shown().wanted as usize {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), all_ready).await.unwrap();
        let mut numbers: Vec<u64> = fleet.shown().replicas.iter().map(|replica| replica.number).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), fleet.load.len(), "each has a number of its own");
    }
}
