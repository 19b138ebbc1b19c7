//! Leases: when the dead may be succeeded, and when an agent counts itself among them.
//!
//! Each agent renews one Lease, and only while it still decides. Others judge it by what they see themselves: a Lease that
//! has not changed since this observer first saw it so is silent after [`DURATION`], whatever the times written in it say, so that no
//! clock that is set wrong makes anybody steal. The agent itself stops earlier, counted from when it *sent* its last
//! successful renewal. A Lease is a hint and no fence (Jepsen, etcd 3.4.3): what keeps two writers apart is [`crate::guard`].

use crate::unit::{Boot, Span};

/// A Lease that did not change for so long is silent.
pub const DURATION: Span = Span::seconds(60);
/// An agent renews its Lease, and looks at those that it looks after, this often.
pub const RENEW: Span = Span::seconds(20);
/// An agent begins no write later than this after it sent its last successful renewal.
pub const FENCE: Span = Span::seconds(40);
/// A write, and a renewal, that takes longer is given up.
pub const DEADLINE: Span = Span::seconds(5);
/// The longest that a workload may be without a decision after its agent has died: until another one has seen the last renewal,
/// until that has become old, and one of the slowest rounds.
pub const LONGEST_GAP: Span = Span::seconds(60 + 20 + 15);

/// A stretch of time through which an agent's lease never ended. A claim ends with the term in which it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// An agent's own lease, as it judges it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    term: Term,
    /// When the last renewal that succeeded was sent.
    renewed: Option<Boot>,
}

impl Tenure {
    /// A renewal that was sent at `sent` succeeded, as is known at `now`.
    pub fn renew(&mut self, sent: Boot, now: Boot) {
        // Judged by now: a process that was stopped on the way here has been away all the same.
        if self.term_at(now).is_none() {
            self.term = Term(self.term.0.saturating_add(1));
        }
        self.renewed = self.renewed.max(Some(sent));
    }

    /// Another run of the same agent has the Lease: this one is over, until it renews again.
    pub fn end(&mut self) {
        self.renewed = None;
    }

    /// The term, if it lasts at `now`.
    #[must_use]
    pub fn term_at(&self, now: Boot) -> Option<Term> {
        self.until().filter(|until| now < *until).map(|_| self.term)
    }

    /// When it ends, unless it is renewed.
    #[must_use]
    pub fn until(&self) -> Option<Boot> {
        self.renewed.map(|renewed| renewed.after(FENCE))
    }
}

/// What is known of another agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its Lease was not looked at yet.
    Unknown,
    /// Its Lease changes, and it sees what it decides from.
    Working,
    /// Its Lease changes, but it says that it sees nothing to decide from.
    Blind,
    /// Its Lease has not changed for [`DURATION`].
    Silent,
    /// Its Lease was released or is not there.
    Gone,
}

impl Standing {
    /// Whether its workloads may be claimed by others.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Silent | Self::Gone)
    }
}

/// What a Lease says, apart from its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its `resourceVersion`: whether it changed.
    pub version: String,
    /// Whether somebody holds it.
    pub held: bool,
    /// Whether its agent says that it is blind.
    pub blind: bool,
}

/// What was seen of another agent's Lease, by this observer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// What it said last, and since when it has said just that.
    said: Option<(Said, Boot)>,
    looked: Option<Boot>,
}

impl Sight {
    /// A look at the Lease at `now`: what it says, or that it is not there.
    pub fn look(&mut self, said: Option<Said>, now: Boot) {
        self.looked = Some(now);
        let since = match (&self.said, &said) {
            (Some((before, since)), Some(now_said)) if before.version == now_said.version => *since,
            _ => now,
        };
        self.said = said.map(|said| (said, since));
    }

    /// When it was last looked at.
    #[must_use]
    pub fn looked(&self) -> Option<Boot> {
        self.looked
    }

    /// What follows from the last look. Only a look makes anybody silent: time in which nobody could look does not.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(looked) = self.looked else { return Standing::Unknown };
        match &self.said {
            None => Standing::Gone,
            Some((said, _)) if !said.held => Standing::Gone,
            Some((_, since)) if looked.since(*since) >= DURATION => Standing::Silent,
            Some((said, _)) if said.blind => Standing::Blind,
            Some(_) => Standing::Working,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: &str) -> Said {
        Said { version: version.into(), held: true, blind: false }
    }

    #[test]
    fn timings_fit_each_other() {
        assert!(
            FENCE + DEADLINE < DURATION,
            "a write that began at the last moment was given up before anybody succeeds"
        );
        assert!(RENEW + DEADLINE < FENCE, "one failed renewal costs no right to write");
        assert!(DURATION + RENEW < LONGEST_GAP, "and a round is left to decide in");
    }

    #[test]
    fn a_lease_is_silent_by_what_the_observer_saw_itself() {
        let mut sight = Sight::default();
        assert_eq!(sight.standing(), Standing::Unknown);
        for at in [0, 20, 40, 59] {
            sight.look(Some(said("1")), Boot(at * 1_000));
            assert_eq!(sight.standing(), Standing::Working, "{at} s");
        }
        sight.look(Some(said("1")), Boot(60_000));
        assert_eq!(sight.standing(), Standing::Silent);
        sight.look(Some(said("2")), Boot(80_000));
        assert_eq!(sight.standing(), Standing::Working, "it lives after all");
        sight.look(None, Boot(100_000));
        assert_eq!(sight.standing(), Standing::Gone);
        sight.look(Some(said("2")), Boot(120_000));
        assert_eq!(sight.standing(), Standing::Working, "and is judged anew");
    }

    #[test]
    fn an_observer_that_could_not_look_makes_nobody_silent() {
        let mut sight = Sight::default();
        sight.look(Some(said("1")), Boot(0));
        // Away for an hour; the Lease was renewed meanwhile, as the first look tells.
        sight.look(Some(said("9")), Boot(3_600_000));
        assert_eq!(sight.standing(), Standing::Working);
    }

    #[test]
    fn a_holder_stops_before_anybody_may_take_over() {
        // Whenever the last renewal is sent, and whenever an observer looks first and then again.
        for (sent, first, every) in [(0, 0, 1), (0, 19, 20), (7, 8, 20), (20, 20, 5)] {
            let (mut tenure, mut sight) = (Tenure::default(), Sight::default());
            tenure.renew(Boot(sent * 1_000), Boot(sent * 1_000 + 10));
            for second in (first.max(sent)..200).step_by(every) {
                let now = Boot(second * 1_000);
                sight.look(Some(said("1")), now);
                let writes = tenure.term_at(Boot(now.0.saturating_sub(DEADLINE.0))).is_some();
                assert!(!(sight.standing().is_over() && writes), "at {second} s: {sent} {first} {every}");
            }
            assert!(sight.standing().is_over());
        }
    }

    #[test]
    fn a_term_ends_by_itself_and_another_begins_with_the_next_renewal() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.term_at(Boot(0)), None, "nothing before the first renewal");
        tenure.renew(Boot(0), Boot(100));
        assert_eq!(tenure.term_at(Boot(39_999)), Some(Term(1)));
        assert_eq!(tenure.term_at(Boot(40_000)), None);
        tenure.renew(Boot(20_000), Boot(20_100));
        assert_eq!(tenure.term_at(Boot(59_999)), Some(Term(1)));
        // Stopped for two minutes while a renewal was under way.
        tenure.renew(Boot(40_000), Boot(160_000));
        assert_eq!(tenure.term_at(Boot(160_000)), None, "its renewal is too old to count from");
        tenure.renew(Boot(160_000), Boot(160_100));
        assert!(tenure.term_at(Boot(160_200)) > Some(Term(1)), "what was claimed before is not resumed");
        tenure.end();
        assert_eq!(tenure.term_at(Boot(160_300)), None);
    }
}
