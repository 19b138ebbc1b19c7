//! Utilization: how busy the replicas are, once it is about those that are ready now.
//!
//! A replica that has just become ready was idle for most of the span that a reading is about, also where all others have a queue: a mean
//! over old and new ones says that there is room where there is none. So a reading counts when the number of ready replicas has not
//! changed for as long as the reading is old and a scrape interval more.

use crate::snapshot::{Reading, Snapshot};
use crate::unit::{Ratio, Replicas, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

/// The span that a reading is about: the commonest scrape interval.
const SPAN: Seconds = Seconds::whole(15);

/// What is remembered: how many were ready, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    ready: Option<(Replicas, Timestamp)>,
}

/// How busy the replicas that are ready are, where a fresh reading is about them.
pub(crate) fn assess(memory: &mut Memory, snapshot: &Snapshot) -> Option<Ratio> {
    let (ready, at) = (snapshot.fleet.ready, snapshot.at);
    let since = match memory.ready {
        Some((before, since)) if before == ready => since,
        Some(_) | None => at,
    };
    memory.ready = Some((ready, since));
    let Reading::Fresh(sample) = &snapshot.utilization else { return None };
    let counts = at.since(since) >= sample.age.unwrap_or_default() + SPAN;
    counts.then_some(sample.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Absence, Coverage, Fleet, Sample};
    use std::collections::BTreeMap;

    fn seen(second: i64, ready: u32) -> Snapshot {
        let sample =
            Sample { value: Ratio::percent(60), age: Some(Seconds::whole(10)), coverage: Coverage::Unmeasured };
        Snapshot {
            at: Timestamp(second * 1_000),
            demand: Reading::Missing(Absence::NotConfigured),
            capacity: Reading::Missing(Absence::NotConfigured),
            latency: Reading::Missing(Absence::NotConfigured),
            utilization: Reading::Fresh(sample),
            foretold: Vec::new(),
            protected: BTreeMap::new(),
            fleet: Fleet {
                desired: Replicas(ready),
                ready: Replicas(ready),
                starting: Replicas(0),
                stuck: Replicas(0),
                startup: None,
                rolling_out: false,
            },
        }
    }

    #[test]
    fn replicas_that_have_just_become_ready_say_nothing_of_how_busy_all_are() {
        let mut memory = Memory::default();
        let mut at = |second, ready| assess(&mut memory, &seen(second, ready)).is_some();
        assert_eq!([at(0, 4), at(20, 4), at(25, 4)], [false, false, true], "10 s old and about 15 s");
        assert_eq!([at(30, 9), at(50, 9), at(55, 9)], [false, false, true]);
    }
}
