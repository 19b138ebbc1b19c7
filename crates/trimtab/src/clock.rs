//! The loop's clock: the wall clock when it started, and from then on only the time that has passed.
//!
//! A wall clock that is set an hour forward would let every window expire at once, and one that is set back would make
//! them last for ever. Ages of samples come from Prometheus' own clock and need none of ours.

use crate::explain;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use trimtab_core::unit::{Seconds, Timestamp};

/// Clocks that differ by more are said to: six times what a round may take, and half of what readings may be old.
const OFF: Seconds = Seconds::whole(30);

/// A clock that never jumps.
#[derive(Clone, Debug)]
pub struct Clock(Hands);

#[derive(Clone, Debug)]
enum Hands {
    Wall {
        started: Timestamp,
        since: Instant,
    },
    /// Somebody else moves them: time is simulated.
    Moved(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that shows the wall clock's time now.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX));
        Self(Hands::Wall { started, since: Instant::now() })
    }

    /// A clock that shows whatever `moment` holds: milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn moved_by(moment: Arc<AtomicI64>) -> Self {
        Self(Hands::Moved(moment))
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Hands::Wall { started, since } => {
                started.after(Seconds::new(since.elapsed().as_secs_f64()).unwrap_or_default())
            }
            Hands::Moved(moment) => Timestamp(moment.load(Ordering::Relaxed)),
        }
    }
}

/// What to say where the clock of `server` is far from `ours`: one of them is wrong, or jumped since this agent started.
pub(crate) fn apart(ours: Timestamp, server: &str, theirs: Timestamp) -> Option<String> {
    let off = if ours < theirs { theirs.since(ours) } else { ours.since(theirs) };
    (off > OFF).then(|| {
        format!(
            "this agent's clock and that of {server} are {} apart: synchronise both machines' clocks (NTP), then restart the agent",
            explain::span(off)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_named_whichever_is_ahead() {
        let (ours, hour) = (Timestamp(1_790_000_000_000), Seconds::whole(3600));
        for theirs in [ours.after(hour), Timestamp(ours.0 - 3_600_000)] {
            let said = apart(ours, "prometheus infra", theirs).expect("an hour is far");
            assert!(said.contains("prometheus infra are 60 min apart") && said.contains("NTP"), "{said}");
        }
        for theirs in [ours, ours.after(Seconds::whole(20)), Timestamp(ours.0 - 20_000)] {
            assert_eq!(apart(ours, "prometheus", theirs), None);
        }
    }
}
