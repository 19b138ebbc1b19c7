//! Protection: what must not be overloaded by scaling out.
//!
//! A slow database makes every replica look too few, and more replicas make it slower. While a protected level is
//! above its limit nothing is scaled out. Nothing is scaled in either on its account: fewer replicas would not make
//! the same users ask for less.

use crate::policy::Protection;
use crate::snapshot::{Absence, Reading};
use crate::unit::{Level, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a level must have been below its limit before anything is scaled out into it again.
/// Two scrapes at 15 s: without it, each dip of a scattered latency would let one more replica through.
const CALM: Seconds = Seconds::whole(30);

/// What one protection says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Its name in the policy.
    pub name: String,
    /// The limit.
    pub limit: Level,
    /// The level now, or why it is not known.
    pub level: Result<Level, Absence>,
    /// Whether scaling out is held back, and until when at the least.
    pub blocks_until: Option<Timestamp>,
}

/// When each protection was last seen above its limit, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    blocks_until: BTreeMap<String, Timestamp>,
}

/// One guard for each protection of the policy. A level that is not known changes nothing: what was blocked stays
/// blocked, what was clear stays clear. Infinity is above any limit.
pub(crate) fn check(
    protections: &[Protection],
    memory: &mut Memory,
    readings: &BTreeMap<String, Reading<Level>>,
    at: Timestamp,
) -> Vec<Guard> {
    memory.blocks_until.retain(|name, _| protections.iter().any(|protection| protection.name == *name));
    protections.iter().map(|protection| guard(protection, memory, readings.get(&protection.name), at)).collect()
}

fn guard(protection: &Protection, memory: &mut Memory, reading: Option<&Reading<Level>>, at: Timestamp) -> Guard {
    let level = match reading {
        Some(Reading::Fresh(sample)) => Ok(sample.value),
        Some(Reading::Stale(_)) => Err(Absence::NoSeries),
        Some(Reading::Missing(absence)) => Err(*absence),
        None => Err(Absence::NotYetAsked),
    };
    let blocked = memory.blocks_until.get(&protection.name).copied();
    let blocks_until = match level {
        Ok(level) if level > protection.limit => Some(at.after(CALM)),
        Err(Absence::Infinite) => Some(at.after(CALM)),
        Ok(_) => blocked.filter(|until| *until > at),
        Err(_) => blocked.map(|until| until.max(at.after(CALM))),
    };
    match blocks_until {
        Some(until) => memory.blocks_until.insert(protection.name.clone(), until),
        None => memory.blocks_until.remove(&protection.name),
    };
    Guard { name: protection.name.clone(), limit: protection.limit, level, blocks_until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Coverage, Sample};

    fn at(memory: &mut Memory, second: i64, level: Option<u32>) -> bool {
        let protections = [Protection { name: "db".into(), limit: Level::whole(250) }];
        let reading = level.map_or(Reading::Missing(Absence::Unreachable), |level| {
            Reading::Fresh(Sample { value: Level::whole(level), age: None, coverage: Coverage::Unmeasured })
        });
        let readings = BTreeMap::from([("db".to_owned(), reading)]);
        check(&protections, memory, &readings, Timestamp(second * 1_000))[0].blocks_until.is_some()
    }

    #[test]
    fn it_blocks_above_the_limit_and_for_half_a_minute_after() {
        let mut memory = Memory::default();
        assert!(!at(&mut memory, 0, Some(250)));
        assert!(at(&mut memory, 5, Some(251)));
        assert!(at(&mut memory, 34, Some(100)));
        assert!(!at(&mut memory, 35, Some(100)));
    }

    #[test]
    fn a_level_that_is_not_known_changes_nothing() {
        let mut memory = Memory::default();
        assert!(!at(&mut memory, 0, None));
        assert!(at(&mut memory, 5, Some(300)));
        assert!(at(&mut memory, 500, None));
        assert!(at(&mut memory, 505, Some(100)), "calm is counted from the first reading after the gap");
        assert!(!at(&mut memory, 530, Some(100)));
    }
}
