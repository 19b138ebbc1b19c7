//! Connections: one task each, which ends with its request when it is told to, and with the server when that is broken off.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// So long nothing is accepted where no more connection can be: somebody has to close one first.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves; then no further connection is accepted, and those that there are end when what is inside has been answered.
/// Dropped before it ends, it breaks them off, as a process does that is killed.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let (drain, drained) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(answer(stream, router.clone(), drained.clone()))),
                Err(error) if is_of_one_connection(error.kind()) => {}
                Err(error) => {
                    tracing::error!(%error, "failed to accept a connection");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop((listener, drain));
    while connections.join_next().await.is_some() {}
}

fn is_of_one_connection(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

async fn answer(stream: TcpStream, router: Router, mut drained: watch::Receiver<()>) {
    // Answers are small: each would wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A client that broke off is its own affair.
        _ = connection.as_mut() => return,
        // Nothing is ever sent: the sender is dropped.
        _ = drained.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
