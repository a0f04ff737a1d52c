//! Opening the stream of a producer session at the leader.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::producer_client::ProducerClient;
use quorate_proto::v1::publish_request::Request;
use quorate_proto::v1::publish_response::Response;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::Client;
use crate::connect::{Address, MESSAGE_BYTES_MAX};
use crate::leader::{Failed, Router};

/// Batches that wait for the transport. Few, so that while it is busy messages gather into larger batches.
const REQUESTS_QUEUED: usize = 2;
/// Length of the random bytes that name a session's holder.
const HOLDER_BYTES: usize = 16;
/// What the server takes if nothing is said.
const TTL_DEFAULT: Duration = Duration::from_secs(3600);

/// An open stream.
pub(super) struct Stream {
    pub(super) leader: Address,
    pub(super) requests: mpsc::Sender<v1::PublishRequest>,
    pub(super) responses: Streaming<v1::PublishResponse>,
    pub(super) opened: v1::ProducerOpened,
}

/// Opens streams of one session.
pub(super) struct Opener {
    pub(super) router: Arc<Router>,
    request: v1::OpenProducer,
}

impl Opener {
    pub(super) fn new(client: &Client, session: String, ttl_ms: u64) -> Self {
        let router = client.router.clone();
        let mut holder = vec![0; HOLDER_BYTES];
        router.random().fill(&mut holder);
        let namespace = client.namespace.to_string();
        let request = v1::OpenProducer { namespace, session, ttl_ms, holder: holder.into(), resume: 0 };
        Self { router, request }
    }

    /// How long the session is remembered without use.
    pub(super) fn ttl(&self) -> Duration {
        match self.request.ttl_ms {
            0 => TTL_DEFAULT,
            ms => Duration::from_millis(ms),
        }
    }

    /// From now on only this session is opened, and only if nobody else did so in between.
    pub(super) fn resume(&mut self, opened: &v1::ProducerOpened) {
        self.request.resume = opened.producer;
    }

    pub(super) async fn open(&self, deadline: Instant) -> Result<Stream, Failed> {
        let led = self.router.call(deadline, |channel| open(channel, self.request.clone())).await?;
        let (requests, responses, opened) = led.value;
        Ok(Stream { leader: led.leader, requests, responses, opened })
    }
}

type Opened = (mpsc::Sender<v1::PublishRequest>, Streaming<v1::PublishResponse>, v1::ProducerOpened);

async fn open(channel: Channel, request: v1::OpenProducer) -> Result<Opened, Status> {
    let mut client = ProducerClient::new(channel)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (requests, outgoing) = mpsc::channel(REQUESTS_QUEUED);
    let first = v1::PublishRequest { request: Some(Request::Open(request)) };
    requests.try_send(first).map_err(|_| Status::internal("a new channel has room"))?;
    let mut responses = client.publish(ReceiverStream::new(outgoing)).await?.into_inner();
    match responses.message().await?.and_then(|message| message.response) {
        Some(Response::Opened(opened)) => Ok((requests, responses, opened)),
        _ => Err(Status::internal("the stream did not begin with `opened`")),
    }
}
