//! The loop's clock: the wall clock when it started, and from then on only the time that has passed.
//!
//! A wall clock that is set an hour forward would let every window expire at once, and one that is set back would make
//! them last for ever. Ages of samples come from Prometheus' own clock and need none of ours.

use crate::explain;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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
    /// Only time in which this process ran counts.
    Watched {
        started: Timestamp,
        watch: Arc<Stopwatch>,
    },
}

impl Clock {
    /// A clock that shows the wall clock's time now.
    #[must_use]
    pub fn start() -> Self {
        Self(Hands::Wall { started: wall(), since: Instant::now() })
    }

    /// A clock that shows the wall clock's time now, and from then on what `watch`, which was just started, has counted.
    #[must_use]
    pub fn of(watch: Arc<Stopwatch>) -> Self {
        Self(Hands::Watched { started: wall(), watch })
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
            Hands::Watched { started, watch } => {
                started.after(Seconds::new(watch.passed().as_secs_f64()).unwrap_or_default())
            }
        }
    }
}

fn wall() -> Timestamp {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX))
}

/// Counts the time in which this process ran: while it is stopped (Ctrl-Z) or the machine sleeps, nobody looks, and a gap between two looks
/// that is longer than [`Stopwatch::STILL`] is time that stood still. Somebody has to look more often than that.
#[derive(Debug)]
pub struct Stopwatch(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    /// When it would have been started, had time not stood still since.
    began: tokio::time::Instant,
    looked: tokio::time::Instant,
    stood: Duration,
}

impl Stopwatch {
    /// Longer than any task waits for its turn on a machine that is merely busy.
    pub const STILL: Duration = Duration::from_secs(2);

    /// One that begins now.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let now = tokio::time::Instant::now();
        Arc::new(Self(Mutex::new(Counted { began: now, looked: now, stood: Duration::ZERO })))
    }

    fn look<T>(&self, read: impl FnOnce(&Counted, tokio::time::Instant) -> T) -> T {
        // Whoever panicked left three times that fit each other.
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = tokio::time::Instant::now();
        let gap = now.duration_since(counted.looked);
        if gap > Self::STILL {
            counted.began += gap;
            counted.stood += gap;
        }
        counted.looked = now;
        read(&counted, now)
    }

    /// The time that has passed.
    #[must_use]
    pub fn passed(&self) -> Duration {
        self.look(|counted, now| now.duration_since(counted.began))
    }

    /// When it would have been started, had time not stood still since.
    #[must_use]
    pub fn began(&self) -> tokio::time::Instant {
        self.look(|counted, _| counted.began)
    }

    /// For how long time has stood still.
    #[must_use]
    pub fn stood(&self) -> Duration {
        self.look(|counted, _| counted.stood)
    }

    /// Waits until so much time has passed.
    pub async fn until(&self, passed: Duration) {
        loop {
            let due = self.began() + passed;
            if tokio::time::Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
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

    #[tokio::test(start_paused = true)]
    async fn time_in_which_this_process_stood_still_is_not_counted() {
        let watch = Stopwatch::start();
        let clock = Clock::of(Arc::clone(&watch));
        let began = clock.now();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(watch.stood(), Duration::ZERO);
        }
        // As after Ctrl-Z and fg: all at once it is an hour later.
        tokio::time::advance(Duration::from_hours(1)).await;
        let (passed, stood) = (watch.passed(), watch.stood());
        assert!(passed.as_secs_f64() < 2.01 && stood >= Duration::from_hours(1), "{passed:?} {stood:?}");
        assert!(clock.now().since(began) < Seconds::whole(3));
        let waiting = watch.until(Duration::from_secs(3));
        let looking = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = watch.passed();
            }
        };
        tokio::select! { () = waiting => {}, () = looking => {} }
        let passed = watch.passed().as_secs_f64();
        assert!((3.0..3.01).contains(&passed), "{passed}");
    }

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
