//! From starting over ready to draining: what the readiness probe shows, and an end that loses no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Where in its life the process is.
#[derive(Clone, Debug)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Phase {
    pub(crate) fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(STARTING)))
    }

    /// Ready, unless it drains already.
    pub(crate) fn started(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == READY
    }
}

/// Resolves when no further connection is to be accepted: `delay` after SIGTERM, since load balancers send requests until they
/// have noticed that the pod is no longer ready.
pub(crate) async fn signalled(phase: Phase, delay: Duration) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("failed to listen for signals; requests will be lost at the end");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    phase.0.store(DRAINING, Ordering::Relaxed);
    tokio::time::sleep(delay).await;
}
