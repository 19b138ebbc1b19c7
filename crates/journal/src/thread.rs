//! One workload's records, strung together: what a record's input is, and what is decided from it again.
//!
//! A record rests on the one before it twice: its input is a patch to the input before, and its decision follows from the
//! memory that the decision before left. A link that is missing or damaged ends the thread until a record that rests on
//! nothing, with its input whole and its state.

use crate::delta;
use crate::format::{OwnedInput, Sealed};
use crate::read::{Row, Stored};
use crate::record::Digest;
use serde_json::Value;
use trimtab_core::{Decision, State, decide};

/// Where one workload's thread has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    end: Option<End>,
}

#[derive(Clone, Debug)]
struct End {
    run: i64,
    ordinal: u64,
    seal: i64,
    input: Value,
    state: State,
}

/// What a stored row is.
pub(crate) enum Read {
    /// A record, and what follows from it.
    Record(Box<Stored>, Box<Again>),
    /// It rests on one that is not there.
    Loose,
    /// It is damaged, and how.
    Damaged(String),
}

/// What follows from a record.
pub(crate) struct Again {
    /// The decision, taken again.
    pub(crate) decision: Decision,
    /// The memory that the records before lead to, where it is not the one that this record stores.
    pub(crate) drifted: Option<State>,
}

impl Thread {
    /// Reads the thread's next row, and decides it again.
    pub(crate) fn follow(&mut self, row: &Row) -> Read {
        let base = self.end.take().filter(|end| end.run == row.run && row.ordinal.checked_sub(1) == Some(end.ordinal));
        let previous = match (&base, &row.state) {
            (_, Some(_)) => 0,
            (Some(base), None) => base.seal,
            (None, None) => return Read::Loose,
        };
        let (workload, ordinal) = (row.workload.as_str(), row.ordinal);
        let sealed = Sealed { previous, workload, ordinal, input: &row.input, state: row.state.as_deref() };
        if sealed.seal() != row.seal {
            return Read::Damaged("its seal is broken: something of what is stored has changed".into());
        }
        match self.decide(row, base) {
            Ok((stored, again)) => Read::Record(Box::new(stored), Box::new(again)),
            Err(why) => Read::Damaged(why),
        }
    }

    fn decide(&mut self, row: &Row, base: Option<End>) -> Result<(Stored, Again), String> {
        let unlike = |what| move |error: serde_json::Error| format!("its {what} is not understood: {error}");
        let before: Option<State> =
            row.state.as_deref().map(serde_json::from_str).transpose().map_err(unlike("state"))?;
        let (mut input, reached) = base.map_or((Value::Null, None), |base| (base.input, Some(base.state)));
        let change: Value = serde_json::from_str(&row.input).map_err(unlike("input"))?;
        match &before {
            Some(_) => input = change,
            None => delta::apply(&mut input, &change),
        }
        let OwnedInput { policy, snapshot } = serde_json::from_value(input.clone()).map_err(unlike("input"))?;
        if snapshot.at != row.at {
            return Err(format!("its moment is {} in one place and {} in another", row.at.0, snapshot.at.0));
        }
        let drifted = reached.clone().filter(|reached| before.as_ref().is_some_and(|before| before != reached));
        let mut state = before.clone().or(reached).ok_or("it rests on nothing")?;
        let decision = decide(&policy, &mut state, &snapshot);
        let recorded = recorded_decision(row)?;
        let stored = Stored {
            workload: row.workload.clone(),
            version: row.version.clone(),
            run: row.run,
            ordinal: row.ordinal,
            at: row.at,
            verb: row.verb.clone(),
            reason: row.reason.clone(),
            from: row.before,
            to: row.after,
            policy,
            snapshot,
            before,
            digest: row.digest,
            decision: recorded,
        };
        self.end = Some(End { run: row.run, ordinal: row.ordinal, seal: row.seal, input, state });
        Ok((stored, Again { decision, drifted }))
    }
}

fn recorded_decision(row: &Row) -> Result<Option<Decision>, String> {
    let Some(text) = &row.decision else { return Ok(None) };
    if Digest::of(text) != row.digest {
        return Err("its decision does not have its digest".into());
    }
    // Whole, as its digest shows: what is not understood was written by a core that decided in other terms.
    Ok(serde_json::from_str(text).ok())
}
