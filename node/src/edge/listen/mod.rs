//! Serves on a listener until it is told to stop, within bounds: [`slots`] on connections, [`request`] on what a
//! request may hold before it is complete.

pub mod descriptors;
mod guard;
pub mod request;
pub mod slots;

use std::time::Duration;

use quorate_raft::transport::{BoxedIo, Listener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tower::Layer;

pub use guard::Guarded;
use slots::Slots;

/// After a failed accept, such as one without a free descriptor, the next is tried this much later.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Open calls have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(2);
/// How often connections are looked for that have been idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// What opens an HTTP/2 connection, in bytes.
const HTTP2_PREFACE_BYTES: usize = 24;

/// Serves gRPC until `stop` is cancelled and the open calls have ended, or their grace has.
pub fn serve<L>(
    router: Router<L>,
    listener: Box<dyn Listener>,
    slots: Slots,
    stop: CancellationToken,
) -> JoinHandle<()>
where
    L: Layer<tonic::service::Routes> + Clone + Send + 'static,
    L::Service: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    let incoming = futures::stream::unfold((listener, slots), |(mut listener, slots)| async move {
        let io = accept(&mut listener, &slots, HTTP2_PREFACE_BYTES).await;
        Some((Ok::<Guarded, std::io::Error>(io), (listener, slots)))
    });
    let graceful = router.serve_with_incoming_shutdown(Box::pin(incoming), stop.clone().cancelled_owned());
    tokio::spawn(until_cut(stop, async move { graceful.await.map_err(|e| e.to_string()) }))
}

/// The next connection that has a slot, however many fail or are one too many before it. It has to send `greeting_bytes`
/// soon, or it is closed.
pub async fn accept(listener: &mut Box<dyn Listener>, slots: &Slots, greeting_bytes: usize) -> Guarded {
    loop {
        if let Some(io) = next(listener, slots).await
            && let Some(slot) = slots.take()
        {
            return Guarded::new(io, slot, greeting_bytes);
        }
    }
}

/// A connection, or nothing after a while or a failure.
async fn next(listener: &mut Box<dyn Listener>, slots: &Slots) -> Option<BoxedIo> {
    // A cancelled accept loses no connection: it takes one only when it returns.
    match tokio::time::timeout(SWEEP_INTERVAL, listener.accept()).await {
        Ok(Ok(io)) => return Some(io),
        Ok(Err(e)) => {
            tracing::warn!("a connection was not accepted: {e}");
            tokio::time::sleep(ACCEPT_RETRY).await;
        }
        Err(_) => {}
    }
    slots.sweep();
    None
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
