//! Queues, and linearizable looks into them.

use quorate_machine::command::{CreateQueue, DeleteQueue, Purge, Reschedule, UpdateQueue, Verb};
use quorate_machine::read::{self, Peeked, QueueInfo, ReadError, Stat, State};
use quorate_machine::reply::{Refusal, Reply};
use quorate_machine::store::Read;
use quorate_proto::v1;
use quorate_proto::v1::queues_server::Queues;
use tonic::{Request, Response, Status};

use super::error::Failure;
use super::read::Parts;
use super::{Api, convert, settings};
use crate::shard::Shard;

const LIST_MAX: u32 = 1000;
const PEEK_MAX: u32 = 1000;
const PEEK_DEFAULT: u32 = 20;

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Store(e) => Failure::internal(e.to_string()),
        }
    }
}

#[tonic::async_trait]
impl Queues for Api {
    type ReadStream = Parts;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Parts>, Status> {
        self.read_messages(request.into_inner()).await
    }

    async fn create(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::CreateQueueResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let (given, filter) = settings::settings_in(request.default_subscription)?;
        let (queue, routes) = settings::queue_in(request.settings)?;
        self.check_room_for_queue(&namespace, &request.name)?;
        let verb = CreateQueue {
            namespace: namespace.clone(),
            name: request.name.clone(),
            settings: given,
            queue,
            filter: filter.clone(),
            routes: routes.clone(),
        };
        let reply = self.shard_of(&namespace)?.propose(Verb::CreateQueue(verb)).await?;
        let Reply::QueueCreated { settings, created, created_at_ms, queue } = reply.map_err(Failure::from)?
        else {
            return Err(Failure::internal("an unexpected answer to create").into());
        };
        let (settings, name, revision) = (Some((settings, filter)), request.name, 1);
        let queue = queue_out(QueueInfo { name, settings, created_at_ms, queue, revision, routes });
        Ok(Response::new(v1::CreateQueueResponse { queue: Some(queue), created }))
    }

    async fn list(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let limit = convert::bounded(request.limit, LIST_MAX, LIST_MAX, "limit")?;
        let shard = self.shard_of(&namespace)?;
        let look = shard.read(|state| read::queues(state, &namespace, &request.after, limit));
        let (found, applied_index) = look.await?;
        let (queues, more) = found.map_err(Failure::from)?;
        let queues = queues.into_iter().map(queue_out).collect();
        Ok(Response::new(v1::ListQueuesResponse { queues, more, applied_index }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowQueueRequest>,
    ) -> Result<Response<v1::ShowQueueResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let shard = self.shard_of(&namespace)?;
        let look = shard.read(|state| {
            let queue = read::queue(state, &namespace, &request.name)?;
            // Its subscription `default` may have been deleted.
            let stat = match read::stat(state, &namespace, &request.name, "default") {
                Err(ReadError::Refused(Refusal::UnknownSubscription(_))) => None,
                stat => Some(aged(stat?, state, shard)?),
            };
            Ok::<_, ReadError>((queue, stat))
        });
        let (found, applied_index) = look.await?;
        let (queue, stat) = found.map_err(Failure::from)?;
        Ok(Response::new(v1::ShowQueueResponse {
            queue: Some(queue_out(queue)),
            stat: stat.map(|stat| stat_out(&stat, applied_index)),
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = DeleteQueue { namespace: namespace.clone(), name: request.name };
        let reply = self.shard_of(&namespace)?.propose(Verb::DeleteQueue(verb)).await?;
        reply.map_err(Failure::from)?;
        Ok(Response::new(v1::DeleteQueueResponse {}))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let (queue, routes) = settings::queue_in(request.settings)?;
        let verb = UpdateQueue {
            namespace: namespace.clone(),
            name: request.name,
            queue,
            revision: request.revision,
            routes,
        };
        match self.shard_of(&namespace)?.propose(Verb::UpdateQueue(verb)).await?.map_err(Failure::from)? {
            Reply::Updated { revision } => Ok(Response::new(v1::UpdateQueueResponse { revision })),
            other => Err(Failure::internal(format!("an unexpected answer: {other:?}")).into()),
        }
    }

    async fn purge(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = Purge { namespace: namespace.clone(), name: request.name };
        self.shard_of(&namespace)?.propose(Verb::Purge(verb)).await?.map_err(Failure::from)?;
        Ok(Response::new(v1::PurgeQueueResponse {}))
    }

    async fn reschedule(
        &self,
        request: Request<v1::RescheduleRequest>,
    ) -> Result<Response<v1::RescheduleResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = Reschedule {
            namespace: namespace.clone(),
            queue: request.queue,
            position: request.position,
            deliver_at_ms: request.deliver_at_ms,
            id: request.id,
        };
        self.shard_of(&namespace)?.propose(Verb::Reschedule(verb)).await?.map_err(Failure::from)?;
        Ok(Response::new(v1::RescheduleResponse {}))
    }

    async fn peek(&self, request: Request<v1::PeekRequest>) -> Result<Response<v1::PeekResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let subscription = convert::or_default(request.subscription);
        let count = convert::bounded(request.count, PEEK_DEFAULT, PEEK_MAX, "count")?;
        let wanted = state_in(request.state)?;
        let (queue, from) = (request.queue, request.from_position);
        let look = self
            .shard_of(&namespace)?
            .read(|state| read::peek(state, &namespace, &queue, &subscription, from, count, wanted));
        let (found, applied_index) = look.await?;
        let (messages, next_position) = found.map_err(Failure::from)?;
        let messages = messages.into_iter().map(peeked_out).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::PeekResponse { messages, next_position, applied_index }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let subscription = convert::or_default(request.subscription);
        let shard = self.shard_of(&namespace)?;
        let look = shard.read(|state| {
            let stat = read::stat(state, &namespace, &request.queue, &subscription)?;
            aged(stat, state, shard)
        });
        let (found, applied_index) = look.await?;
        Ok(Response::new(stat_out(&found.map_err(Failure::from)?, applied_index)))
    }
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

/// Where nothing happens no entry says what time it is, but the leader knows: messages grow older all the same.
fn aged(mut stat: Stat, state: &impl Read, shard: &Shard) -> Result<Stat, ReadError> {
    if stat.first_position != 0 {
        stat.oldest_age_ms += shard.time.now_ms().saturating_sub(read::now_ms(state)?);
    }
    Ok(stat)
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
        Err(_) => return Err(Failure::invalid("state: not one that this version knows")),
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
