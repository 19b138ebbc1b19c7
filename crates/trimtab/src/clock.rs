//! The loop's clock: the wall clock when it started, and from then on only the time that has passed.
//!
//! A wall clock that is set an hour forward would let every window expire at once, and one that is set back would make
//! them last for ever. Ages of samples come from Prometheus' own clock and need none of ours.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use trimtab_core::unit::{Seconds, Timestamp};

/// A clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Timestamp,
    since: Instant,
}

impl Clock {
    /// A clock that shows the wall clock's time now.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)), since: Instant::now() }
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.started.after(Seconds::new(self.since.elapsed().as_secs_f64()).unwrap_or_default())
    }
}
