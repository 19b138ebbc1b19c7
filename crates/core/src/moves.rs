//! Moves: what became of the sizes that were asked for.
//!
//! What was decided may be limited, refused or overridden on its way; what counts is the size that the next look finds. From moves
//! follow what of the ramp is used up, and which replicas are under way and when they are due.

use crate::unit::{Replicas, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The span that a ramp is about.
pub(crate) const RAMP: Seconds = Seconds::whole(30);
/// Moves that are remembered: an hour of a move each minute, longer than pods take to start.
const MOVES: usize = 64;

/// A change of the size: when, and by how many replicas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Move(Timestamp, i64);

/// What is remembered of moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The last look: when, and the size that it found.
    looked: Option<(Timestamp, Replicas)>,
    /// Between the last two looks.
    every: Seconds,
    moves: VecDeque<Move>,
}

impl Memory {
    /// The time between the last two looks.
    pub(crate) fn every(&self) -> Seconds {
        self.every
    }
}

/// Replicas that are under way, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) due: Timestamp,
    pub(crate) replicas: Replicas,
}

/// Notes what became of the last decision, and begins this one.
pub(crate) fn look(memory: &mut Memory, desired: Replicas, at: Timestamp) {
    if let Some((when, before)) = memory.looked.replace((at, desired)) {
        memory.every = at.since(when);
        let change = i64::from(desired.0) - i64::from(before.0);
        if change != 0 {
            if memory.moves.len() >= MOVES {
                memory.moves.pop_front();
            }
            memory.moves.push_back(Move(when, change));
        }
    }
}

/// How far the size may still go down, and up, under a ramp.
pub(crate) fn room(memory: &Memory, ramp: Option<Replicas>, at: Timestamp) -> (Replicas, Replicas) {
    let Some(ramp) = ramp else { return (Replicas(u32::MAX), Replicas(u32::MAX)) };
    let recent = memory.moves.iter().rev().take_while(|Move(when, _)| at.since(*when) < RAMP);
    let net: i64 = recent.map(|Move(_, change)| change).sum();
    let whole = |raw: i64| Replicas(u32::try_from(raw.max(0)).unwrap_or(u32::MAX));
    (whole(i64::from(ramp.0) + net), whole(i64::from(ramp.0) - net))
}

/// Replicas under way, the first due first: what was added within `startup`, less what was taken away since.
pub(crate) fn orders(memory: &Memory, startup: Seconds, at: Timestamp) -> impl Iterator<Item = Order> {
    let moves = || memory.moves.iter().rev().take_while(move |Move(when, _)| when.after(startup) > at);
    // Newest first: what was taken away goes from the newest order before it.
    let mut left = [0_i64; MOVES];
    let mut cancelled = 0;
    for (slot, Move(_, change)) in left.iter_mut().zip(moves()) {
        *slot = (change - cancelled).max(0);
        cancelled = (cancelled - change).max(0);
    }
    (0..moves().count()).rev().filter_map(move |place| {
        let Move(when, _) = memory.moves.get(memory.moves.len() - 1 - place)?;
        let replicas = u32::try_from(left.get(place).copied()?).ok().filter(|replicas| *replicas > 0)?;
        Some(Order { due: when.after(startup), replicas: Replicas(replicas) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sizes: &[u32]) -> Memory {
        let mut memory = Memory::default();
        for (tick, size) in (0..).zip(sizes) {
            look(&mut memory, Replicas(*size), Timestamp(tick * 5_000));
        }
        memory
    }

    #[test]
    fn a_ramp_is_about_the_net_change_of_half_a_minute() {
        let memory = after(&[5, 8, 7, 7]);
        let room = |second: i64| room(&memory, Some(Replicas(4)), Timestamp(second * 1_000));
        assert_eq!(room(15), (Replicas(6), Replicas(2)), "2 more than at the start");
        assert_eq!(room(30), (Replicas(3), Replicas(5)), "the 3 of the beginning have left the span");
        assert_eq!(room(60), (Replicas(4), Replicas(4)));
    }

    #[test]
    fn a_decision_that_was_not_carried_out_is_no_move() {
        assert_eq!(after(&[5, 5, 5]).moves.len(), 0);
    }

    #[test]
    fn what_is_taken_away_goes_from_the_newest_order() {
        let memory = after(&[5, 8, 10, 9, 9]);
        let orders: Vec<Order> = orders(&memory, Seconds::whole(60), Timestamp(20_000)).collect();
        let order = |second: i64, replicas| Order { due: Timestamp(second * 1_000), replicas: Replicas(replicas) };
        assert_eq!(orders, [order(60, 3), order(65, 1)]);
    }
}
