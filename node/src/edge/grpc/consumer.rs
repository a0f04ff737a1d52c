//! The `Consumer` service.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use quorate_machine::command::Attach;
use quorate_proto::v1;
use quorate_proto::v1::consumer_server::Consumer;
use quorate_proto::v1::receive_request::Request as Req;
use quorate_proto::v1::receive_response::Response as Res;
use tonic::{Request, Response, Status, Streaming};

use super::status::Failure;
use super::{Api, convert, requests, settings};
use crate::service::consume::{self, Delivery, Event};
use crate::service::settle;

#[tonic::async_trait]
impl Consumer for Api {
    type ReceiveStream = Pin<Box<dyn Stream<Item = Result<v1::ReceiveResponse, Status>> + Send>>;

    async fn receive(
        &self,
        request: Request<Streaming<v1::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let mut stream = request.into_inner();
        let Some(Req::Attach(attach)) = stream.message().await?.and_then(|r| r.request) else {
            return Err(Failure::invalid("the first request of a receive stream must be `attach`").into());
        };
        let (context, attach) = (self.admit(attach.namespace.clone())?, attach_in(attach));
        let events = self.0.consume(&context, attach, requests(stream, request_in)).await;
        let responses = events.map_err(Failure::from)?.map(|event| match event {
            Ok(event) => Ok(v1::ReceiveResponse { response: Some(event_out(event)) }),
            Err(ended) => Err(Failure::from(ended).into()),
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// A session that is to be attached; its namespace is the context's.
fn attach_in(attach: v1::Attach) -> Attach {
    let v1::Attach { queue, subscription, session, credit, session_timeout_ms, name, .. } = attach;
    Attach { queue, subscription, session, credit, session_timeout_ms, name, ..Attach::default() }
}

fn request_in(request: v1::ReceiveRequest) -> Result<consume::Request, Failure> {
    match request.request {
        Some(Req::Settle(v1::Settle { id, ranges })) => {
            settle::check_count(ranges.len())?;
            let ranges = ranges.into_iter().map(convert::range_in).collect();
            Ok(consume::Request::Settle { id, ranges })
        }
        Some(Req::Credit(v1::Credit { credit })) => Ok(consume::Request::Credit(credit)),
        Some(Req::Detach(v1::Detach {})) => Ok(consume::Request::Detach),
        Some(Req::Attach(_)) | None => {
            Err(Failure::invalid("after `attach` only settle, credit and detach may follow"))
        }
    }
}

fn event_out(event: Event) -> Res {
    match event {
        Event::Attached { resumed, settings, now_ms } => {
            let (lease_ms, auto_ack) = (settings.lease_ms, settings.auto_ack);
            let order = settings::order_out(&settings).into();
            Res::Attached(v1::Attached { resumed, lease_ms, order, auto_ack, now_ms })
        }
        Event::Deliveries { deliveries, now_ms } => {
            let deliveries = deliveries.into_iter().map(delivery_out).collect();
            Res::Deliveries(v1::Deliveries { deliveries, now_ms })
        }
        Event::Settled { id, settled, now_ms } => Res::Settled(convert::settled_out(id, settled, now_ms)),
        Event::Credit(credit) => Res::Credit(v1::CreditSet { credit }),
        Event::Revoked(lease) => Res::Revoked(convert::revoked_out(&lease)),
        Event::Detached => Res::Detached(v1::Detached {}),
    }
}

fn delivery_out(delivery: Delivery) -> v1::Delivery {
    let Delivery { position, token, attempt, published_at_ms, lease_left_ms, message } = delivery;
    v1::Delivery { position, token, attempt, published_at_ms, lease_left_ms, message }
}
