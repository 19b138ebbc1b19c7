//! What a service is like: how long requests take, who gets them, how long replicas take to start, and how far all that is from
//! what its controller believes.

use crate::service::{Nanos, nanos};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_pcg::Pcg64Mcg;
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};

/// What a service is like.
#[derive(Clone, Copy, Debug)]
pub struct Law {
    /// Requests a second that one replica is believed to serve.
    pub capacity: RequestsPerSecond,
    /// What it does serve, relative to that.
    pub pace: Pace,
    /// How the needs of requests scatter.
    pub needs: Needs,
    /// Who gets a request.
    pub balancing: Balancing,
    /// From ordering a replica to its serving.
    pub startup: Startup,
    /// What the nodes hold that are there, and how long others take to come; `None` is room for all.
    pub nodes: Option<Nodes>,
    /// For so long after that a replica needs twice the time for a request: cold caches, a compiler that warms up.
    pub slow_start: Seconds,
    /// A client that waited for so long gives up, and costs no service.
    pub patience: Option<Seconds>,
    /// The promised latency.
    pub target: Seconds,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Law {
    /// The service of the benchmark: 50 requests/s a replica, exponential needs, one queue, no start-up delay, 200 ms.
    #[must_use]
    pub fn benchmark(seed: u64) -> Self {
        Self {
            capacity: RequestsPerSecond::whole(50),
            pace: Pace::Steady(Ratio::ONE),
            needs: Needs::Exponential,
            balancing: Balancing::OneQueue,
            startup: Startup::Fixed(Seconds::ZERO),
            nodes: None,
            slow_start: Seconds::ZERO,
            patience: None,
            target: Seconds::milliseconds(200),
            seed,
        }
    }

    /// Requests a second that a warm replica serves at a moment.
    pub(crate) fn capacity_at(&self, at: Nanos) -> RequestsPerSecond {
        self.capacity * self.pace.at(at)
    }

    /// What a request needs from a replica that has been ready for so long.
    pub(crate) fn slowed(&self, needs: Nanos, ready_for: Nanos) -> Nanos {
        if ready_for < nanos(self.slow_start.get()) { needs.saturating_mul(2) } else { needs }
    }
}

/// How the needs of requests scatter around their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Needs {
    /// Not at all.
    Deterministic,
    /// Exponentially: the coefficient of variation is 1.
    Exponential,
    /// Lognormal, by its coefficient of variation.
    Lognormal(f64),
    /// Two exponential phases with balanced means, by the coefficient of variation, which is at least 1 (Gross et al., section 6.1).
    Hyperexponential(f64),
}

impl Needs {
    /// A need, in units of its mean.
    pub(crate) fn draw(self, stream: &mut Pcg64Mcg) -> f64 {
        match self {
            Self::Deterministic => 1.0,
            Self::Exponential => Exp1.sample(stream),
            Self::Lognormal(cv) => {
                let variance = libm::log1p(cv * cv);
                let normal: f64 = StandardNormal.sample(stream);
                libm::exp(variance.sqrt() * normal - variance / 2.0)
            }
            Self::Hyperexponential(cv) => {
                let square = cv * cv;
                let often = 0.5 * (1.0 + ((square - 1.0) / (square + 1.0)).max(0.0).sqrt());
                let share = if stream.random::<f64>() < often { often } else { 1.0 - often };
                let need: f64 = Exp1.sample(stream);
                need / (2.0 * share)
            }
        }
    }
}

/// Who gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// One queue before all replicas.
    OneQueue,
    /// The replica with the fewest requests, ties at random.
    LeastOutstanding,
    /// The one with fewer of two that are drawn.
    PowerOfTwo,
    /// One after the other.
    RoundRobin,
    /// Any: what kube-proxy does.
    Random,
}

/// From ordering a replica to its serving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Startup {
    /// Always the same.
    Fixed(Seconds),
    /// Lognormal around a median, with a coefficient of variation of a half: nodes, images and caches differ.
    Scattered(Seconds),
}

impl Startup {
    /// What is typical: its median.
    #[must_use]
    pub fn median(self) -> Seconds {
        match self {
            Self::Fixed(span) | Self::Scattered(span) => span,
        }
    }

    /// Nine of ten replicas start within this.
    #[must_use]
    pub fn p90(self) -> Seconds {
        match self {
            Self::Fixed(span) => span,
            // The normal quantile of 0.9.
            Self::Scattered(median) => {
                Seconds::new(median.get() * libm::exp(1.2816 * Self::deviation())).unwrap_or(median)
            }
        }
    }

    /// Of the logarithm of a scattered one.
    fn deviation() -> f64 {
        libm::log1p(0.25).sqrt()
    }

    /// That of the replica which is ordered after so many others.
    pub(crate) fn draw(self, seed: u64, ordered: u64) -> Seconds {
        match self {
            Self::Fixed(span) => span,
            Self::Scattered(median) => {
                let normal: f64 = StandardNormal.sample(&mut stream(seed, ordered, Purpose::Startups));
                Seconds::new(median.get() * libm::exp(Self::deviation() * normal)).unwrap_or(median)
            }
        }
    }
}

/// Room for replicas: one beyond what the nodes hold waits for a node before it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nodes {
    /// Replicas that find room at once.
    pub hold: u32,
    /// Until a node has come.
    pub arrival: Seconds,
}

/// What a replica serves, relative to what is believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Always this much.
    Steady(Ratio),
    /// From one to the other in the course of so long.
    Drifting(Ratio, Ratio, Seconds),
    /// One, and the other from then on: a rollout.
    Changing(Ratio, Ratio, Seconds),
}

impl Pace {
    fn at(self, at: Nanos) -> Ratio {
        let passed = |span: Seconds| at as f64 / (span.get() * 1e9);
        match self {
            Self::Steady(pace) => pace,
            Self::Drifting(from, to, span) => {
                Ratio::new(from.get() + (to.get() - from.get()) * passed(span).min(1.0)).unwrap_or(from)
            }
            Self::Changing(from, to, when) => {
                if passed(when) < 1.0 {
                    from
                } else {
                    to
                }
            }
        }
    }
}

/// What a random stream is for: one for each purpose, so that none moves another.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Arrivals,
    Needs,
    Choices,
    Startups,
}

fn stream(seed: u64, number: u64, purpose: Purpose) -> Pcg64Mcg {
    // The golden ratio's bits spread seeds that follow one another.
    Pcg64Mcg::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (4 * number + purpose as u64))
}

/// The random streams of one interval.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) arrivals: Pcg64Mcg,
    pub(crate) needs: Pcg64Mcg,
    pub(crate) choices: Pcg64Mcg,
    /// Of the round robin.
    pub(crate) turn: usize,
}

impl Streams {
    pub(crate) fn of(seed: u64, interval: u64) -> Self {
        let of = |purpose| stream(seed, interval, purpose);
        Self { arrivals: of(Purpose::Arrivals), needs: of(Purpose::Needs), choices: of(Purpose::Choices), turn: 0 }
    }
}
