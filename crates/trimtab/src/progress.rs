//! How far a command has come: one line on standard error, where that is a terminal, and gone when the command ends.
//!
//! Whoever waits for less than two seconds sees nothing, and a pipe never gets a byte of it. No colours, so that there are none to switch off.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Whoever waits for less asks for no bar.
const UNNOTICED: Duration = Duration::from_secs(2);
const BAR: &str = "{bar:40} {percent} % of {msg}, {eta} left";
/// What is left is said anew so often, also where nothing moves.
const AGAIN: Duration = Duration::from_secs(1);

/// A line that says how far it has come, until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What brings the line up, and that it no longer needs to.
    showing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// The way through `all` steps of `what`, such as "the journal".
    pub(crate) fn of(all: u64, what: impl Into<String>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::hidden());
        Self::shown(bar, BAR, what.into(), ProgressDrawTarget::stderr())
    }

    /// Waiting for somebody who does not say how long it takes, such as "waiting for the agents".
    pub(crate) fn waiting(what: impl Into<String>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self::shown(bar, "{msg}: {elapsed}", what.into(), ProgressDrawTarget::stderr())
    }

    /// None at all, for what nobody waits for at a terminal.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), showing: None }
    }

    fn shown(bar: ProgressBar, template: &str, what: String, target: ProgressDrawTarget) -> Self {
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        if target.is_hidden() {
            return Self { bar, showing: None };
        }
        let (stop, stopped) = mpsc::channel();
        let shown = bar.clone();
        let show = move || {
            if stopped.recv_timeout(UNNOTICED) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(target);
                shown.tick();
                shown.enable_steady_tick(AGAIN);
            }
        };
        Self { bar, showing: Some((stop, std::thread::spawn(show))) }
    }

    /// One step further.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// So many steps are done.
    pub(crate) fn to(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// There are so many steps, as is known only now.
    pub(crate) fn all(&self, all: u64) {
        self.bar.set_length(all);
    }

    /// How many steps are done.
    #[cfg(test)]
    pub(crate) fn done(&self) -> u64 {
        self.bar.position()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, show)) = self.showing.take() {
            drop(stop);
            // It neither blocks nor fails.
            drop(show.join());
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    /// A terminal that keeps its one line, and all that was ever written.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<(String, String)>>);

    impl Terminal {
        fn line(&self) -> String {
            self.0.lock().unwrap().0.clone()
        }

        fn ever(&self) -> String {
            self.0.lock().unwrap().1.clone()
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            let mut kept = self.0.lock().unwrap();
            kept.0.push_str(text);
            kept.1.push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().0.clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on(terminal: &Terminal) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(4), ProgressDrawTarget::hidden());
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        Progress::shown(bar, BAR, "the journal".to_owned(), target)
    }

    #[test]
    fn it_comes_after_two_seconds_in_no_colour_and_goes_with_the_command() {
        let terminal = Terminal::default();
        let begun = Instant::now();
        let progress = on(&terminal);
        progress.to(2);
        while terminal.line().is_empty() {
            assert!(begun.elapsed() < Duration::from_mins(1), "it never comes");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(begun.elapsed() >= UNNOTICED, "{:?}", begun.elapsed());
        let drawn = terminal.ever();
        assert!(drawn.contains("50 % of the journal") && !drawn.contains('\x1b'), "{drawn:?}");
        drop(progress);
        assert_eq!(terminal.line().trim(), "");
        // What ends before is never seen.
        let terminal = Terminal::default();
        drop(on(&terminal));
        assert_eq!(terminal.ever(), "");
    }
}
