//! Time since the machine was booted, sleep included: what an agent's own lease is judged by.
//!
//! The monotonic clock of the standard library stops while the machine sleeps; an agent that slept for an hour would take its lease
//! for fresh. The kernel tells the time since boot in `/proc/uptime` (`CLOCK_BOOTTIME`, to 10 ms).

use tokio::time::Instant;
use trimtab_claim::Boot;

/// A clock that also counts while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    started: Instant,
    /// Whether it is the kernel's; otherwise it is the runtime's, which stops in sleep.
    kernel: bool,
}

impl BootClock {
    /// The kernel's clock, where it shows one.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), kernel: uptime().is_some() }
    }

    /// The runtime's clock, which a test can pause and move.
    #[must_use]
    pub fn of_the_runtime() -> Self {
        Self { started: Instant::now(), kernel: false }
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> Boot {
        let elapsed = || Boot(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if self.kernel { uptime().unwrap_or_else(elapsed) } else { elapsed() }
    }
}

/// `350735.47 234388.90`: the first is seconds since boot.
fn uptime() -> Option<Boot> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let (seconds, hundredths) = (seconds.parse::<u64>().ok()?, hundredths.parse::<u64>().ok()?);
    Some(Boot(seconds.checked_mul(1_000)?.checked_add(hundredths.checked_mul(10)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_time_since_boot() {
        let clock = BootClock::start();
        assert!(clock.kernel, "on Linux it does");
        let (first, second) = (clock.now(), clock.now());
        assert!(first > Boot(0) && second >= first);
    }
}
