//! An open-loop load: requests are sent at the moments of a Poisson process, whatever became of earlier ones, and latency counts from the
//! moment at which a request was meant to be sent. So a service that stalls does not quiet the load that measures it.
//!
//! The binary puts one on services elsewhere; `trimtab demo` puts one on its own.

mod balance;
mod client;

pub use balance::Balance;

use balance::Targets;
use client::Client;
use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The exponential law has no memory: a gap that is cut here and drawn anew keeps it, and follows a rate that changes.
const LOOK_AGAIN: f64 = 0.5;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered.
    Served,
    /// A status of 500 and above.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No target, no connection, or one that broke.
    Lost,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it was meant to be sent, after the beginning.
    pub due: Duration,
    /// How much later it was begun: what the generator itself was late.
    pub late: Duration,
    /// From when it was meant to be sent to its end.
    pub latency: Duration,
    /// How it ended.
    pub end: End,
}

/// When a request is meant to be sent: so long after the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Meant {
    /// The beginning.
    pub begun: Instant,
    /// So long after it.
    pub due: Duration,
}

/// Lets a Poisson process of `rate` requests a second arrive until that says `None`. `look` is told of each moment at which it is looked
/// at, with the rate then and whether a request arrives; a silent course is looked at again after half a second. `began` says when the
/// course began: where it says a later moment than before, because time stood still, what is due is that much later.
pub async fn arrivals(
    seed: u64,
    mut began: impl FnMut() -> Instant,
    mut rate: impl FnMut(Duration) -> Option<f64>,
    mut look: impl FnMut(Meant, f64, bool),
) {
    let mut draws = Pcg64Mcg::seed_from_u64(seed);
    let mut due = Duration::ZERO;
    while let Some(rate) = rate(due) {
        // An exponential gap at the rate of this moment.
        let gap: f64 = Exp1.sample(&mut draws);
        let arrives = rate > 0.0 && gap / rate <= LOOK_AGAIN;
        due += Duration::from_secs_f64(if arrives { gap / rate } else { LOOK_AGAIN });
        let mut begun = began();
        loop {
            tokio::time::sleep_until(begun + due).await;
            let now = began();
            if now <= begun {
                break;
            }
            begun = now;
        }
        look(Meant { begun, due }, rate, arrives);
    }
}

/// Who is asked.
#[derive(Debug)]
pub struct Fleet {
    targets: Mutex<Targets>,
    client: Client,
}

impl Fleet {
    /// Nobody yet. `seed` is of random balancing; what takes longer than `timeout` has failed.
    #[must_use]
    pub fn new(balance: Balance, seed: u64, timeout: Duration, keep_alive: bool) -> Self {
        Self { targets: Mutex::new(Targets::new(balance, seed)), client: Client::new(timeout, keep_alive) }
    }

    fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these URLs are asked: connections to others are closed when their request has ended.
    pub fn become_these(&self, urls: Vec<String>) {
        self.client.follow(&urls);
        self.targets().replace(urls);
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there is none")]
    pub fn len(&self) -> usize {
        self.targets().len()
    }

    /// Asks one of them, and waits for the end.
    pub async fn ask(&self, meant: Meant) -> Ended {
        let at = meant.begun + meant.due;
        let late = at.elapsed();
        let target = self.targets().pick();
        let end = match target {
            Some(target) => {
                let answer = self.client.get(&target).await;
                self.targets().done(&target);
                match answer {
                    Ok(Some(status)) if status < 500 => End::Served,
                    Ok(Some(_)) => End::Refused,
                    Ok(None) => End::TimedOut,
                    Err(_) => End::Lost,
                }
            }
            None => End::Lost,
        };
        Ended { due: meant.due, late, latency: at.elapsed(), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, PoisonError};

    #[tokio::test(start_paused = true)]
    async fn what_was_due_while_time_stood_still_is_not_sent_in_a_rush() {
        let start = Instant::now();
        let began = Arc::new(Mutex::new(start));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let reads = |began: &Mutex<Instant>| *began.lock().unwrap_or_else(PoisonError::into_inner);
        let (course, log) = (Arc::clone(&began), Arc::clone(&sent));
        let rate = |due: Duration| (due < Duration::from_secs(20)).then_some(100.0);
        let load = arrivals(
            1,
            move || reads(&course),
            rate,
            move |meant, _, arrives| {
                if arrives {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push((meant.due, (meant.begun + meant.due).elapsed()));
                }
            },
        );
        let stop = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            // An hour stands still.
            *began.lock().unwrap_or_else(PoisonError::into_inner) += Duration::from_hours(1);
            tokio::time::advance(Duration::from_hours(1)).await;
        };
        tokio::join!(load, stop);
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        let late = sent.iter().map(|(_, late)| *late).max();
        assert!(late < Some(Duration::from_millis(20)), "{late:?}");
        assert!((1_800..2_200).contains(&sent.len()), "as many as in 20 s: {}", sent.len());
        assert!(start.elapsed() > Duration::from_secs(3_619), "{:?}", start.elapsed());
    }
}
