//! Attaching a consumer session at the leader.

use std::sync::Arc;

use quorate_proto::v1;
use quorate_proto::v1::consumer_client::ConsumerClient;
use quorate_proto::v1::receive_request::Request;
use quorate_proto::v1::receive_response::Response;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::Client;
use crate::connect::{Address, MESSAGE_BYTES_MAX};
use crate::leader::{Failed, Router};

/// Requests that wait for the transport. Few, so that while it is busy settles gather into longer ranges.
const REQUESTS_QUEUED: usize = 2;

/// An attached stream.
pub(super) struct Stream {
    pub(super) leader: Address,
    pub(super) requests: mpsc::Sender<v1::ReceiveRequest>,
    pub(super) responses: Streaming<v1::ReceiveResponse>,
    pub(super) attached: v1::Attached,
    /// When it was asked for.
    pub(super) asked: Instant,
}

/// Attaches streams of one session.
pub(super) struct Opener {
    pub(super) router: Arc<Router>,
    pub(super) attach: v1::Attach,
}

impl Opener {
    pub(super) fn new(client: &Client, attach: v1::Attach) -> Self {
        Self { router: client.router.clone(), attach }
    }

    pub(super) async fn attach(&self, deadline: Instant) -> Result<Stream, Failed> {
        let attempt = |channel| attach(channel, self.attach.clone());
        let led = self.router.call(deadline, attempt).await?;
        let (requests, responses, attached, asked) = led.value;
        Ok(Stream { leader: led.leader, requests, responses, attached, asked })
    }
}

type Attached = (mpsc::Sender<v1::ReceiveRequest>, Streaming<v1::ReceiveResponse>, v1::Attached, Instant);

async fn attach(channel: Channel, request: v1::Attach) -> Result<Attached, Status> {
    let mut client = ConsumerClient::new(channel)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let asked = Instant::now();
    let (requests, outgoing) = mpsc::channel(REQUESTS_QUEUED);
    let first = v1::ReceiveRequest { request: Some(Request::Attach(request)) };
    requests.try_send(first).map_err(|_| Status::internal("a new channel has room"))?;
    let mut responses = client.receive(ReceiverStream::new(outgoing)).await?.into_inner();
    match responses.message().await?.and_then(|message| message.response) {
        Some(Response::Attached(attached)) => Ok((requests, responses, attached, asked)),
        _ => Err(Status::internal("the stream did not begin with `attached`")),
    }
}
