//! The log: one `info` line for each changed decision; `warn`, a human may look; `error`, a human must act.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts the log on standard error, filtered by `RUST_LOG`.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=error,kube_client=error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A log that nobody reads any more does not end the process.
    let log = log.log_internal_errors(false);
    // A second subscriber, as in tests, is refused and harmless.
    if json {
        drop(log.json().flatten_event(true).try_init());
    } else {
        drop(log.with_ansi(std::io::stderr().is_terminal()).try_init());
    }
}
