//! Health over HTTP, for whoever runs the node: `/livez`, `/startupz`, `/readyz`.
//!
//! Alive means that the process answers: it never depends on other nodes or the disk, or a slow cluster would be
//! restarted to death. Started means that the node is a member and its state is recovered. Ready means that it
//! can take requests: it has started, knows a leader, and is not about to stop. The body names what is missing.

use std::io;
use std::net::SocketAddr;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use quorate_raft::transport::Listener;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::edge::listen::slots::Slots;
use crate::edge::listen::{self, Guarded};
use crate::service::Service;

type Answer = (StatusCode, Json<Value>);

/// Serves health until `stop` is cancelled.
pub fn serve(
    service: Service,
    listener: Box<dyn Listener>,
    slots: Slots,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let router = Router::new()
        .route("/livez", get(async || answer(&[])))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .with_state(service);
    let served =
        axum::serve(Incoming(listener, slots), router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::spawn(listen::until_cut(stop, async move { served.await.map_err(|e| e.to_string()) }))
}

async fn startupz(State(service): State<Service>) -> Answer {
    answer(&[("member", service.is_member())])
}

async fn readyz(State(service): State<Service>) -> Answer {
    answer(&[
        ("member", service.is_member()),
        ("leader_known", service.knows_leader()),
        ("serving", !service.is_stopping()),
    ])
}

/// 200 if every check holds, else 503 with the names of those that do not.
fn answer(checks: &[(&str, bool)]) -> Answer {
    let failing: Vec<&str> = checks.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ok": failing.is_empty(), "failing": failing })))
}

/// The node's listener, as axum takes it.
struct Incoming(Box<dyn Listener>, Slots);

impl axum::serve::Listener for Incoming {
    type Io = Guarded;
    type Addr = Option<SocketAddr>;

    /// Which requests are under way on a connection is not known here: it counts as idle, and goes when it is old.
    async fn accept(&mut self) -> (Guarded, Option<SocketAddr>) {
        (listen::accept(&mut self.0, &self.1, 1).await, None)
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.0.local_addr().map(Some)
    }
}
