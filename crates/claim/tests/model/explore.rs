//! Breadth first, so that the way to a broken promise is the shortest.

use crate::heal;
use crate::world::{Breach, Setup, World};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What was explored.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) depth: usize,
    pub(crate) healed: usize,
    /// The longest until a workload was decided again, in seconds.
    pub(crate) slowest: u64,
    pub(crate) breach: Option<(Breach, Vec<String>)>,
}

/// Healing is tried from one state in so many.
const HEALED: u64 = 16;

/// Visits every state that so many steps reach; ends at the first broken promise.
pub(crate) fn explore(setup: &Setup) -> Explored {
    let first = World::new(setup);
    let mut known = HashSet::from([prints(&first)]);
    let mut way: Vec<(usize, String)> = vec![(0, String::new())];
    let mut level = vec![(0_usize, first)];
    let mut explored = Explored { states: 1, transitions: 0, depth: 0, healed: 0, slowest: 0, breach: None };
    while !level.is_empty() && explored.depth < setup.depth {
        let mut below = Vec::new();
        for (place, world) in level {
            for action in world.actions(setup) {
                explored.transitions += 1;
                let next = match world.after(&action, setup) {
                    Ok(next) => next,
                    Err(breach) => {
                        explored.breach = Some((breach, told(&way, place, format!("{action:?}"))));
                        return explored;
                    }
                };
                let print = prints(&next);
                if !known.insert(print) {
                    continue;
                }
                explored.states += 1;
                way.push((place, format!("{action:?}")));
                if print.0.is_multiple_of(HEALED) {
                    explored.healed += 1;
                    match heal::heal(&next, setup) {
                        Ok(took) => explored.slowest = explored.slowest.max(took),
                        Err(breach) => {
                            let last = format!("the faults end: {:?}", next.server);
                            explored.breach = Some((breach, told(&way, way.len() - 1, last)));
                            return explored;
                        }
                    }
                }
                below.push((way.len() - 1, next));
            }
        }
        level = below;
        explored.depth += usize::from(!level.is_empty());
    }
    explored
}

/// Two hashes of a state stand for it: of a million states no two share 128 bits.
fn prints(world: &World) -> (u64, u64) {
    let print = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        hasher.finish()
    };
    (print(0), print(1))
}

/// The actions that led to the state at `place`, and the `last` one.
fn told(way: &[(usize, String)], mut place: usize, last: String) -> Vec<String> {
    let mut actions = vec![last];
    while let Some((before, action)) = way.get(place).filter(|_| place != 0) {
        actions.push(action.clone());
        place = *before;
    }
    actions.reverse();
    actions
}
