//! The public API over gRPC: parses requests, asks the [service](crate::service), and prints its answers.

mod cluster;
mod consumer;
mod convert;
mod producer;
mod queues;
mod settings;
mod state;
pub mod status;
mod subscriptions;
mod transactions;

use std::time::Duration;

use futures::Stream;
use quorate_machine::limits::REQUEST_BYTES_MAX;
use quorate_proto::v1::cluster_server::ClusterServer;
use quorate_proto::v1::consumer_server::ConsumerServer;
use quorate_proto::v1::producer_server::ProducerServer;
use quorate_proto::v1::queues_server::QueuesServer;
use quorate_proto::v1::state_server::StateServer;
use quorate_proto::v1::subscriptions_server::SubscriptionsServer;
use quorate_proto::v1::transactions_server::TransactionsServer;
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};
use tower::util::MapResponseLayer;

use super::listen::request::HalfRead;
use crate::service::{Context, Principal, Service};
use status::Failure;

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

/// All services, each a trait that this implements.
#[derive(Clone)]
pub struct Api(Service);

/// The requests of a stream as the service takes them. Ends when the client is gone; what cannot be read is told.
fn requests<R, T>(
    stream: Streaming<R>,
    read: impl Fn(R) -> Result<T, Failure>,
) -> impl Stream<Item = Result<T, Failure>> {
    stream.map_while(move |next| match next {
        Ok(request) => Some(read(request)),
        Err(status) => Failure::unreadable(&status).map(Err),
    })
}

impl Api {
    /// The API of a node.
    pub fn new(service: Service) -> Self {
        Self(service)
    }

    fn admit(&self, namespace: String) -> Result<Context, Failure> {
        Ok(self.0.admit(Principal::Anyone, namespace)?)
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
            .layer(MapResponseLayer::new(status::with_reason as fn(Answer) -> Answer))
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
