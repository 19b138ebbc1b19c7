//! One server with a bounded queue, first come first served.
//!
//! The server's time is reckoned and not slept through: a request's end is known when it enters, so that a timer that wakes
//! late makes one request late and takes nothing of the capacity.

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    mean: Duration,
    bound: usize,
    server: Mutex<Server>,
    present: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Server {
    free_at: Instant,
    service_times: Pcg64Mcg,
}

/// When a request is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) starts: Instant,
    pub(crate) ends: Instant,
    /// Holds the request's place until it is dropped.
    pub(crate) _place: Place,
}

/// A request's place in the queue or at the server.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No place is left.
#[derive(Debug)]
pub(crate) struct Full;

impl Queue {
    pub(crate) fn new(mean: Duration, bound: usize, seed: u64) -> Self {
        let server = Server { free_at: Instant::now(), service_times: Pcg64Mcg::seed_from_u64(seed) };
        Self { mean, bound, server: Mutex::new(server), present: Arc::default() }
    }

    /// Takes a place and learns when it will be served.
    pub(crate) fn enter(&self) -> Result<Served, Full> {
        // The one at the server does not wait.
        if self.present.fetch_add(1, Ordering::Relaxed) > self.bound {
            self.present.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        let place = Place(Arc::clone(&self.present));
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let draw: f64 = Exp1.sample(&mut server.service_times);
        let starts = server.free_at.max(Instant::now());
        let ends = starts + self.mean.mul_f64(draw);
        server.free_at = ends;
        Ok(Served { starts, ends, _place: place })
    }

    /// Requests that wait, the one at the server left out.
    pub(crate) fn waiting(&self) -> usize {
        self.present.load(Ordering::Relaxed).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_starts_when_the_one_before_has_ended() {
        // So long a service that none ends before the last has entered.
        let queue = Queue::new(Duration::from_secs(20_000), 100, 7);
        let served: Vec<Served> = (0..100).map(|_| queue.enter().expect("there is room")).collect();
        assert!(served.windows(2).all(|pair| pair[1].starts == pair[0].ends));
    }

    #[tokio::test]
    async fn service_times_have_their_mean_and_are_seeded() {
        let total = |seed| {
            let queue = Queue::new(Duration::from_millis(20), usize::MAX, seed);
            (0..20_000)
                .map(|_| queue.enter().map(|served| served.ends - served.starts).unwrap_or_default())
                .sum::<Duration>()
        };
        let mean = total(1) / 20_000;
        assert!((Duration::from_micros(19_500)..Duration::from_micros(20_500)).contains(&mean), "{mean:?}");
        assert_eq!(total(1), total(1));
        assert_ne!(total(1), total(2));
    }

    /// Mean wait of M/M/1, rho / (mu - lambda) (Kleinrock, Queueing Systems I, 3.2): 20 ms at 25 of 50 requests/s.
    #[tokio::test(start_paused = true)]
    async fn requests_wait_as_long_as_theory_says() {
        let queue = Queue::new(Duration::from_millis(20), usize::MAX, 1);
        let mut arrivals = Pcg64Mcg::seed_from_u64(2);
        let mut waited = Duration::ZERO;
        for _ in 0..100_000 {
            let gap: f64 = Exp1.sample(&mut arrivals);
            tokio::time::advance(Duration::from_secs_f64(gap / 25.0)).await;
            waited += queue.enter().map(|served| served.starts - Instant::now()).unwrap_or_default();
        }
        let mean = waited / 100_000;
        assert!((Duration::from_millis(19)..Duration::from_millis(21)).contains(&mean), "{mean:?}");
    }

    #[tokio::test]
    async fn beyond_its_bound_nobody_enters_until_somebody_leaves() {
        let queue = Queue::new(Duration::from_millis(20), 2, 1);
        let mut inside: Vec<Served> =
            (0..3).map(|_| queue.enter().expect("one at the server and two that wait")).collect();
        assert!(queue.enter().is_err());
        assert_eq!(queue.waiting(), 2);
        inside.pop();
        assert!(queue.enter().is_ok());
    }
}
