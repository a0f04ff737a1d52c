//! The `Producer` service.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use quorate_machine::command::OpenProducer;
use quorate_machine::read::ProducerInfo;
use quorate_proto::v1;
use quorate_proto::v1::producer_server::Producer;
use quorate_proto::v1::publish_request::Request as Req;
use quorate_proto::v1::publish_response::Response as Res;
use tonic::{Request, Response, Status, Streaming};

use super::status::Failure;
use super::{Api, convert, requests};
use crate::service::produce::{Answer, Batch};

#[tonic::async_trait]
impl Producer for Api {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<v1::PublishResponse, Status>> + Send>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let mut stream = request.into_inner();
        let Some(Req::Open(open)) = stream.message().await?.and_then(|r| r.request) else {
            return Err(Failure::invalid("the first request of a publish stream must be `open`").into());
        };
        let (context, open) = (self.admit(open.namespace.clone())?, open_in(open));
        let batches = requests(stream, |request: v1::PublishRequest| match request.request {
            Some(Req::Batch(batch)) => Ok(batch_in(batch)),
            Some(Req::Open(_)) | None => Err(Failure::invalid("after `open` only `batch` may follow")),
        });
        let produced = self.0.produce(&context, open, batches).await;
        let (opened, answers) = produced.map_err(Failure::from)?;
        let opened = Ok(Res::Opened(convert::opened_out(opened)));
        let answers = answers.map(|answer| answer.map(answer_out).map_err(|e| Failure::from(e).into()));
        let responses = futures::stream::once(std::future::ready(opened)).chain(answers);
        let wrapped = responses
            .map(|response| response.map(|response| v1::PublishResponse { response: Some(response) }));
        Ok(Response::new(Box::pin(wrapped)))
    }

    async fn list(
        &self,
        request: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        let v1::ListProducersRequest { namespace, after, limit } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.producers(&context, &after, limit).await.map_err(Failure::from)?;
        let ((sessions, more), applied_index) = found;
        let sessions = sessions.into_iter().map(session_out).collect();
        Ok(Response::new(v1::ListProducersResponse { sessions, more, applied_index }))
    }
}

/// A session that is to be opened; its namespace is the context's.
pub(super) fn open_in(open: v1::OpenProducer) -> OpenProducer {
    let v1::OpenProducer { session, ttl_ms, holder, resume, .. } = open;
    OpenProducer { session, ttl_ms, holder, resume, ..OpenProducer::default() }
}

fn batch_in(batch: v1::PublishBatch) -> Batch {
    let v1::PublishBatch { queue, first_seq, acked_seq, messages, close } = batch;
    Batch { queue, first_seq, acked_seq, messages, close }
}

fn answer_out(answer: Answer) -> Res {
    let Answer { first_seq, count, outcome } = answer;
    match outcome {
        Ok(positions) => {
            Res::Receipt(v1::Receipt { first_seq, positions: convert::positions_out(positions) })
        }
        Err(e) => {
            let refusal = Some(Failure::from(e).into_refusal());
            Res::Refused(v1::PublishRefused { first_seq, count, refusal })
        }
    }
}

fn session_out(session: ProducerInfo) -> v1::ProducerSession {
    let ProducerInfo { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms } = session;
    v1::ProducerSession { name, epoch, last_seq, acked_seq, used_at_ms, ttl_ms }
}
