//! One contestant's service: the simulated replicas, their database, and what can be measured of both.
//!
//! A request needs 12 ms of a replica's own and one question to the database, 8 ms while that is well: 50 requests/s a replica, as the
//! reference service. Each contestant has a service of its own with the same seed, so that all serve the very same requests.
//! The database is slower the more replicas ask it at once (beyond `CONNECTIONS`), and slower by itself while that goes wrong; its time is
//! part of the service time, and none of the CPU time.

use super::rival::Seen;
use super::scene::Ledger;
use std::collections::VecDeque;
use trimtab_core::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_sim::law::{Law, Pace, Startup};
use trimtab_sim::service::{Observed, Service};

/// Between two looks: the scrape interval.
pub(crate) const TICK: Seconds = Seconds::whole(5);
/// Rates and percentiles are over so many looks: half a minute.
const LOOKS: usize = 6;
/// A replica's own share of a request, and the database's while it is well.
const OWN: f64 = 0.012;
const DATABASE: f64 = 0.008;
/// So many questions at once take the database no longer than one.
const CONNECTIONS: f64 = 40.0;
/// How many times as long it takes while it is slow.
const SLOW: f64 = 3.0;
/// From ordering a replica to its serving, median; three times as long while that goes wrong.
const STARTUP: Seconds = Seconds::whole(30);
/// Replicas when it begins.
pub(crate) const FIRST: u32 = 4;

fn seconds(seconds: f64) -> Seconds {
    Seconds::new(seconds).unwrap_or_default()
}

/// A replica as the API server would show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Replica {
    /// Of all that were ever ordered, the how manieth it is.
    pub(crate) number: u64,
    pub(crate) created: Timestamp,
    pub(crate) ready: Option<Timestamp>,
}

/// What happens to a service beside its demand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) database_slow: bool,
    pub(crate) start_slow: bool,
}

/// What can be measured, of the last half-minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Requests that arrived a second.
    pub(crate) rate: RequestsPerSecond,
    /// 99th percentile of what ended.
    pub(crate) p99: Option<Seconds>,
    /// CPU of the ready replicas, relative to what they ask for.
    pub(crate) cpu: Ratio,
    /// How long the database takes for a question.
    pub(crate) database: Seconds,
}

/// A service with its database.
#[derive(Debug)]
pub(crate) struct Plant {
    law: Law,
    service: Service,
    replicas: Vec<Replica>,
    ordered: u64,
    looks: VecDeque<Observed>,
    pub(crate) measured: Measured,
    /// Hours of replicas so far, starting ones too.
    pub(crate) hours: f64,
    /// Changes of the size, and replicas added and removed by them.
    changes: u64,
    churn: u64,
}

impl Plant {
    pub(crate) fn new(seed: u64, at: Timestamp) -> Self {
        let law = Law { startup: Startup::Scattered(STARTUP), ..Law::benchmark(seed) };
        let replicas = (0..u64::from(FIRST))
            .map(|number| Replica {
                number,
                created: Timestamp(at.0 - 3_600_000),
                ready: Some(Timestamp(at.0 - 3_560_000)),
            })
            .collect();
        Self {
            law,
            service: Service::new(law, FIRST as usize),
            replicas,
            ordered: u64::from(FIRST),
            looks: VecDeque::new(),
            measured: Measured { database: seconds(DATABASE), ..Measured::default() },
            hours: 0.0,
            changes: 0,
            churn: 0,
        }
    }

    /// Lets a tick pass, which ends at `at`.
    pub(crate) fn advance(&mut self, rate: RequestsPerSecond, weather: Weather, at: Timestamp) {
        let startup = if weather.start_slow { STARTUP + STARTUP + STARTUP } else { STARTUP };
        let pace = Ratio::new((OWN + DATABASE) / (OWN + self.measured.database.get())).unwrap_or(Ratio::ONE);
        self.law = Law { pace: Pace::Steady(pace), startup: Startup::Scattered(startup), ..self.law };
        self.service.become_like(self.law);
        self.hours += self.replicas.len() as f64 * TICK.get() / 3600.0;
        let observed = self.service.advance(TICK, rate);
        let at_once = observed.busy.get() / TICK.get();
        let slow = if weather.database_slow { SLOW } else { 1.0 };
        let database = seconds(DATABASE * slow * (at_once / CONNECTIONS).max(1.0));
        self.looks.push_back(observed);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let mut all = Observed::default();
        self.looks.iter().for_each(|look| all.absorb(look));
        let span = TICK.get() * self.looks.len() as f64;
        // A core's worth of own time is what a replica asks for: at 50 requests/s it is as busy as that.
        let cpu = all.ended as f64 * (OWN + DATABASE) / (span * self.service.ready().max(1) as f64);
        self.measured = Measured {
            rate: RequestsPerSecond::new(all.arrived as f64 / span).unwrap_or_default(),
            p99: all.p99(),
            cpu: Ratio::new(cpu).unwrap_or_default(),
            database,
        };
        self.become_ready(at);
    }

    /// As many as serve are ready, in the order in which they were ordered.
    fn become_ready(&mut self, at: Timestamp) {
        let mut new = self.service.ready().saturating_sub(self.ready().0 as usize);
        for replica in &mut self.replicas {
            if new > 0 && replica.ready.is_none() {
                replica.ready = Some(at);
                new -= 1;
            }
        }
    }

    /// Sets the number of replicas.
    pub(crate) fn scale(&mut self, to: Replicas, at: Timestamp) {
        let before = self.wanted().0;
        if to.0 == before {
            return;
        }
        self.changes += 1;
        self.churn += u64::from(to.0.abs_diff(before));
        self.service.scale(to.0 as usize);
        while self.replicas.len() > to.0 as usize {
            // Those that are still starting go first, as in the service.
            let leaves = self.replicas.iter().rposition(|replica| replica.ready.is_none());
            self.replicas.remove(leaves.unwrap_or(0));
        }
        self.order(to, at);
        self.become_ready(at);
    }

    fn order(&mut self, to: Replicas, at: Timestamp) {
        while self.replicas.len() < to.0 as usize {
            self.replicas.push(Replica { number: self.ordered, created: at, ready: None });
            self.ordered += 1;
        }
    }

    /// A replica is lost, and another one ordered in its place.
    pub(crate) fn kill(&mut self, at: Timestamp) {
        let Some(lost) = self.replicas.iter().position(|replica| replica.ready.is_some()) else { return };
        let wanted = self.wanted();
        self.service.lose_one();
        self.service.scale(wanted.0 as usize);
        self.replicas.remove(lost);
        self.order(wanted, at);
    }

    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    pub(crate) fn wanted(&self) -> Replicas {
        Replicas(u32::try_from(self.replicas.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn ready(&self) -> Replicas {
        let ready = self.replicas.iter().filter(|replica| replica.ready.is_some()).count();
        Replicas(u32::try_from(ready).unwrap_or(u32::MAX))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.service.waiting()
    }

    /// What another autoscaler can know of it; `dark`: Prometheus answers nothing.
    pub(crate) fn seen(&self, dark: bool, at: Timestamp) -> Seen {
        let measured =
            self.replicas.iter().filter(|replica| replica.ready.is_some_and(|ready| at.since(ready) >= TICK));
        Seen {
            wanted: self.wanted(),
            replicas: self.replicas.clone(),
            cpu: measured.map(|replica| (replica.number, self.measured.cpu)).collect(),
            rate: (!dark).then_some(self.measured.rate),
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let windows = self.service.grades().iter().map(|grade| (grade.requests, grade.violates()));
        Ledger { hours: self.hours, changes: self.changes, churn: self.churn, windows: windows.collect() }
    }

    /// Follows what is present to its end.
    pub(crate) fn end(&mut self) {
        self.service.drain();
    }
}
