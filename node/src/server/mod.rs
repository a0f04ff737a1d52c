//! The public API: admits requests, hands them to the shard, and turns answers back into the wire's words.

pub mod admission;
mod cluster;
mod consumer;
pub mod convert;
pub mod error;
mod producer;
mod queues;
mod read;
mod refusal;
mod room;
mod sequence;
mod settings;
mod state;
mod subscriptions;
mod transactions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_proto::v1::cluster_server::ClusterServer;
use quorate_proto::v1::consumer_server::ConsumerServer;
use quorate_proto::v1::producer_server::ProducerServer;
use quorate_proto::v1::queues_server::QueuesServer;
use quorate_proto::v1::state_server::StateServer;
use quorate_proto::v1::subscriptions_server::SubscriptionsServer;
use quorate_proto::v1::transactions_server::TransactionsServer;
use quorate_raft::peers::Me;
use quorate_raft::transport::Transport;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};
use tower::util::MapResponseLayer;

use quorate_machine::limits::REQUEST_BYTES_MAX;

use crate::listen::request::HalfRead;
use crate::shard::Shard;
use admission::Admission;
use error::Failure;

/// Largest request of a service that is sent no messages, in bytes.
const SETTINGS_BYTES_MAX: usize = 1024 * 1024;
/// What a client may send ahead, in bytes: on a call, and on a connection. As much lies here unread at worst.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Headers of a request, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Every frame is a call to the system, at the sender and at the receiver.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

type Answer = http::Response<Body>;
/// What stands around every service: bounds on requests that are not complete, and a reason for those that cannot be read.
type Layers = Stack<MapResponseLayer<fn(Answer) -> Answer>, Stack<HalfRead, Identity>>;

/// What every service works with. Before the node is a member there is no shard, and every request is told so.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    shard: OnceLock<(Me, Shard)>,
    transport: Arc<dyn Transport>,
    admission: Admission,
    stopping: CancellationToken,
    /// Owns the tasks of open streams.
    streams: TaskTracker,
}

impl Api {
    /// An API without a shard yet. `stopping` tells open streams to go elsewhere.
    pub fn new(transport: Arc<dyn Transport>, admission: Admission, stopping: CancellationToken) -> Self {
        let streams = TaskTracker::new();
        Self(Arc::new(Shared { shard: OnceLock::new(), transport, admission, stopping, streams }))
    }

    /// What keeps the server within its bounds.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Whether the node is a member with a recovered state.
    pub fn is_member(&self) -> bool {
        self.0.shard.get().is_some()
    }

    /// Whether somebody leads, as far as this node knows.
    pub fn knows_leader(&self) -> bool {
        self.0.shard.get().is_some_and(|(_, shard)| shard.leadership.borrow().leader.is_some())
    }

    /// Whether the node is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Waits for the tasks of all streams; they end once the API is stopping.
    pub async fn join(&self) {
        self.0.streams.close();
        self.0.streams.wait().await;
    }

    /// From now on the shard is served; a second call changes nothing.
    pub fn serve_shard(&self, me: Me, shard: Shard) {
        let _ = self.0.shard.set((me, shard));
    }

    /// The shard that holds a namespace. There is one shard so far; the catalogue will tell.
    fn shard_of(&self, _namespace: &str) -> Result<&Shard, Failure> {
        if self.0.stopping.is_cancelled() {
            return Err(Failure::shutting_down());
        }
        self.0.shard.get().map(|(_, shard)| shard).ok_or_else(Failure::forming)
    }

    fn me(&self) -> Result<&Me, Failure> {
        self.0.shard.get().map(|(me, _)| me).ok_or_else(Failure::forming)
    }

    /// All services on one router, with health and reflection.
    pub async fn router(
        &self,
        half_read: HalfRead,
    ) -> Result<Router<Layers>, tonic_reflection::server::Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(quorate_proto::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let router = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .layer(half_read)
            .layer(MapResponseLayer::new(error::with_reason as fn(Answer) -> Answer))
            .add_service(health_service)
            .add_service(reflection)
            .add_service(ProducerServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(
                ConsumerServer::new(self.clone())
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(
                QueuesServer::new(self.clone())
                    .max_decoding_message_size(SETTINGS_BYTES_MAX)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(SubscriptionsServer::new(self.clone()).max_decoding_message_size(SETTINGS_BYTES_MAX))
            .add_service(TransactionsServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(
                StateServer::new(self.clone())
                    .max_decoding_message_size(SETTINGS_BYTES_MAX)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(ClusterServer::new(self.clone()).max_decoding_message_size(SETTINGS_BYTES_MAX));
        Ok(router)
    }
}
