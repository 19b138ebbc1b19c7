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
pub struct Phase(Arc<AtomicU8>);

impl Phase {
    /// At its beginning: not ready.
    #[must_use]
    pub fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(STARTING)))
    }

    /// Ready, unless it drains already.
    pub fn started(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// No longer ready: it serves on, and wants no more.
    pub fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == READY
    }
}

/// Resolves when no further connection is to be accepted: `delay` after SIGTERM, since load balancers send requests until they
/// have noticed that the pod is no longer ready.
pub async fn signalled(phase: Phase, delay: Duration) {
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
    phase.drain();
    tokio::time::sleep(delay).await;
}
