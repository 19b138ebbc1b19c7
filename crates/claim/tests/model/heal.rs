//! The faults have ended: how long until the workload is decided again?
//!
//! Time runs from here in steps of five seconds, with the real timings. Nobody remembers a look at anybody's Lease, which is the worst
//! case; who is dead is listed as a member for 50 s more, as a node that is lost is; who was about to end has ended.

use crate::world::{Breach, Setup, World, members, names};
use std::collections::BTreeMap;
use trimtab_claim::lease::{LONGEST_GAP, RENEW, Said, Sight};
use trimtab_claim::{AgentId, Boot, Standing, Step};

const STEP: usize = 5;
/// So long the dead are listed.
const LISTED: u64 = 50;
/// The model's own time before: far enough that every look is new.
const BEGUN: u64 = 1_000;

/// Seconds until an agent decides, or what is broken on the way there.
pub(crate) fn heal(world: &World, setup: &Setup) -> Result<u64, Breach> {
    let mut world = world.clone();
    world.requests.clear();
    for agent in &mut world.agents {
        agent.alive &= !agent.leaving;
        // Answers that will never come are given up after the deadline.
        agent.memory.give_up();
    }
    let agents = names(setup.agents);
    let mut sights: Vec<BTreeMap<AgentId, Sight>> = vec![BTreeMap::new(); setup.agents];
    let dead: Vec<usize> = (0..setup.agents).filter(|i| !world.agents[*i].alive).collect();
    let setup = Setup { bounded: false, ..*setup };
    for second in (0..=LONGEST_GAP.0 / 1_000).step_by(STEP) {
        let now = Boot((BEGUN + second) * 1_000);
        let there = members(setup.agents, if second < LISTED { &[] } else { &dead });
        for (i, looked) in sights.iter_mut().enumerate().filter(|(i, _)| !dead.contains(i)) {
            for (j, other) in agents.iter().enumerate().filter(|(j, _)| *j != i) {
                let sight = looked.entry(other.clone()).or_default();
                if sight.looked().is_none_or(|looked| now.since(looked) >= RENEW) {
                    let renewals = if dead.contains(&j) { 0 } else { second / (RENEW.0 / 1_000) };
                    sight.look(Some(Said { version: renewals.to_string(), held: true, blind: false }), now);
                }
            }
            let standings: BTreeMap<AgentId, Standing> =
                looked.iter().map(|(agent, sight)| (agent.clone(), sight.standing())).collect();
            world.observe(i);
            let step = world.act(i, &standings, &there, now, &setup)?;
            for request in std::mem::take(&mut world.requests) {
                world.deliver(&request, true, &setup)?;
            }
            if matches!(step, Some(Step::Decide(_))) {
                return Ok(second);
            }
        }
    }
    Err(Breach::Undecided)
}
