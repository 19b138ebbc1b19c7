//! Utilization: how busy the replicas are, once it is about those that are ready now.
//!
//! A replica that has just become ready was idle for most of the span that a reading is about, also where all others have a queue: a mean
//! over old and new ones says that there is room where there is none. How long that span is, is the query's secret. So a reading comes with
//! how long its replicas had stood: a scrape interval is enough to learn from, whose mistakes fade; to say that nothing waits takes the
//! minute that queries reach back at most (`docs/policy.md`).

use crate::decide::METRIC_LAG;
use crate::snapshot::{Reading, Snapshot};
use crate::unit::{Ratio, Replicas, RequestsPerSecond, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// Stood for so long, replicas' utilization is learned from: the commonest scrape interval.
const LEARNED: Seconds = Seconds::whole(15);
/// And for so long, it says whether requests wait.
const TELLING: Seconds = Seconds::whole(60);

/// Utilization says something between these: below, the replicas' own housekeeping counts; above, a queue hides demand.
pub(crate) const USED: (Ratio, Ratio) = (Ratio::percent(20), Ratio::percent(97));

/// How busy the ready replicas were, and how long before the reading they had stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Busy {
    share: Ratio,
    stood: Seconds,
}

impl Busy {
    /// Where mistakes fade.
    pub(crate) fn learned(self) -> Option<Ratio> {
        (self.stood >= LEARNED).then_some(self.share)
    }

    /// What keeps so many replicas busy, at least: new ones were not for all of the time. Nothing where there is a queue, or hardly any use.
    pub(crate) fn demand(self, ready: Replicas, per_replica: RequestsPerSecond) -> Option<RequestsPerSecond> {
        let (least, most) = USED;
        (least..most).contains(&self.share).then(|| per_replica * ready * self.share)
    }

    /// Where it has to be right.
    pub(crate) fn telling(self) -> Option<Ratio> {
        (self.stood >= TELLING).then_some(self.share)
    }
}

/// What is remembered: how many were ready, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    ready: Option<(Replicas, Timestamp)>,
}

/// How busy the replicas are that are ready, where a reading is fresh.
pub(crate) fn assess(memory: &mut Memory, snapshot: &Snapshot) -> Option<Busy> {
    let (ready, at) = (snapshot.fleet.ready, snapshot.at);
    let since = match memory.ready {
        Some((before, since)) if ready <= before => since,
        Some(_) | None => at,
    };
    memory.ready = Some((ready, since));
    let Reading::Fresh(sample) = &snapshot.utilization else { return None };
    Some(Busy { share: sample.value, stood: at.since(since).less(sample.age.unwrap_or(METRIC_LAG)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Sample};

    fn seen(second: i64, ready: u32) -> Snapshot {
        let sample =
            Sample { value: Ratio::percent(60), age: Some(Seconds::whole(10)), coverage: Coverage::Unmeasured };
        let at = Timestamp(second * 1_000);
        Snapshot { utilization: Reading::Fresh(sample), ..Snapshot::blind(at, Replicas(ready)) }
    }

    #[test]
    fn replicas_that_have_just_become_ready_say_nothing_of_how_busy_all_are() {
        let mut memory = Memory::default();
        let mut at = |second, ready| {
            let busy = assess(&mut memory, &seen(second, ready)).unwrap();
            (busy.learned().is_some(), busy.telling().is_some())
        };
        assert_eq!([at(0, 4), at(20, 4), at(25, 4)], [(false, false), (false, false), (true, false)], "10 s old");
        assert_eq!([at(65, 4), at(70, 4)], [(true, false), (true, true)]);
        assert_eq!([at(75, 9), at(145, 9)], [(false, false), (true, true)]);
        assert_eq!(at(150, 5), (true, true), "those that are left were there all along");
    }
}
