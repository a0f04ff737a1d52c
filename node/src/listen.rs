//! Serves on a listener until it is told to stop.

use std::time::Duration;

use quorate_raft::transport::{BoxedIo, Listener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;

/// After a failed accept, such as one without a free descriptor, the next is tried this much later.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Open calls have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(2);

/// Serves gRPC until `stop` is cancelled and the open calls have ended, or their grace has.
pub fn serve(router: Router, listener: Box<dyn Listener>, stop: CancellationToken) -> JoinHandle<()> {
    let incoming = futures::stream::unfold(listener, |mut listener| async move {
        Some((Ok::<BoxedIo, std::io::Error>(accept(&mut listener).await), listener))
    });
    let graceful = router.serve_with_incoming_shutdown(Box::pin(incoming), stop.clone().cancelled_owned());
    tokio::spawn(until_cut(stop, async move { graceful.await.map_err(|e| e.to_string()) }))
}

/// The next connection, however many fail before it.
pub async fn accept(listener: &mut Box<dyn Listener>) -> BoxedIo {
    loop {
        match listener.accept().await {
            Ok(io) => return io,
            Err(e) => {
                tracing::warn!("a connection was not accepted: {e}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Runs a server that ends by itself after the stop, and cuts it off if it does not.
pub async fn until_cut(stop: CancellationToken, server: impl Future<Output = Result<(), String>>) {
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        served = server => if let Err(e) = served {
            tracing::error!("serving has failed: {e}");
        },
        () = cut => {}
    }
}
