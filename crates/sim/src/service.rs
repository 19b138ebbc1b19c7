//! The service: one queue, first come first served, shared by all ready replicas; service times exponential.
//!
//! Arrivals are Poisson with a rate that is constant inside an interval. When requests arrive and how much service they need depends
//! on the seed and the interval alone, so that every policy serves the very same requests. A replica that is added takes over queued work
//! at once when it is ready; one that is removed finishes the request that it holds, and those that are still starting go first.
//! Requests are graded by the interval in which they arrive, each followed to its end. Memory holds the requests that are
//! present and nothing of those that are gone.

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use trimtab_core::unit::{RequestsPerSecond, Seconds};

/// Length of an interval: the objective is about half-minutes.
pub const INTERVAL: Seconds = Seconds::whole(30);
/// Latency bins of one millisecond, the last for all that is longer: enough to say by how much 200 ms is missed.
const BINS: usize = 2_000;

/// A moment in simulated time, in nanoseconds, so that events have one order and no rounding.
type Nanos = u64;

fn nanos(seconds: f64) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a day of nanoseconds needs many times over"
    )]
    let raw = (seconds * 1e9).clamp(0.0, 9e18) as Nanos;
    raw
}

/// What a service is like.
#[derive(Clone, Copy, Debug)]
pub struct Law {
    /// Requests a second that one replica serves.
    pub capacity: RequestsPerSecond,
    /// The promised latency.
    pub target: Seconds,
    /// From ordering a replica to its serving.
    pub startup: Seconds,
    /// Seed of arrivals and service needs.
    pub seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    arrived: Nanos,
    needs: Nanos,
    interval: u64,
}

/// What became of the requests of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grade {
    /// Requests that arrived in it.
    pub requests: u64,
    /// Those that took longer than the target.
    pub slow: u64,
}

impl Grade {
    /// Whether the interval violates the objective: more than one of a hundred was slow.
    #[must_use]
    pub fn violates(&self) -> bool {
        self.slow > self.requests / 100
    }
}

/// What could be observed between two ticks.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that ended.
    pub ended: u64,
    latencies: Vec<u32>,
}

impl Observed {
    fn new() -> Self {
        Self { arrived: 0, ended: 0, latencies: vec![0; BINS] }
    }

    /// The 99th percentile of the requests that ended, to the millisecond; `None` where none did.
    #[must_use]
    pub fn p99(&self) -> Option<Seconds> {
        let rank = self.ended - self.ended / 100;
        let mut seen = 0;
        let bin = self.latencies.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        if self.ended == 0 { None } else { Seconds::new((bin? as f64 + 1.0) / 1000.0) }
    }
}

/// The service.
#[derive(Debug)]
pub struct Service {
    law: Law,
    now: Nanos,
    waiting: VecDeque<Request>,
    busy: BinaryHeap<Reverse<(Nanos, u64, Nanos)>>,
    ready: usize,
    starting: VecDeque<Nanos>,
    /// Arrivals of the current interval that are still to come.
    coming: VecDeque<Request>,
    drawn: u64,
    grades: BTreeMap<u64, Grade>,
    observed: Observed,
    backlog: usize,
}

impl Service {
    /// A service with so many replicas, all ready.
    #[must_use]
    pub fn new(law: Law, replicas: usize) -> Self {
        Self {
            law,
            now: 0,
            waiting: VecDeque::new(),
            busy: BinaryHeap::new(),
            ready: replicas,
            starting: VecDeque::new(),
            coming: VecDeque::new(),
            drawn: 0,
            grades: BTreeMap::new(),
            observed: Observed::new(),
            backlog: 0,
        }
    }

    /// Replicas that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Replicas that were ordered and are not ready.
    #[must_use]
    pub fn starting(&self) -> usize {
        self.starting.len()
    }

    /// The most requests that ever waited.
    #[must_use]
    pub fn largest_backlog(&self) -> usize {
        self.backlog
    }

    /// What became of the requests of each interval, by its number.
    #[must_use]
    pub fn grades(&self) -> &BTreeMap<u64, Grade> {
        &self.grades
    }

    /// Sets the number of replicas.
    pub fn scale(&mut self, replicas: usize) {
        while self.ready + self.starting.len() > replicas && self.starting.pop_back().is_some() {}
        if self.ready > replicas {
            self.ready = replicas;
        }
        let ready_at = self.now + nanos(self.law.startup.get());
        while self.ready + self.starting.len() < replicas {
            self.starting.push_back(ready_at);
        }
        self.become_ready();
    }

    /// Lets `span` pass with demand of `rate`; what happened since the last call.
    pub fn advance(&mut self, span: Seconds, rate: RequestsPerSecond) -> Observed {
        let end = self.now + nanos(span.get());
        loop {
            self.draw(rate, end);
            let arrival = self.coming.front().map(|request| request.arrived);
            let completion = self.busy.peek().map(|Reverse((at, _, _))| *at);
            let ready = self.starting.front().copied();
            let Some(next) = [arrival, completion, ready].into_iter().flatten().min().filter(|at| *at < end) else {
                break;
            };
            self.now = next;
            if completion == Some(next) {
                self.complete();
            } else if ready == Some(next) {
                self.become_ready();
            } else if let Some(request) = self.coming.pop_front() {
                self.observed.arrived += 1;
                self.waiting.push_back(request);
                self.serve();
            }
        }
        self.now = end;
        std::mem::replace(&mut self.observed, Observed::new())
    }

    /// Follows every request that is present to its end.
    pub fn drain(&mut self) {
        while self.busy.peek().is_some() {
            if let Some(Reverse((at, _, _))) = self.busy.peek() {
                self.now = self.now.max(*at);
            }
            self.complete();
        }
    }

    /// Draws the arrivals of the interval that is entered before `end`.
    fn draw(&mut self, rate: RequestsPerSecond, end: Nanos) {
        let length = nanos(INTERVAL.get());
        while self.coming.is_empty() && self.drawn * length < end {
            let interval = self.drawn;
            // One stream for when requests come and one for what they need: neither moves the other.
            let mut arrivals =
                Pcg64Mcg::seed_from_u64(self.law.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (2 * interval));
            let mut needs =
                Pcg64Mcg::seed_from_u64(self.law.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (2 * interval + 1));
            // A rate of zero makes the first gap infinite.
            let mut gap = || -> f64 { Distribution::<f64>::sample(&Exp1, &mut arrivals) / rate.get() };
            let mut at = gap();
            while at < INTERVAL.get() {
                let need: f64 = Exp1.sample(&mut needs);
                let needs = nanos(need / self.law.capacity.get());
                self.coming.push_back(Request { arrived: interval * length + nanos(at), needs, interval });
                at += gap();
            }
            self.drawn += 1;
        }
    }

    fn become_ready(&mut self) {
        while self.starting.front().is_some_and(|at| *at <= self.now) {
            self.starting.pop_front();
            self.ready += 1;
        }
        self.serve();
    }

    /// Puts waiting requests on free replicas.
    fn serve(&mut self) {
        while self.busy.len() < self.ready {
            let Some(request) = self.waiting.pop_front() else { break };
            self.busy.push(Reverse((self.now + request.needs, request.interval, request.arrived)));
        }
        self.backlog = self.backlog.max(self.waiting.len());
    }

    fn complete(&mut self) {
        let Some(Reverse((at, interval, arrived))) = self.busy.pop() else { return };
        let latency = at - arrived;
        let grade = self.grades.entry(interval).or_default();
        grade.requests += 1;
        grade.slow += u64::from(latency > nanos(self.law.target.get()));
        self.observed.ended += 1;
        let bin = usize::try_from(latency / 1_000_000).unwrap_or(BINS).min(BINS - 1);
        if let Some(count) = self.observed.latencies.get_mut(bin) {
            *count += 1;
        }
        self.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimtab_core::queue;
    use trimtab_core::unit::Replicas;

    fn law(target: f64, seed: u64) -> Law {
        Law {
            capacity: RequestsPerSecond::whole(50),
            target: Seconds::new(target).unwrap(),
            startup: Seconds::ZERO,
            seed,
        }
    }

    /// Share of requests that take longer than `target` with so many replicas.
    fn slow(replicas: u32, rate: u32, target: f64) -> f64 {
        let mut service = Service::new(law(target, 1), replicas as usize);
        for _ in 0..2_000 {
            service.advance(INTERVAL, RequestsPerSecond::whole(rate));
        }
        service.drain();
        let all = service.grades().values().fold(Grade::default(), |all, one| Grade {
            requests: all.requests + one.requests,
            slow: all.slow + one.slow,
        });
        all.slow as f64 / all.requests as f64
    }

    #[test]
    fn the_tail_of_the_latency_is_that_of_the_queueing_model() {
        for (replicas, rate, target) in [(1, 35, 0.1), (2, 80, 0.1), (5, 220, 0.1), (10, 460, 0.1)] {
            let target_s = Seconds::new(target).unwrap();
            let model = queue::exceeds(
                Replicas(replicas),
                RequestsPerSecond::whole(rate),
                RequestsPerSecond::whole(50),
                target_s,
            );
            let seen = slow(replicas, rate, target);
            assert!((seen / model.get() - 1.0).abs() < 0.05, "{replicas} replicas, {rate}/s: {seen} against {model:?}");
        }
    }

    #[test]
    fn every_size_serves_the_same_requests() {
        let requests = |replicas| {
            let mut service = Service::new(law(0.2, 3), replicas);
            for _ in 0..20 {
                service.advance(INTERVAL, RequestsPerSecond::whole(100));
            }
            service.drain();
            service.grades().values().map(|grade| grade.requests).collect::<Vec<_>>()
        };
        assert_eq!(requests(2), requests(30));
    }

    #[test]
    fn a_backlog_drains_at_the_spare_rate() {
        let mut service = Service::new(law(0.2, 5), 1);
        service.advance(INTERVAL, RequestsPerSecond::whole(200));
        let backlog = service.waiting.len() as f64;
        service.scale(8);
        // 400/s are served and 100/s arrive: 300/s of the backlog go.
        let seconds = backlog / 300.0;
        service.advance(Seconds::new(seconds * 0.8).unwrap(), RequestsPerSecond::whole(100));
        assert!(!service.waiting.is_empty(), "not before its time");
        service.advance(Seconds::new(seconds * 0.4).unwrap(), RequestsPerSecond::whole(100));
        assert!(service.waiting.len() < 20, "{} still wait", service.waiting.len());
    }

    #[test]
    fn replicas_that_are_starting_go_first() {
        let mut service = Service::new(Law { startup: Seconds::whole(60), ..law(0.2, 1) }, 2);
        service.scale(6);
        assert_eq!((service.ready(), service.starting()), (2, 4));
        service.scale(3);
        assert_eq!((service.ready(), service.starting()), (2, 1));
        service.advance(Seconds::whole(61), RequestsPerSecond::ZERO);
        assert_eq!((service.ready(), service.starting()), (3, 0));
    }
}
