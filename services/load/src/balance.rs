//! Which of the targets a request goes to.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;

/// The ways to choose.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Balance {
    /// One after the other
    RoundRobin,
    /// Any, as kube-proxy does
    Random,
    /// The one with the fewest requests under way; of equals, the one that waited longest
    LeastOutstanding,
    /// The better of two that are drawn
    PowerOfTwo,
}

/// The targets, and how many requests each has under way.
#[derive(Debug)]
pub(crate) struct Targets {
    balance: Balance,
    draws: Pcg64Mcg,
    urls: Vec<String>,
    under_way: BTreeMap<String, u32>,
    next: usize,
}

impl Targets {
    pub(crate) fn new(balance: Balance, seed: u64) -> Self {
        // Another stream than the arrivals': other balancing leaves the arrivals as they are.
        Self {
            balance,
            draws: Pcg64Mcg::seed_from_u64(seed ^ 0xba1a),
            urls: Vec::new(),
            under_way: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn replace(&mut self, urls: Vec<String>) {
        self.urls = urls;
    }

    pub(crate) fn len(&self) -> usize {
        self.urls.len()
    }

    fn load(&self, index: usize) -> u32 {
        self.urls.get(index).and_then(|url| self.under_way.get(url)).copied().unwrap_or_default()
    }

    /// Chooses a target and counts the request as under way there.
    pub(crate) fn pick(&mut self) -> Option<String> {
        let count = self.urls.len();
        if count == 0 {
            return None;
        }
        let index = match self.balance {
            Balance::RoundRobin => self.next % count,
            Balance::Random => self.draws.random_range(0..count),
            Balance::LeastOutstanding => {
                let from = self.next;
                (0..count).map(|step| (from + step) % count).min_by_key(|index| self.load(*index))?
            }
            Balance::PowerOfTwo => {
                let (a, b) = (self.draws.random_range(0..count), self.draws.random_range(0..count));
                if self.load(b) < self.load(a) { b } else { a }
            }
        };
        self.next = (index + 1) % count;
        let url = self.urls.get(index)?.clone();
        *self.under_way.entry(url.clone()).or_default() += 1;
        Some(url)
    }

    /// A request to `url` has ended.
    pub(crate) fn done(&mut self, url: &str) {
        if let Some(count) = self.under_way.get_mut(url) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(url);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(balance: Balance, count: usize) -> Vec<String> {
        let mut targets = Targets::new(balance, 1);
        targets.replace(["a", "b", "c"].map(str::to_owned).to_vec());
        (0..count).filter_map(|_| targets.pick()).collect()
    }

    #[test]
    fn round_robin_takes_turns() {
        assert_eq!(picks(Balance::RoundRobin, 6).join(""), "abcabc");
    }

    #[test]
    fn least_outstanding_spreads_what_is_under_way() {
        let mut targets = Targets::new(Balance::LeastOutstanding, 1);
        targets.replace(["a", "b", "c"].map(str::to_owned).to_vec());
        for _ in 0..6 {
            targets.pick();
        }
        targets.done("b");
        assert_eq!(targets.pick().as_deref(), Some("b"));
    }

    #[test]
    fn the_better_of_two_spreads_more_evenly_than_chance() {
        let most = |balance| {
            let seen = picks(balance, 300);
            ["a", "b", "c"].map(|url| seen.iter().filter(|pick| *pick == url).count()).into_iter().max()
        };
        assert!(most(Balance::PowerOfTwo) <= Some(103), "{:?}", most(Balance::PowerOfTwo));
        assert!(most(Balance::Random) > Some(103), "{:?}", most(Balance::Random));
    }

    #[test]
    fn random_reaches_all_and_is_seeded() {
        let seen = picks(Balance::Random, 100);
        assert_eq!(seen, picks(Balance::Random, 100));
        for url in ["a", "b", "c"] {
            assert!(seen.iter().filter(|pick| *pick == url).count() > 15, "{seen:?}");
        }
    }

    #[test]
    fn without_targets_nothing_is_picked() {
        assert_eq!(Targets::new(Balance::Random, 1).pick(), None);
    }
}
