//! Recording: the journal on a thread of its own, so that a slow disk never holds up a decision.

use crate::inbox::{Event, Inbox};
use crate::metrics::Counters;
use crate::words::chain;
use std::sync::mpsc;
use std::thread::JoinHandle;
use trimtab_journal::{Entry, Journal};

/// Rounds that wait for the disk at most (one of a thousand workloads takes about 7 MB); further ones are dropped and
/// counted, and the journal shows the gap.
const WAITING: usize = 8;

/// What a trouble with the journal is called.
const WHAT: &str = "journal";

/// The way to the journal's thread.
#[derive(Debug)]
pub struct Recorder {
    sender: mpsc::SyncSender<Vec<Entry>>,
    thread: JoinHandle<()>,
    counters: Counters,
    /// Whether a round waits for the disk instead of being dropped.
    waits: bool,
}

impl Recorder {
    /// Starts the journal's thread, which counts the rounds that it cannot write, and says so in the inbox.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(journal: Journal, counters: Counters, inbox: Inbox) -> std::io::Result<Self> {
        let (sender, rounds) = mpsc::sync_channel(WAITING);
        let counted = counters.clone();
        let keep = move || keep(journal, &rounds, &counted, &inbox);
        let thread = std::thread::Builder::new().name(WHAT.into()).spawn(keep)?;
        Ok(Self { sender, thread, counters, waits: false })
    }

    /// The same, but for time that can wait for a slow disk: simulated time.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    /// Records a round.
    ///
    /// # Errors
    /// Where it is dropped: why.
    pub fn record(&self, round: Vec<Entry>) -> Result<(), &'static str> {
        if round.is_empty() {
            return Ok(());
        }
        let sent = if self.waits {
            self.sender.send(round).map_err(|error| mpsc::TrySendError::Disconnected(error.0))
        } else {
            self.sender.try_send(round)
        };
        sent.map_err(|error| {
            self.counters.journal_failed();
            match error {
                mpsc::TrySendError::Full(_) => {
                    "the disk is too slow for the journal: rounds are decided but not recorded"
                }
                mpsc::TrySendError::Disconnected(_) => {
                    "the journal's thread has ended: nothing is recorded; restart this agent"
                }
            }
        })
    }

    /// Writes what waits and ends.
    pub fn finish(self) {
        let Self { sender, thread, .. } = self;
        drop(sender);
        // A thread that panicked has said so already.
        drop(thread.join());
    }
}

fn keep(mut journal: Journal, rounds: &mpsc::Receiver<Vec<Entry>>, counters: &Counters, inbox: &Inbox) {
    let mut failing = false;
    while let Ok(round) = rounds.recv() {
        let problem = journal.append(&round).err().map(|error| {
            counters.journal_failed();
            format!("cannot be written, decisions go on unrecorded: {}", chain(&error))
        });
        if problem.is_some() || failing {
            failing = problem.is_some();
            inbox.send_blocking(Event::Trouble { what: WHAT.into(), problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;
    use crate::report::Report;
    use std::sync::Arc;
    use trimtab_core::unit::Timestamp;
    use trimtab_journal::{Bound, Outcome};

    fn round() -> Vec<Entry> {
        vec![Entry::Ended { workload: "shop/deployment/web".into(), at: Timestamp(1), outcome: Outcome::Committed }]
    }

    #[tokio::test]
    async fn a_round_that_cannot_be_written_is_told_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal.db");
        let journal = Journal::open(&file, Bound::mebibytes(8)).unwrap().journal;
        let (inbox, mut events) = Inbox::new();
        let counters = Counters::default();
        let recorder = Recorder::start(journal, counters.clone(), inbox).unwrap();
        std::fs::remove_file(&file).unwrap();
        recorder.record(round()).unwrap();
        let Some(Event::Trouble { what, problem: Some(problem) }) = events.recv().await else { panic!("no trouble") };
        assert_eq!(what, WHAT);
        assert!(problem.contains("was removed"), "{problem}");
        recorder.record(round()).unwrap();
        assert!(matches!(events.recv().await, Some(Event::Trouble { problem: None, .. })), "a new file was begun");
        drop(events);
        recorder.finish();
        let mut text = String::new();
        let (_report, reports) = tokio::sync::watch::channel(Arc::new(Report::of("a")));
        prometheus_client::encoding::text::encode(
            &mut text,
            &metrics::registry(&counters, reports, tokio::sync::watch::channel(Arc::default()).1),
        )
        .unwrap();
        assert!(text.contains("trimtab_journal_errors_total 1"), "{text}");
    }
}
