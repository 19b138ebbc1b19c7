//! The service: requests, the replicas that serve them, and what stands between.
//!
//! Arrivals are Poisson with a rate that is constant inside an interval. When requests arrive, what they need and how they would be
//! dealt out depends on the seed and the interval alone, so that every policy serves the very same requests. Before the replicas
//! there is one queue, first come first served, or one for each of them ([`Balancing`]). A replica that is added takes
//! over queued work at once when it is ready; one that is removed finishes what it holds, and those that are still starting go
//! first. Requests are graded by the interval in which they arrive, each followed to its end.
//!
//! There is no calendar of events: a request's end is known when it is begun, so that each costs two random numbers and a look
//! at the replicas. Memory holds the requests that are present and nothing of those that are gone.

use crate::law::{Balancing, Law, Streams};
use rand::RngExt;
use rand_distr::{Distribution, Exp1};
use std::collections::VecDeque;
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};

/// Length of an interval: the objective is about half-minutes.
pub const INTERVAL: Seconds = Seconds::whole(30);
/// The same in nanoseconds.
const INTERVAL_NANOS: Nanos = 30_000_000_000;
/// Latency bins of one millisecond, the last for all that is longer: enough to say by how much 200 ms is missed.
const BINS: usize = 2_000;

/// A moment in simulated time, in nanoseconds, so that events have one order and no rounding.
pub(crate) type Nanos = u64;

pub(crate) fn nanos(seconds: f64) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a day of nanoseconds needs many times over"
    )]
    let raw = (seconds * 1e9).clamp(0.0, 9e18) as Nanos;
    raw
}

#[derive(Clone, Copy, Debug)]
struct Request {
    arrived: Nanos,
    needs: Nanos,
}

/// A request that was begun, or whose beginning is settled.
#[derive(Clone, Copy, Debug)]
struct Begun {
    arrived: Nanos,
    begins: Nanos,
    ends: Nanos,
}

#[derive(Clone, Debug)]
struct Replica {
    ready: Nanos,
    /// When what it holds ends, where it has a queue of its own.
    holds: VecDeque<Nanos>,
}

/// What became of the requests of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grade {
    /// Requests that arrived in it.
    pub requests: u64,
    /// Those that took longer than the target, or whose client gave up.
    pub slow: u64,
    /// How long they waited for a replica, all together, in nanoseconds.
    pub waited: u64,
}

impl Grade {
    /// Whether the interval violates the objective: more than one of a hundred was slow.
    #[must_use]
    pub fn violates(&self) -> bool {
        self.slow > self.requests / 100
    }
}

/// What could be observed between two looks.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that ended.
    pub ended: u64,
    /// How long the replicas were busy, all together.
    pub busy: Seconds,
    latencies: Vec<u32>,
}

impl Observed {
    /// The 99th percentile of the requests that ended (nearest rank), to the millisecond; `None` where none did.
    #[must_use]
    pub fn p99(&self) -> Option<Seconds> {
        self.rank(self.ended - self.ended / 100)
    }

    /// What so large a share of the requests that ended took longer than (nearest rank), to the millisecond; 2 s stand for all above.
    #[must_use]
    pub fn quantile(&self, above: Ratio) -> Option<Seconds> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the requests that ended")]
        let slower = (above.get().min(1.0) * self.ended as f64).floor() as u64;
        self.rank(self.ended - slower)
    }

    fn rank(&self, rank: u64) -> Option<Seconds> {
        let mut seen = 0;
        let bin = self.latencies.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        if self.ended == 0 { None } else { Seconds::new((bin? as f64 + 1.0) / 1000.0) }
    }

    /// Adds what was observed next.
    pub fn absorb(&mut self, next: &Self) {
        self.arrived += next.arrived;
        self.ended += next.ended;
        self.busy = self.busy + next.busy;
        self.latencies.resize(BINS, 0);
        for (sum, count) in self.latencies.iter_mut().zip(&next.latencies) {
            *sum += count;
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct Service {
    law: Law,
    now: Nanos,
    interval: u64,
    streams: Streams,
    /// The gap to the next arrival in units of the mean gap: what is left of it when a look ends.
    gap: f64,
    replicas: Vec<Replica>,
    /// When each replica has nothing to do any more: by itself, because every request looks at it.
    free: Vec<Nanos>,
    waiting: VecDeque<Request>,
    /// Requests whose end is settled and still to come.
    begun: Vec<Begun>,
    grades: Vec<Grade>,
    observed: Observed,
    backlog: usize,
    started: u64,
}

impl Service {
    /// A service with so many replicas, all ready.
    #[must_use]
    pub fn new(law: Law, replicas: usize) -> Self {
        let replica = Replica { ready: 0, holds: VecDeque::new() };
        let mut streams = Streams::of(law.seed, 0);
        let gap = Exp1.sample(&mut streams.arrivals);
        Self {
            law,
            now: 0,
            interval: 0,
            streams,
            gap,
            replicas: vec![replica; replicas],
            free: vec![0; replicas],
            waiting: VecDeque::new(),
            begun: Vec::new(),
            grades: Vec::new(),
            observed: Observed { latencies: vec![0; BINS], ..Observed::default() },
            backlog: 0,
            started: 0,
        }
    }

    /// An idle service with so many replicas at the beginning of an interval other than the first.
    #[must_use]
    pub(crate) fn idle_at(law: Law, replicas: usize, interval: u64) -> Self {
        let mut service = Self::new(law, replicas);
        service.now = interval.saturating_mul(INTERVAL_NANOS);
        service
    }

    /// Replicas that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.ready <= self.now).count()
    }

    /// Replicas that were ordered and are not ready.
    #[must_use]
    pub fn starting(&self) -> usize {
        self.replicas.len() - self.ready()
    }

    /// Requests that wait for a replica.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queued =
            |replica: &Replica| replica.holds.iter().filter(|ends| **ends > self.now).count().saturating_sub(1);
        self.waiting.len() + self.replicas.iter().map(queued).sum::<usize>()
    }

    /// The most requests that waited at the end of a look.
    #[must_use]
    pub fn largest_backlog(&self) -> usize {
        self.backlog
    }

    /// What became of the requests of each interval, from the first to the last in which one arrived.
    #[must_use]
    pub fn grades(&self) -> &[Grade] {
        &self.grades
    }

    /// Sets the number of replicas.
    pub fn scale(&mut self, replicas: usize) {
        while self.replicas.len() > replicas {
            let leaves = self.next_to_leave();
            self.replicas.swap_remove(leaves);
            self.free.swap_remove(leaves);
        }
        while self.replicas.len() < replicas {
            let node = self.law.nodes.filter(|nodes| self.replicas.len() >= nodes.hold as usize);
            let startup = self.law.startup.draw(self.law.seed, self.started);
            let ready = self.now + nanos(node.map_or(startup, |nodes| startup + nodes.arrival).get());
            self.started += 1;
            self.replicas.push(Replica { ready, holds: VecDeque::new() });
            self.free.push(ready);
        }
    }

    /// From now on the service is like this: another pace, another start-up. Its seed and who gets a request stay.
    pub fn become_like(&mut self, law: Law) {
        self.law = Law { seed: self.law.seed, balancing: self.law.balancing, ..law };
    }

    /// Loses the ready replica that is through with its work first, if there is one.
    pub fn lose_one(&mut self) {
        let ready =
            self.replicas.iter().zip(&self.free).enumerate().filter(|(_, (replica, _))| replica.ready <= self.now);
        if let Some(lost) = ready.min_by_key(|(_, (_, free))| **free).map(|(index, _)| index) {
            self.replicas.swap_remove(lost);
            self.free.swap_remove(lost);
        }
    }

    /// The one that is still starting and is furthest from ready; else the one that is through with its work first.
    fn next_to_leave(&self) -> usize {
        let starting = self.replicas.iter().enumerate().filter(|(_, replica)| replica.ready > self.now);
        let first = self.free.iter().enumerate().min_by_key(|(_, free)| **free).map_or(0, |(index, _)| index);
        starting.max_by_key(|(_, replica)| replica.ready).map_or(first, |(index, _)| index)
    }

    /// Lets `span` pass with demand of `rate`, within one interval; what happened meanwhile.
    pub fn advance(&mut self, span: Seconds, rate: RequestsPerSecond) -> Observed {
        let end = self.now + nanos(span.get());
        self.enter_interval();
        self.settle_waiting(end);
        let (begun, mean_gap) = (self.now, 1e9 / rate.get());
        let mut at = begun;
        loop {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, and is then past the end"
            )]
            let next = at.saturating_add((self.gap * mean_gap).ceil() as Nanos);
            if next >= end {
                // What is left of the gap, in units of the mean gap: the rate may differ in the next look.
                self.gap -= (end - at) as f64 / mean_gap;
                self.gap = self.gap.max(0.0);
                break;
            }
            at = next;
            self.gap = Exp1.sample(&mut self.streams.arrivals);
            let need = self.law.needs.draw(&mut self.streams.needs) / self.law.capacity_at(at).get();
            self.observed.arrived += 1;
            self.arrive(Request { arrived: at, needs: nanos(need) }, end);
        }
        self.now = end;
        self.backlog = self.backlog.max(self.waiting());
        self.observe(begun, end)
    }

    /// Follows every request that is present to its end.
    pub fn drain(&mut self) {
        self.settle_waiting(Nanos::MAX);
        self.begun.clear();
    }

    fn enter_interval(&mut self) {
        let interval = self.now / INTERVAL_NANOS;
        if interval != self.interval {
            self.interval = interval;
            self.streams = Streams::of(self.law.seed, interval);
            self.gap = Exp1.sample(&mut self.streams.arrivals);
        }
    }

    fn arrive(&mut self, request: Request, end: Nanos) {
        let replica = match self.law.balancing {
            // Nobody overtakes.
            Balancing::OneQueue if !self.waiting.is_empty() => None,
            Balancing::OneQueue => self.first_free(request.arrived, end),
            Balancing::LeastOutstanding | Balancing::PowerOfTwo | Balancing::RoundRobin | Balancing::Random => {
                self.choose(request.arrived)
            }
        };
        match replica {
            Some(replica) => self.begin(replica, request),
            None => self.waiting.push_back(request),
        }
    }

    /// Gives work to those who become free, or ready, before `end`.
    fn settle_waiting(&mut self, end: Nanos) {
        while let Some(request) = self.waiting.front().copied() {
            let Some(replica) = self.first_free(request.arrived, end) else { break };
            self.waiting.pop_front();
            self.begin(replica, request);
        }
    }

    /// The replica that can begin first, if that is before `end`. Of several that can begin at once any will do: replicas are alike.
    fn first_free(&self, arrived: Nanos, end: Nanos) -> Option<usize> {
        let (mut first, mut earliest) = (0, Nanos::MAX);
        for (index, free) in self.free.iter().enumerate() {
            if *free <= arrived {
                return (arrived < end).then_some(index);
            }
            if *free < earliest {
                (first, earliest) = (index, *free);
            }
        }
        (earliest < end).then_some(first)
    }

    /// The replica that a balancer without a queue of its own sends a request to.
    fn choose(&mut self, at: Nanos) -> Option<usize> {
        for replica in &mut self.replicas {
            while replica.holds.front().is_some_and(|ends| *ends <= at) {
                replica.holds.pop_front();
            }
        }
        let ready: Vec<usize> = (0..self.replicas.len())
            .filter(|index| self.replicas.get(*index).is_some_and(|it| it.ready <= at))
            .collect();
        let outstanding = |index: usize| self.replicas.get(index).map_or(usize::MAX, |replica| replica.holds.len());
        if ready.is_empty() {
            return None;
        }
        let mut any = || ready.get(self.streams.choices.random_range(0..ready.len())).copied();
        match self.law.balancing {
            Balancing::OneQueue => None,
            Balancing::LeastOutstanding => {
                let least = ready.iter().map(|index| outstanding(*index)).min()?;
                let best: Vec<usize> = ready.iter().copied().filter(|index| outstanding(*index) == least).collect();
                best.get(self.streams.choices.random_range(0..best.len())).copied()
            }
            Balancing::PowerOfTwo => {
                let (one, other) = (any()?, any()?);
                Some(if outstanding(other) < outstanding(one) { other } else { one })
            }
            Balancing::RoundRobin => {
                self.streams.turn += 1;
                ready.get(self.streams.turn % ready.len()).copied()
            }
            Balancing::Random => any(),
        }
    }

    fn begin(&mut self, index: usize, request: Request) {
        let (Some(replica), Some(free)) = (self.replicas.get_mut(index), self.free.get_mut(index)) else { return };
        let begins = (*free).max(request.arrived);
        let interval = usize::try_from(request.arrived / INTERVAL_NANOS).unwrap_or(usize::MAX);
        if interval >= self.grades.len() {
            self.grades.resize(interval + 1, Grade::default());
        }
        let Some(grade) = self.grades.get_mut(interval) else { return };
        grade.requests += 1;
        grade.waited += begins - request.arrived;
        if self.law.patience.is_some_and(|patience| begins - request.arrived > nanos(patience.get())) {
            grade.slow += 1;
            return;
        }
        let ends = begins + self.law.slowed(request.needs, begins - replica.ready);
        grade.slow += u64::from(ends - request.arrived > nanos(self.law.target.get()));
        *free = ends;
        if self.law.balancing != Balancing::OneQueue {
            replica.holds.push_back(ends);
        }
        self.begun.push(Begun { arrived: request.arrived, begins, ends });
    }

    /// Takes what has ended into the observation, and hands it out.
    fn observe(&mut self, from: Nanos, end: Nanos) -> Observed {
        let Self { begun, observed, .. } = self;
        let mut busy = 0;
        begun.retain(|request| {
            busy += request.ends.min(end).saturating_sub(request.begins.max(from));
            if request.ends > end {
                return true;
            }
            observed.ended += 1;
            let bin = usize::try_from((request.ends - request.arrived) / 1_000_000).unwrap_or(BINS).min(BINS - 1);
            if let Some(count) = observed.latencies.get_mut(bin) {
                *count += 1;
            }
            false
        });
        observed.busy = Seconds::new(busy as f64 / 1e9).unwrap_or_default();
        std::mem::replace(observed, Observed { latencies: vec![0; BINS], ..Observed::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Needs, Nodes, Pace, Startup};
    use trimtab_core::queue;
    use trimtab_core::unit::{Ratio, Replicas};

    fn law(target: f64, seed: u64) -> Law {
        Law { target: Seconds::new(target).unwrap(), ..Law::benchmark(seed) }
    }

    /// What became of about so many requests at `rate`, and what could be observed of them.
    fn observed(law: Law, replicas: u32, rate: RequestsPerSecond, requests: f64) -> (Grade, Observed) {
        let mut service = Service::new(law, replicas as usize);
        let mut observed = Observed::default();
        for _ in 0..nanos(requests / rate.get()) / INTERVAL_NANOS {
            observed.absorb(&service.advance(INTERVAL, rate));
        }
        service.drain();
        let graded = service.grades().iter().fold(Grade::default(), |all, one| Grade {
            requests: all.requests + one.requests,
            slow: all.slow + one.slow,
            waited: all.waited + one.waited,
        });
        (graded, observed)
    }

    fn all(law: Law, replicas: u32, rate: RequestsPerSecond, requests: f64) -> Grade {
        observed(law, replicas, rate, requests).0
    }

    fn within_5_percent(seen: f64, expected: f64) -> bool {
        (seen / expected - 1.0).abs() < 0.05
    }

    #[test]
    fn waits_and_tails_are_erlangs() {
        let capacity = RequestsPerSecond::whole(50);
        for replicas in 1..=30 {
            // The more replicas the busier they may be (square-root staffing).
            let busy = 1.0 - 0.5 / f64::from(replicas).sqrt();
            let rate = RequestsPerSecond::new(f64::from(replicas) * 50.0 * busy).unwrap();
            let tail =
                |limit: f64| queue::exceeds(Replicas(replicas), rate, capacity, Seconds::new(limit).unwrap()).get();
            let p99 = (1..2_000).map(|ms| f64::from(ms) / 1000.0).find(|limit| tail(*limit) <= 0.01).unwrap();
            let (all, observed) = observed(law(p99, 1), replicas, rate, 3e6);
            let waits = queue::waits(Replicas(replicas), rate / capacity).get();
            let mean = all.waited as f64 / 1e9 / all.requests as f64;
            let expected = waits / (50.0 * f64::from(replicas) - rate.get());
            assert!(within_5_percent(mean, expected), "{replicas} replicas: {mean} s against {expected} s");
            let slow = all.slow as f64 / all.requests as f64;
            assert!(within_5_percent(slow, tail(p99)), "{replicas} replicas: {slow} against {}", tail(p99));
            let seen = observed.p99().unwrap().get();
            assert!(within_5_percent(seen, p99), "{replicas} replicas: a p99 of {seen} s against {p99} s");
        }
    }

    /// Pollaczek and Khinchine: the mean wait is `ρ (1 + cv²) / (2 μ (1 − ρ))`.
    #[test]
    fn one_replica_waits_as_its_needs_scatter() {
        let laws = [
            (Needs::Deterministic, 0.0),
            (Needs::Exponential, 1.0),
            (Needs::Lognormal(0.5), 0.5),
            (Needs::Lognormal(1.5), 1.5),
            (Needs::Hyperexponential(2.0), 2.0),
        ];
        for (needs, cv) in laws {
            let all = all(Law { needs, ..law(0.2, 2) }, 1, RequestsPerSecond::whole(30), 8e6);
            let mean = all.waited as f64 / 1e9 / all.requests as f64;
            let expected = 0.6 * (1.0 + cv * cv) / (2.0 * 50.0 * 0.4);
            assert!(within_5_percent(mean, expected), "{needs:?}: {mean} s against {expected} s");
        }
    }

    #[test]
    fn random_balancing_is_a_queue_for_each_replica() {
        let rate = RequestsPerSecond::whole(300);
        let all = all(Law { balancing: Balancing::Random, ..law(0.2, 3) }, 10, rate, 5e6);
        let slow = all.slow as f64 / all.requests as f64;
        // M/M/1 with 30 of 50 requests/s.
        let expected = libm::exp(-20.0 * 0.2);
        assert!(within_5_percent(slow, expected), "{slow} against {expected}");
    }

    #[test]
    fn the_fewer_requests_a_balancer_queues_behind_the_better() {
        let order = [
            Balancing::OneQueue,
            Balancing::LeastOutstanding,
            Balancing::PowerOfTwo,
            Balancing::RoundRobin,
            Balancing::Random,
        ];
        let waited =
            order.map(|balancing| all(Law { balancing, ..law(0.2, 4) }, 8, RequestsPerSecond::whole(340), 1e6).waited);
        assert!(waited.is_sorted(), "{waited:?}");
    }

    #[test]
    fn a_client_that_gives_up_is_slow_and_costs_nothing() {
        let patience = Some(Seconds::milliseconds(500));
        let all = all(Law { patience, ..law(0.2, 5) }, 2, RequestsPerSecond::whole(200), 1e6);
        let waited = all.waited as f64 / 1e9 / all.requests as f64;
        assert!(waited < 0.6, "twice as many come as are served, and nobody waits for ever: {waited} s");
        assert!(all.slow > all.requests / 2);
    }

    #[test]
    fn replicas_that_are_not_what_is_believed_serve_what_they_are() {
        let slower = Pace::Changing(Ratio::ONE, Ratio::percent(50), Seconds::whole(60));
        let mut service = Service::new(Law { pace: slower, ..law(0.2, 6) }, 4);
        let rate = RequestsPerSecond::whole(150);
        let busy = |observed: Observed| observed.busy.get() / (30.0 * 4.0);
        let before = busy(service.advance(INTERVAL, rate));
        service.advance(INTERVAL, rate);
        let after = busy(service.advance(INTERVAL, rate));
        assert!((0.6..0.9).contains(&before) && after > 0.97, "{before} before, {after} after");
    }

    #[test]
    fn every_size_serves_the_same_requests() {
        let requests = |replicas| {
            let mut service = Service::new(law(0.2, 3), replicas);
            for _ in 0..20 {
                service.advance(INTERVAL, RequestsPerSecond::whole(100));
            }
            service.drain();
            service.grades().iter().map(|grade| grade.requests).collect::<Vec<_>>()
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
    fn replicas_beyond_what_the_nodes_hold_wait_for_a_node() {
        let nodes = Some(Nodes { hold: 3, arrival: Seconds::whole(90) });
        let mut service = Service::new(Law { startup: Startup::Fixed(Seconds::whole(30)), nodes, ..law(0.2, 1) }, 2);
        service.scale(5);
        service.advance(INTERVAL, RequestsPerSecond::ZERO);
        assert_eq!((service.ready(), service.starting()), (3, 2));
        (0..3).for_each(|_| drop(service.advance(INTERVAL, RequestsPerSecond::ZERO)));
        assert_eq!((service.ready(), service.starting()), (5, 0));
    }

    #[test]
    fn replicas_that_are_starting_go_first() {
        let mut service = Service::new(Law { startup: Startup::Fixed(Seconds::whole(60)), ..law(0.2, 1) }, 2);
        service.scale(6);
        assert_eq!((service.ready(), service.starting()), (2, 4));
        service.scale(3);
        assert_eq!((service.ready(), service.starting()), (2, 1));
        service.advance(Seconds::whole(61), RequestsPerSecond::ZERO);
        assert_eq!((service.ready(), service.starting()), (3, 0));
    }
}
