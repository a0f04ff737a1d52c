//! The `Queues` service.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use quorate_machine::command::{CreateQueue, Reschedule, UpdateQueue};
use quorate_machine::read::{self, Page, Peeked, QueueInfo, Stat, State, Stored};
use quorate_proto::v1;
use quorate_proto::v1::queues_server::Queues;
use tonic::{Request, Response, Status};

use super::status::Failure;
use super::{Api, convert, settings};
use crate::service::queues::Peek;
use crate::service::read::Wanted;

#[tonic::async_trait]
impl Queues for Api {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let v1::ReadRequest { namespace, queue, start, count, follow } = request.into_inner();
        let context = self.admit(namespace)?;
        let wanted = Wanted { queue, start: settings::start_in(start), count, follow };
        let pages = self.0.read(&context, wanted).await.map_err(Failure::from)?;
        let parts = pages.map(|page| page.map(part_out).map_err(|e| Failure::from(e).into()));
        Ok(Response::new(Box::pin(parts)))
    }

    async fn create(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::CreateQueueResponse>, Status> {
        let request = request.into_inner();
        let context = self.admit(request.namespace)?;
        let (settings, filter) = settings::settings_in(request.default_subscription)?;
        let (queue, routes) = settings::queue_in(request.settings)?;
        let name = request.name;
        let command = CreateQueue { name, settings, queue, filter, routes, ..CreateQueue::default() };
        let (queue, created) = self.0.create_queue(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::CreateQueueResponse { queue: Some(queue_out(queue)), created }))
    }

    async fn list(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let v1::ListQueuesRequest { namespace, after, limit } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.queues(&context, &after, limit).await.map_err(Failure::from)?;
        let ((queues, more), applied_index) = found;
        let queues = queues.into_iter().map(queue_out).collect();
        Ok(Response::new(v1::ListQueuesResponse { queues, more, applied_index }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowQueueRequest>,
    ) -> Result<Response<v1::ShowQueueResponse>, Status> {
        let v1::ShowQueueRequest { namespace, name } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.queue(&context, &name).await.map_err(Failure::from)?;
        let ((queue, stat), applied_index) = found;
        Ok(Response::new(v1::ShowQueueResponse {
            queue: Some(queue_out(queue)),
            stat: stat.map(|stat| stat_out(&stat, applied_index)),
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let v1::DeleteQueueRequest { namespace, name } = request.into_inner();
        let context = self.admit(namespace)?;
        self.0.delete_queue(&context, name).await.map_err(Failure::from)?;
        Ok(Response::new(v1::DeleteQueueResponse {}))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        let v1::UpdateQueueRequest { namespace, name, settings, revision } = request.into_inner();
        let context = self.admit(namespace)?;
        let (queue, routes) = settings::queue_in(settings)?;
        let command = UpdateQueue { name, queue, revision, routes, ..UpdateQueue::default() };
        let revision = self.0.update_queue(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::UpdateQueueResponse { revision }))
    }

    async fn purge(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let v1::PurgeQueueRequest { namespace, name } = request.into_inner();
        let context = self.admit(namespace)?;
        self.0.purge_queue(&context, name).await.map_err(Failure::from)?;
        Ok(Response::new(v1::PurgeQueueResponse {}))
    }

    async fn reschedule(
        &self,
        request: Request<v1::RescheduleRequest>,
    ) -> Result<Response<v1::RescheduleResponse>, Status> {
        let v1::RescheduleRequest { namespace, queue, position, deliver_at_ms, id } = request.into_inner();
        let context = self.admit(namespace)?;
        let command = Reschedule { queue, position, deliver_at_ms, id, ..Reschedule::default() };
        self.0.reschedule(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::RescheduleResponse {}))
    }

    async fn peek(&self, request: Request<v1::PeekRequest>) -> Result<Response<v1::PeekResponse>, Status> {
        let v1::PeekRequest { namespace, queue, subscription, from_position, count, state } =
            request.into_inner();
        let context = self.admit(namespace)?;
        let peek = Peek { queue, subscription, from_position, count, state: state_in(state)? };
        let found = self.0.peek(&context, peek).await.map_err(Failure::from)?;
        let ((messages, next_position), applied_index) = found;
        let messages = messages.into_iter().map(peeked_out).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::PeekResponse { messages, next_position, applied_index }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let v1::StatRequest { namespace, queue, subscription } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.stat(&context, &queue, subscription).await.map_err(Failure::from)?;
        let (stat, applied_index) = found;
        Ok(Response::new(stat_out(&stat, applied_index)))
    }
}

fn part_out(page: Page) -> v1::ReadResponse {
    let message = |Stored { position, published_at_ms, message }| v1::StoredMessage {
        position,
        published_at_ms,
        message,
    };
    let messages = page.messages.into_iter().map(message).collect();
    let missing = page.missing.into_iter().map(|(from, to)| v1::Missing { from, to }).collect();
    v1::ReadResponse { messages, from: page.from, next: page.next, missing }
}

fn queue_out(queue: QueueInfo) -> v1::Queue {
    v1::Queue {
        name: queue.name,
        default_subscription: queue.settings.map(|(s, filter)| settings::settings_out(&s, filter)),
        created_at_ms: queue.created_at_ms,
        settings: Some(settings::queue_out(&queue.queue, queue.routes)),
        revision: queue.revision,
    }
}

fn stat_out(stat: &Stat, applied_index: u64) -> v1::StatResponse {
    v1::StatResponse {
        length: stat.length,
        ready: stat.ready,
        leased: stat.leased,
        delayed: stat.delayed,
        retrying: stat.retrying,
        parked: stat.parked,
        bytes: stat.bytes,
        first_position: stat.first_position,
        last_position: stat.last_position,
        oldest_age_ms: stat.oldest_age_ms,
        consumers: stat.consumers,
        applied_index,
        expired: stat.expired,
        discarded: stat.discarded,
        unseen: stat.unseen,
        dropped: stat.dropped,
    }
}

/// The state that a peek asks for; none means every state but done.
fn state_in(state: i32) -> Result<Option<State>, Failure> {
    Ok(match v1::MessageState::try_from(state) {
        Ok(v1::MessageState::Unspecified) => None,
        Ok(v1::MessageState::Ready) => Some(State::Ready),
        Ok(v1::MessageState::Leased) => Some(State::Leased),
        Ok(v1::MessageState::Delayed) => Some(State::Delayed),
        Ok(v1::MessageState::Retrying) => Some(State::Retrying),
        Ok(v1::MessageState::Parked) => Some(State::Parked),
        Ok(v1::MessageState::Done) => Some(State::Done),
        Err(_) => {
            return Err(Failure::not_known("state", "ready, leased, delayed, retrying, parked, done"));
        }
    })
}

fn peeked_out(peeked: Peeked) -> Result<v1::PeekedMessage, Failure> {
    let state = match peeked.state {
        State::Ready => v1::MessageState::Ready,
        State::Leased => v1::MessageState::Leased,
        State::Delayed => v1::MessageState::Delayed,
        State::Retrying => v1::MessageState::Retrying,
        State::Parked => v1::MessageState::Parked,
        State::Done => v1::MessageState::Done,
    };
    Ok(v1::PeekedMessage {
        position: peeked.position,
        state: state.into(),
        attempt: peeked.attempt,
        published_at_ms: peeked.published_at_ms,
        token: peeked.token,
        due_at_ms: peeked.due_at_ms,
        message: Some(convert::message_out(peeked.message)?),
        failures: peeked.failures.into_iter().map(failure_out).collect(),
    })
}

fn failure_out(failure: read::Failure) -> v1::MessageFailure {
    let read::Failure { time_ms, attempt, reason } = failure;
    v1::MessageFailure { time_ms, attempt, reason }
}
