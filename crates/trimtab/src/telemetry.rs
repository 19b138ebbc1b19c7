//! The log: one `info` line for each changed decision; `warn`, a human may look; `error`, a human must act.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts the log on standard error, filtered by `RUST_LOG`.
pub fn start(json: bool) {
    // The client library repeats as an error what we report once with its cure; who asks for its words gets them.
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty()).unwrap_or_else(|| "info".into());
    let filter = EnvFilter::new(format!("kube_client=off,kube_runtime=off,{asked}"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A log that nobody reads any more does not end the process.
    let log = log.log_internal_errors(false);
    // A second subscriber, as in tests, is refused and harmless.
    if json {
        drop(log.json().flatten_event(true).try_init());
    } else {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        drop(log.with_ansi(colours && std::io::stderr().is_terminal()).try_init());
    }
}
