//! Made histories: workloads whose demand goes up and down, decided for real.

use std::collections::BTreeMap;
use trimtab_core::policy::{Bounds, Capacity, Method, Objective, Policy, Protection};
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Level, Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_core::{State, decide};
use trimtab_journal::{Entry, Record};

/// Milliseconds between two rounds.
pub(crate) const TICK: i64 = 5_000;
/// The first round's moment.
pub(crate) const BEGIN: i64 = 1_700_000_000_000;

/// The moment of a round.
pub(crate) const fn moment(round: i64) -> Timestamp {
    Timestamp(BEGIN + round * TICK)
}

/// Workloads that are decided round by round, as the agent does it.
pub(crate) struct World {
    workloads: Vec<Workload>,
    /// The next round.
    pub(crate) round: i64,
}

struct Workload {
    name: String,
    state: State,
    ordinal: u64,
    desired: Replicas,
    noise: u64,
}

impl World {
    /// So many workloads, at their first look, in that round: what a process sees that was just started.
    pub(crate) fn of(workloads: u64, round: i64) -> Self {
        let workload = |number: u64| Workload {
            name: format!("shop/Deployment/web-{number}"),
            state: State::default(),
            ordinal: 0,
            desired: Replicas(4),
            noise: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        Self { workloads: (0..workloads).map(workload).collect(), round }
    }

    /// Decides every workload once.
    pub(crate) fn round(&mut self) -> Vec<Entry> {
        let round = self.round;
        self.round += 1;
        self.workloads.iter_mut().map(|workload| Entry::Decided(Box::new(workload.decided(round)))).collect()
    }
}

impl Workload {
    fn decided(&mut self, round: i64) -> Record {
        let snapshot = self.seen(round);
        let policy = policy(round);
        let before = Box::new(self.state.clone());
        let decision = decide(&policy, &mut self.state, &snapshot);
        self.desired = decision.to;
        let ordinal = self.ordinal;
        self.ordinal += 1;
        Record { workload: self.name.clone(), ordinal, before, policy, snapshot, decision }
    }

    /// A day of demand in twenty minutes, a gap in every hundred rounds, and 5 % of noise.
    fn seen(&mut self, round: i64) -> Snapshot {
        let wave = libm::sin(round as f64 / 240.0 * std::f64::consts::TAU);
        let demand = (200.0 + 150.0 * wave) * (0.95 + 0.1 * self.random());
        let latency = 0.05 + 0.1 * self.random();
        // Sources stamp their samples to the millisecond.
        let age = Seconds::new((1_000.0 + 4_000.0 * self.random()).floor() / 1_000.0);
        let sample = |value| Sample { value, age, coverage: Coverage::Share(Ratio::ONE) };
        let demand = if round % 100 == 99 {
            Reading::Missing(Absence::TimedOut)
        } else {
            Reading::Fresh(sample(RequestsPerSecond::new(demand).unwrap_or_default()))
        };
        Snapshot {
            at: moment(round),
            demand,
            capacity: Reading::Missing(Absence::NotConfigured),
            latency: Reading::Fresh(Sample {
                value: Seconds::new(latency).unwrap_or_default(),
                age,
                coverage: Coverage::Unmeasured,
            }),
            utilization: Reading::Missing(Absence::NotConfigured),
            foretold: Vec::new(),
            protected: BTreeMap::from([(
                "database".to_owned(),
                Reading::Fresh(Sample { value: Level::whole(90), age, coverage: Coverage::Unmeasured }),
            )]),
            fleet: Fleet {
                desired: self.desired,
                ready: self.desired,
                starting: Replicas(0),
                stuck: Replicas(0),
                startup: Seconds::new(9.5),
                rolling_out: false,
            },
        }
    }

    /// Between 0 and 1: xorshift64, so that the same world is made on every machine.
    fn random(&mut self) -> f64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The policy; its maximum is raised after a hundred rounds.
fn policy(round: i64) -> Policy {
    let max = Replicas(if round < 100 { 12 } else { 20 });
    Policy {
        replicas: Bounds::new(Replicas(2), max).expect("2 is at least 1 and at most the maximum"),
        objective: Objective {
            latency: Seconds::new(0.2).unwrap_or_default(),
            misses: Ratio::new(0.005).unwrap_or_default(),
            window: Objective::WINDOW,
        },
        capacity: Capacity::Declared(RequestsPerSecond::whole(50)),
        protect: vec![Protection { name: "database".into(), limit: Level::whole(100) }],
        stabilization: Seconds::whole(120),
        events: Vec::new(),
        ramp: None,
        method: Method::Priced,
    }
}
