//! Playing a past: the decision that trimtab takes live, on the demand that there was, with replicas of its own.

use super::judge::Model;
use super::{Course, Moment};
use crate::explain;
use trimtab_core::snapshot::{Absence, Coverage, Fleet, Reading, Sample, Snapshot};
use trimtab_core::unit::{Ratio, Replicas, Seconds, Timestamp};
use trimtab_core::{State, decide};

/// What trimtab would have had at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Played {
    pub(super) wanted: Replicas,
    pub(super) ready: Replicas,
    /// Why, where it is apart from what happened by more than one replica: nobody asks of the others.
    pub(super) because: Option<String>,
}

/// The replicas: when each is ready.
struct Crew(Vec<Timestamp>);

impl Crew {
    fn ready(&self, at: Timestamp) -> u32 {
        u32::try_from(self.0.iter().filter(|ready| **ready <= at).count()).unwrap_or(u32::MAX)
    }

    fn size(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Replicas that are still starting go first.
    fn resize(&mut self, size: Replicas, ready: Timestamp) {
        self.0.sort_unstable();
        self.0.resize(size.0 as usize, ready);
    }
}

/// Plays it from the size that there was. Of the latency that it would have had, the model tells. `played` is called for each moment.
pub(super) fn play(course: &Course, model: Option<&Model>, played: &dyn Fn()) -> Vec<Played> {
    let Some(first) = course.moments.first() else { return Vec::new() };
    let mut crew = Crew(vec![first.at; first.wanted.0.max(1) as usize]);
    let mut state = State::default();
    let one = |moment: &Moment| {
        played();
        let snapshot = snapshot(course, moment, &crew, model);
        let decision = decide(&course.policy, &mut state, &snapshot);
        if decision.to.0 != crew.size() {
            crew.resize(decision.to, moment.at.after(course.startup));
        }
        let (wanted, ready) = (Replicas(crew.size()), Replicas(crew.ready(moment.at)));
        let apart = wanted.0.abs_diff(moment.wanted.0) > 1;
        Played { wanted, ready, because: apart.then(|| explain::because(&decision)) }
    };
    course.moments.iter().map(one).collect()
}

fn snapshot(course: &Course, moment: &Moment, crew: &Crew, model: Option<&Model>) -> Snapshot {
    let reading = |value, coverage| Reading::Fresh(Sample { value, age: Some(Seconds::ZERO), coverage });
    let ready = Replicas(crew.ready(moment.at));
    // What the model does not tell, nobody does: the latency that was seen is that of another size.
    let latency = model.zip(moment.demand).map(|(model, demand)| model.latency(ready, demand, moment.capacity));
    Snapshot {
        at: moment.at,
        demand: moment.demand.map_or(Reading::Missing(Absence::NoSeries), |demand| {
            let value = reading(demand, Coverage::Share(Ratio::ONE));
            if moment.ready.0 == 0 { Reading::Missing(Absence::SuspiciousZero) } else { value }
        }),
        capacity: moment.capacity.map_or(Reading::Missing(Absence::NotConfigured), |capacity| {
            Reading::Fresh(Sample { value: capacity, age: Some(Seconds::ZERO), coverage: Coverage::Unmeasured })
        }),
        latency: latency.map_or(Reading::Missing(Absence::NotConfigured), |latency| {
            Reading::Fresh(Sample { value: latency, age: Some(Seconds::ZERO), coverage: Coverage::Unmeasured })
        }),
        utilization: Reading::Missing(Absence::NotConfigured),
        foretold: Vec::new(),
        // What is downstream is not played: it was protected, or not, under another size.
        protected: course
            .policy
            .protect
            .iter()
            .map(|protection| (protection.name.clone(), Reading::Missing(Absence::NotConfigured)))
            .collect(),
        fleet: Fleet {
            desired: Replicas(crew.size()),
            ready,
            starting: Replicas(crew.size() - ready.0),
            stuck: Replicas(0),
            startup: Some(course.startup),
            rolling_out: false,
        },
    }
}
