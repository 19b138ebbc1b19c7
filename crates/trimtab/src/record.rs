//! Recording: the journal on a thread of its own, so that a slow disk never holds up a decision.

use crate::words::chain;
use std::sync::mpsc;
use std::thread::JoinHandle;
use trimtab_journal::{Entry, Journal};

/// Rounds that wait for the disk at most (one of a thousand workloads takes about 7 MB); further ones are dropped and
/// counted, and the journal shows the gap.
const WAITING: usize = 8;

/// The way to the journal's thread.
#[derive(Debug)]
pub struct Recorder {
    sender: Option<mpsc::SyncSender<Vec<Entry>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the journal's thread.
    #[must_use]
    pub fn start(journal: Journal) -> Self {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || keep(journal, &receiver));
        match thread {
            Ok(thread) => Self { sender: Some(sender), thread: Some(thread) },
            Err(error) => {
                tracing::error!(%error, "failed to start the journal's thread; nothing is recorded");
                Self { sender: None, thread: None }
            }
        }
    }

    /// Records a round; `false` where the disk is so far behind that it is dropped.
    #[must_use]
    pub fn record(&self, round: Vec<Entry>) -> bool {
        round.is_empty() || self.sender.as_ref().is_some_and(|sender| sender.try_send(round).is_ok())
    }

    /// Writes what waits and ends.
    pub fn finish(mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

fn keep(mut journal: Journal, rounds: &mpsc::Receiver<Vec<Entry>>) {
    let mut failing = false;
    while let Ok(round) = rounds.recv() {
        match journal.append(&round) {
            Err(error) if !failing => {
                tracing::error!(error = chain(&error), "the journal cannot be written; decisions go on unrecorded");
                failing = true;
            }
            Ok(()) if failing => {
                tracing::info!("the journal can be written again");
                failing = false;
            }
            Ok(()) | Err(_) => {}
        }
    }
}
