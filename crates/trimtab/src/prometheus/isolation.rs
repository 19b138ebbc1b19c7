//! Which queries are asked together, and which are kept apart because they spoil the answer of the others.
//!
//! One expression that the server refuses makes it refuse the whole batch, and one that is too slow makes the whole
//! batch late. The guilty are searched by halving (or named by the server), then asked alone, a few per round, in
//! turn; the others are together in the meantime. As soon as one of the lonely is well again, all of them are tried
//! together with the rest: what was wrong may have been the server's. Every number here is a bound on requests.
//!
//! Pure: it sends nothing and knows no clock.

use super::answer::{Absence, Blame};
use std::collections::{BTreeMap, BTreeSet};

/// Lonely queries asked again in one round: what a lasting bad query costs.
const ALONE_PER_ROUND: usize = 4;

/// Groups that are kept apart from one round to the next, because time ran out before the guilty one was found.
const MAX_GROUPS: usize = 6;

/// Rounds after which a lonely query that was too slow is asked again at the latest: while it is asked, the answers
/// of the others wait.
const MAX_PAUSE: u64 = 4;

/// Requests that halving may add to one round: 64 find three bad ones among a thousand at once; the rest is found
/// in the rounds after.
pub(super) const SPLITS_PER_ROUND: u32 = 64;

/// Something to be asked; the order of the caller's list is its identity within a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// What it is across rounds: its text.
    pub(super) key: &'a str,
    /// What it adds to a request.
    pub(super) bytes: usize,
    /// It may never be asked together with others.
    pub(super) lonely: bool,
}

/// Candidates to be asked in one request, as places in the caller's list.
pub(super) type Group = Vec<usize>;

/// What to do in a round, or after a request of it failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be asked now, each group in one request; those that nothing is held against first.
    pub(super) ask: Vec<Group>,
    /// Not to be asked in this round, and why they have no answer.
    pub(super) settled: Vec<(usize, Absence)>,
}

/// What is remembered between rounds.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    round: u64,
    groups: Vec<BTreeSet<String>>,
    alone: BTreeMap<String, Alone>,
    pardon: bool,
}

#[derive(Debug)]
struct Alone {
    absence: Absence,
    /// The round in which it was last asked.
    asked: u64,
    /// How many rounds to wait from one to the next.
    pause: u64,
}

impl Isolation {
    /// Begins a round: forgets what is not asked any more, and groups the rest into requests of at most `max_bytes`.
    pub(super) fn plan(&mut self, candidates: &[Candidate<'_>], max_bytes: usize) -> Plan {
        self.round += 1;
        if std::mem::take(&mut self.pardon) {
            self.alone.clear();
        }
        let keys: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.key).collect();
        self.alone.retain(|key, _| keys.contains(key.as_str()));
        for group in &mut self.groups {
            group.retain(|key| keys.contains(key.as_str()) && !self.alone.contains_key(key));
        }
        self.groups.retain(|group| !group.is_empty());
        for candidate in candidates.iter().filter(|candidate| candidate.lonely) {
            self.alone.entry(candidate.key.to_owned()).or_insert(Alone {
                absence: Absence::Postponed,
                asked: 0,
                pause: 1,
            });
        }

        let mut plan = Plan::default();
        let due = self.due();
        let mut together = Vec::new();
        let mut lonely = Vec::new();
        let mut apart = vec![Vec::new(); self.groups.len()];
        for (place, candidate) in candidates.iter().enumerate() {
            if let Some(alone) = self.alone.get(candidate.key) {
                if due.contains(candidate.key) {
                    lonely.push(vec![place]);
                } else {
                    plan.settled.push((place, alone.absence.clone()));
                }
            } else if let Some(group) = self.groups.iter().position(|group| group.contains(candidate.key)) {
                apart.get_mut(group).into_iter().for_each(|group| group.push(place));
            } else {
                together.push(place);
            }
        }
        for group in std::iter::once(together).chain(apart) {
            chunk(&group, candidates, max_bytes, &mut plan.ask);
        }
        plan.ask.extend(lonely);
        plan
    }

    /// The lonely whose turn it is: those that were not asked for longest.
    fn due(&mut self) -> BTreeSet<String> {
        let rested = self.alone.iter().filter(|(_, alone)| alone.asked == 0 || self.round - alone.asked >= alone.pause);
        let mut turn: Vec<_> = rested.map(|(key, alone)| (alone.asked, key.clone())).collect();
        turn.sort();
        let due: BTreeSet<String> = turn.into_iter().take(ALONE_PER_ROUND).map(|(_, key)| key).collect();
        for key in &due {
            if let Some(alone) = self.alone.get_mut(key) {
                alone.asked = self.round;
            }
        }
        due
    }

    /// Whether nothing is held against this group.
    pub(super) fn trusts(&self, group: &[usize], candidates: &[Candidate<'_>]) -> bool {
        group.iter().filter_map(|place| candidates.get(*place)).all(|candidate| {
            !self.alone.contains_key(candidate.key) && self.groups.iter().all(|group| !group.contains(candidate.key))
        })
    }

    /// A group was answered. `sociable`: it would do so together with others, too.
    pub(super) fn answered(&mut self, group: &[usize], candidates: &[Candidate<'_>], sociable: bool) {
        for candidate in group.iter().filter_map(|place| candidates.get(*place)) {
            if sociable && !candidate.lonely && self.alone.remove(candidate.key).is_some() {
                self.pardon = true;
            }
            for apart in &mut self.groups {
                apart.remove(candidate.key);
            }
        }
    }

    /// A group was not answered: what to do with it. `guilty` is the one that the server named; `splits` is what is
    /// left of [`SPLITS_PER_ROUND`].
    pub(super) fn failed(
        &mut self,
        group: Group,
        absence: &Absence,
        guilty: Option<usize>,
        candidates: &[Candidate<'_>],
        splits: &mut u32,
    ) -> Plan {
        let blame = absence.blame();
        if let ([place], Blame::Query | Blame::Time) = (group.as_slice(), blame)
            && let Some(candidate) = candidates.get(*place)
        {
            let before = self.alone.get(candidate.key).map_or(0, |alone| alone.pause);
            let pause = if blame == Blame::Time { (2 * before).clamp(1, MAX_PAUSE) } else { 1 };
            self.alone.insert(candidate.key.to_owned(), Alone { absence: absence.clone(), asked: self.round, pause });
        }
        if group.len() == 1 || blame == Blame::Server {
            return Plan {
                ask: Vec::new(),
                settled: group.into_iter().map(|place| (place, absence.clone())).collect(),
            };
        }
        let halves = halve(&group, guilty);
        if blame == Blame::Query && *splits >= 2 {
            *splits -= 2;
            return Plan { ask: halves.into(), settled: Vec::new() };
        }
        self.keep_apart(&halves, candidates);
        let absence = if blame == Blame::Query { Absence::Postponed } else { absence.clone() };
        Plan { ask: Vec::new(), settled: group.into_iter().map(|place| (place, absence.clone())).collect() }
    }

    /// Has the halves asked separately in the next round, where there is room for that.
    fn keep_apart(&mut self, halves: &[Group; 2], candidates: &[Candidate<'_>]) {
        let keys = halves.each_ref().map(|half| {
            half.iter()
                .filter_map(|place| candidates.get(*place))
                .map(|candidate| candidate.key.to_owned())
                .collect::<BTreeSet<_>>()
        });
        let others = self.groups.iter().filter(|group| keys.iter().all(|half| group.is_disjoint(half))).count();
        if others + keys.len() <= MAX_GROUPS {
            self.groups.retain(|group| keys.iter().all(|half| group.is_disjoint(half)));
            self.groups.extend(keys);
        }
    }
}

/// Two parts of a group of at least two, neither of them empty: the guilty one and the rest, or halves.
fn halve(group: &[usize], guilty: Option<usize>) -> [Group; 2] {
    let (left, right): (Group, Group) = group.iter().partition(|place| Some(**place) == guilty);
    if !left.is_empty() && !right.is_empty() {
        return [left, right];
    }
    let (left, right) = group.split_at(group.len() / 2);
    [left.to_vec(), right.to_vec()]
}

/// Cuts a group into requests of at most `max_bytes`; a candidate that is larger goes by itself.
fn chunk(group: &[usize], candidates: &[Candidate<'_>], max_bytes: usize, into: &mut Vec<Group>) {
    let mut request = Vec::new();
    let mut bytes = 0;
    for place in group {
        let more = candidates.get(*place).map_or(0, |candidate| candidate.bytes);
        if !request.is_empty() && bytes + more > max_bytes {
            into.push(std::mem::take(&mut request));
            bytes = 0;
        }
        request.push(*place);
        bytes += more;
    }
    if !request.is_empty() {
        into.push(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A server that refuses what holds a bad one, and never answers what holds a slow one. Returns which were
    /// answered, and how many requests it took.
    fn round(
        isolation: &mut Isolation,
        keys: &[String],
        bad: &BTreeSet<usize>,
        slow: &BTreeSet<usize>,
    ) -> (BTreeSet<usize>, usize) {
        let candidates: Vec<_> = keys.iter().map(|key| Candidate { key, bytes: 10, lonely: false }).collect();
        let plan = isolation.plan(&candidates, 10_000);
        let mut seen: BTreeSet<usize> = plan.settled.iter().map(|(place, _)| *place).collect();
        let mut answered = BTreeSet::new();
        let (mut queue, mut requests, mut splits) = (plan.ask, 0, SPLITS_PER_ROUND);
        while let Some(group) = queue.pop() {
            requests += 1;
            let absence = if group.iter().any(|place| slow.contains(place)) {
                Absence::TimedOut { server: String::new(), after: Duration::ZERO }
            } else if group.iter().any(|place| bad.contains(place)) {
                Absence::BadQuery { message: String::new() }
            } else {
                isolation.answered(&group, &candidates, true);
                answered.extend(group);
                continue;
            };
            let plan = isolation.failed(group, &absence, None, &candidates, &mut splits);
            queue.extend(plan.ask);
            seen.extend(plan.settled.iter().map(|(place, _)| *place));
        }
        seen.extend(&answered);
        assert_eq!(seen.len(), keys.len(), "every question gets an answer or an absence");
        (answered, requests)
    }

    fn keys(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("q{n}")).collect()
    }

    #[test]
    fn one_bad_query_among_a_thousand_is_found_at_once_and_then_costs_one_request() {
        let (keys, bad, none) = (keys(1000), BTreeSet::from([417]), BTreeSet::new());
        let mut isolation = Isolation::default();
        let (answered, requests) = round(&mut isolation, &keys, &bad, &none);
        assert_eq!((answered.len(), requests), (999, 21));
        for _ in 0..5 {
            let (answered, requests) = round(&mut isolation, &keys, &bad, &none);
            assert_eq!((answered.len(), requests), (999, 2));
        }
        let (answered, _) = round(&mut isolation, &keys, &none, &none);
        assert_eq!(answered.len(), 1000, "it is asked again in every round, so its cure is seen in the next");
        assert_eq!(round(&mut isolation, &keys, &none, &none), (answered, 1), "and then it is back among the others");
    }

    #[test]
    fn the_one_that_the_server_names_is_not_searched() {
        let keys = keys(1000);
        let candidates: Vec<_> = keys.iter().map(|key| Candidate { key, bytes: 10, lonely: false }).collect();
        let mut isolation = Isolation::default();
        let group = isolation.plan(&candidates, 10_000).ask.remove(0);
        let absence = Absence::BadQuery { message: String::new() };
        let plan = isolation.failed(group, &absence, Some(417), &candidates, &mut SPLITS_PER_ROUND.clone());
        assert_eq!(plan.ask.iter().map(Vec::len).collect::<Vec<_>>(), [1, 999]);
    }

    #[test]
    fn a_server_that_answers_nothing_is_not_asked_ever_more() {
        let (keys, none) = (keys(1000), BTreeSet::new());
        let all = (0..1000).collect();
        let mut isolation = Isolation::default();
        for _ in 0..50 {
            let (answered, requests) = round(&mut isolation, &keys, &none, &all);
            assert!(answered.is_empty() && requests <= 1 + MAX_GROUPS + ALONE_PER_ROUND, "{requests}");
        }
        let rounds = (1..=10).find(|_| round(&mut isolation, &keys, &none, &none).0.len() == 1000);
        assert!(rounds.is_some_and(|rounds| rounds <= 2), "{rounds:?}");
    }

    #[test]
    fn hundreds_of_bad_queries_cost_a_bounded_number_of_requests_and_the_good_ones_get_through() {
        let (keys, none) = (keys(1000), BTreeSet::new());
        let bad: BTreeSet<usize> = (0..1000).step_by(5).collect();
        let mut isolation = Isolation::default();
        for _ in 0..40 {
            let (_, requests) = round(&mut isolation, &keys, &bad, &none);
            let bound = 1 + MAX_GROUPS + ALONE_PER_ROUND + usize::try_from(SPLITS_PER_ROUND).unwrap();
            assert!(requests <= bound, "{requests}");
        }
        assert_eq!(
            round(&mut isolation, &keys, &bad, &none),
            ((0..1000).filter(|n| n % 5 != 0).collect(), 1 + ALONE_PER_ROUND)
        );
    }

    #[test]
    fn what_must_not_be_asked_with_others_never_is() {
        let candidates =
            [Candidate { key: "a", bytes: 1, lonely: true }, Candidate { key: "b", bytes: 1, lonely: false }];
        let mut isolation = Isolation::default();
        for _ in 0..3 {
            let plan = isolation.plan(&candidates, 100);
            assert_eq!(plan.ask, [vec![1], vec![0]]);
            plan.ask.iter().for_each(|group| isolation.answered(group, &candidates, true));
        }
    }

    #[test]
    fn long_queries_are_spread_over_requests() {
        let candidates =
            ["a", "b", "c", "d"].map(|key| Candidate { key, bytes: if key == "c" { 90 } else { 20 }, lonely: false });
        assert_eq!(Isolation::default().plan(&candidates, 50).ask, [vec![0, 1], vec![2], vec![3]]);
    }

    proptest! {
        #[test]
        fn every_good_query_is_answered_before_long_and_few_requests_are_added_in_the_end(
            count in 1_usize..120,
            bad in prop::collection::btree_set(0_usize..120, 0..5),
            slow in prop::collection::btree_set(0_usize..120, 0..4),
        ) {
            let keys = keys(count);
            let guilty: BTreeSet<usize> = bad.union(&slow).copied().filter(|n| *n < count).collect();
            let mut isolation = Isolation::default();
            for _ in 0..30 {
                round(&mut isolation, &keys, &bad, &slow);
            }
            let (answered, requests) = round(&mut isolation, &keys, &bad, &slow);
            prop_assert_eq!(answered.len(), count - guilty.len());
            prop_assert!(requests <= 1 + ALONE_PER_ROUND);
        }
    }
}
