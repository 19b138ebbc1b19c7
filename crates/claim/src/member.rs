//! Who is there, and who should decide what: rendezvous hashing.
//!
//! Members are what the agents' own Service lists as ready. Each pair of an agent and a key gets a weight that every agent computes
//! alike (FNV-1a, then the finalizer of `SplitMix64`); the heaviest is preferred. When a member comes or goes, only what it is
//! preferred for moves (Thaler and Ravishankar, 1998). For a workload, agents on nodes that host its pods come
//! first. Views of the membership may differ: two then want the same workload, and the object's label decides.

use crate::epoch::AgentId;
use std::collections::{BTreeMap, BTreeSet};

/// A node's name.
pub type Node = String;

/// So many agents look after each other one's Lease. Two, so that the loss of two nodes at once is noticed as soon as that of one; a
/// constant, so that looks per agent do not grow with agents.
pub const WATCHERS: usize = 2;

/// The agents that are ready, with their nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<AgentId, Option<Node>>);

impl FromIterator<(AgentId, Option<Node>)> for Members {
    fn from_iter<I: IntoIterator<Item = (AgentId, Option<Node>)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl Members {
    /// Whether `agent` is one of them.
    #[must_use]
    pub fn contains(&self, agent: &AgentId) -> bool {
        self.0.contains_key(agent)
    }

    /// All of them.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.0.keys()
    }

    /// Who should decide the workload `key`, whose pods are on `hosts`; never one of `except`.
    #[must_use]
    pub fn preferred(&self, key: &str, hosts: &BTreeSet<Node>, except: Option<&AgentId>) -> Option<&AgentId> {
        let all = || self.0.iter().filter(|(agent, _)| Some(*agent) != except);
        let local = all().filter(|(_, node)| node.as_ref().is_some_and(|node| hosts.contains(node)));
        heaviest(local.map(|(agent, _)| agent), key).or_else(|| heaviest(all().map(|(agent, _)| agent), key))
    }

    /// Who looks after the Lease of `agent`, the first before the second.
    #[must_use]
    pub fn watchers(&self, agent: &AgentId) -> Vec<&AgentId> {
        let mut others: Vec<&AgentId> = self.0.keys().filter(|other| *other != agent).collect();
        others.sort_by_key(|other| std::cmp::Reverse(weight(other, agent.name())));
        others.truncate(WATCHERS);
        others
    }
}

fn heaviest<'a>(agents: impl Iterator<Item = &'a AgentId>, key: &str) -> Option<&'a AgentId> {
    agents.max_by_key(|agent| weight(agent, key))
}

fn weight(agent: &AgentId, key: &str) -> u64 {
    // Not a letter of either, so that no two pairs read the same.
    let bytes = agent.name().bytes().chain([0]).chain(key.bytes());
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // FNV leaves the last bytes in the low bits; keys that differ only there would all prefer the same agent.
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(number: usize) -> Members {
        (0..number).map(|i| (AgentId::new(&format!("agent-{i}")).unwrap(), Some(format!("node-{i}")))).collect()
    }

    #[test]
    fn who_hosts_the_pods_is_preferred() {
        let hosts = BTreeSet::from(["node-3".to_owned(), "node-7".to_owned()]);
        let mut preferred = BTreeSet::new();
        for key in 0..100 {
            preferred.insert(members(10).preferred(&key.to_string(), &hosts, None).unwrap().to_string());
        }
        assert_eq!(preferred, BTreeSet::from(["agent-3".to_owned(), "agent-7".to_owned()]));
        let elsewhere = BTreeSet::from(["node-99".to_owned()]);
        assert!(members(10).preferred("a", &elsewhere, None).is_some(), "somebody must");
        assert_eq!(Members::default().preferred("a", &hosts, None), None);
    }

    #[test]
    fn workloads_are_spread_and_only_those_of_who_left_move() {
        let (before, after) = (members(10), members(9));
        let (mut counts, mut moved) = (BTreeMap::<_, u32>::new(), 0);
        for key in 0..1_000 {
            let key = format!("{key:08x}");
            let old = before.preferred(&key, &BTreeSet::new(), None).unwrap();
            *counts.entry(old.clone()).or_default() += 1;
            if old.name() == "agent-9" {
                moved += 1;
            } else {
                assert_eq!(after.preferred(&key, &BTreeSet::new(), None), Some(old));
            }
        }
        assert!(counts.values().all(|count| (70..130).contains(count)), "{counts:?}");
        assert!(moved > 0);
    }

    #[test]
    fn each_agent_is_looked_after_by_two_others_however_many_there_are() {
        for number in [1, 2, 3, 30, 300] {
            let members = members(number);
            let mut looks = BTreeMap::<&AgentId, usize>::new();
            for agent in members.agents() {
                let watchers = members.watchers(agent);
                assert_eq!(watchers.len(), WATCHERS.min(number - 1));
                assert!(!watchers.contains(&agent));
                for watcher in watchers {
                    *looks.entry(watcher).or_default() += 1;
                }
            }
            assert!(looks.values().all(|looks| *looks <= 12), "{number} agents: {looks:?}");
        }
    }
}
