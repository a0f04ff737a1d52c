//! Subscriptions: making, changing, moving and listing them, and their parked messages.

use quorate_machine::command::{
    Action, CreateSub, DeleteSub, Pause, Seek, Selector, Unpark, UpdateSub, Verb,
};
use quorate_machine::read::{self, Obstacle, SubInfo};
use quorate_machine::reply::Reply;
use quorate_proto::v1;
use quorate_proto::v1::subscriptions_server::Subscriptions;
use tonic::{Request, Response, Status};

use super::error::Failure;
use super::{Api, convert, settings};

#[tonic::async_trait]
impl Subscriptions for Api {
    async fn create(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let (given, filter) = settings::settings_in(request.settings)?;
        self.check_room_for_sub(&namespace, &request.queue, &request.name)?;
        let verb = CreateSub {
            namespace: namespace.clone(),
            queue: request.queue,
            name: request.name,
            settings: given,
            filter: filter.clone(),
            start: settings::start_in(request.start),
        };
        match self.changed(&namespace, Verb::CreateSub(verb)).await? {
            Reply::SubCreated { settings, created } => {
                let settings = Some(settings::settings_out(&settings, filter));
                Ok(Response::new(v1::CreateSubscriptionResponse { settings, created }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn list(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let look = self.shard_of(&namespace)?.read(|state| read::subs(state, &namespace, &request.queue));
        let (found, applied_index) = look.await?;
        let subscriptions = found.map_err(Failure::from)?.into_iter().map(sub_out).collect();
        Ok(Response::new(v1::ListSubscriptionsResponse { subscriptions, applied_index }))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let (settings, filter) = settings::settings_in(request.settings)?;
        let verb = UpdateSub {
            namespace: namespace.clone(),
            queue: request.queue,
            name: request.name,
            settings,
            filter,
            revision: request.revision,
        };
        match self.changed(&namespace, Verb::UpdateSub(verb)).await? {
            Reply::Updated { revision } => Ok(Response::new(v1::UpdateSubscriptionResponse { revision })),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = DeleteSub { namespace: namespace.clone(), queue: request.queue, name: request.name };
        self.changed(&namespace, Verb::DeleteSub(verb)).await?;
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = Pause {
            namespace: namespace.clone(),
            queue: request.queue,
            name: request.name,
            paused: request.paused,
        };
        self.changed(&namespace, Verb::Pause(verb)).await?;
        Ok(Response::new(v1::PauseSubscriptionResponse {}))
    }

    async fn seek(&self, request: Request<v1::SeekRequest>) -> Result<Response<v1::SeekResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let verb = Seek {
            namespace: namespace.clone(),
            queue: request.queue,
            name: request.name,
            to: settings::start_in(request.to),
        };
        match self.changed(&namespace, Verb::Seek(verb)).await? {
            Reply::Sought { position } => Ok(Response::new(v1::SeekResponse { position })),
            other => Err(unexpected(&other)),
        }
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let look = self
            .shard_of(&namespace)?
            .read(|state| read::explain(state, &namespace, &request.queue, &request.subscription));
        let (found, applied_index) = look.await?;
        let (obstacles, _) = found.map_err(Failure::from)?;
        let obstacles = obstacles.into_iter().map(obstacle_out).collect();
        Ok(Response::new(v1::ExplainResponse { obstacles, applied_index }))
    }

    async fn unpark(
        &self,
        request: Request<v1::UnparkRequest>,
    ) -> Result<Response<v1::UnparkResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let action = match v1::UnparkAction::try_from(request.action) {
            Ok(v1::UnparkAction::Redrive) => Action::Redrive,
            Ok(v1::UnparkAction::Discard) => Action::Discard,
            Ok(v1::UnparkAction::Unspecified) | Err(_) => Action::Unspecified, // refused
        };
        let v1::Selector { from_position, to_position, key, filter } = request.selector.unwrap_or_default();
        let selector = Selector { from_position, to_position, key, filter: filter.map(settings::filter_in) };
        let verb = Unpark {
            namespace: namespace.clone(),
            queue: request.queue,
            subscription: request.subscription,
            action: action.into(),
            selector,
            per_second: request.per_second,
        };
        match self.changed(&namespace, Verb::Unpark(verb)).await? {
            Reply::Unparked { messages, job } => Ok(Response::new(v1::UnparkResponse { messages, job })),
            other => Err(unexpected(&other)),
        }
    }
}

impl Api {
    async fn changed(&self, namespace: &str, verb: Verb) -> Result<Reply, Failure> {
        self.shard_of(namespace)?.propose(verb).await?.map_err(Failure::from)
    }
}

fn unexpected(reply: &Reply) -> Status {
    Failure::internal(format!("an unexpected answer: {reply:?}")).into()
}

fn sub_out(sub: SubInfo) -> v1::Subscription {
    let SubInfo { name, settings, filter, revision, paused } = sub;
    v1::Subscription { name, settings: Some(settings::settings_out(&settings, filter)), revision, paused }
}

fn obstacle_out(obstacle: Obstacle) -> v1::Obstacle {
    use v1::ObstacleKind as Kind;
    let of = |kind: Kind, count| v1::Obstacle { kind: kind.into(), count, ..v1::Obstacle::default() };
    match obstacle {
        Obstacle::Paused => of(Kind::Paused, 0),
        Obstacle::NoConsumer => of(Kind::NoConsumer, 0),
        Obstacle::NoCredit { consumers } => of(Kind::NoCredit, consumers.into()),
        Obstacle::Empty => of(Kind::Empty, 0),
        Obstacle::Looking { positions } => of(Kind::Looking, positions),
        Obstacle::Delayed { messages } => of(Kind::Delayed, messages),
        Obstacle::Retrying { position, key, until_ms, behind } => {
            v1::Obstacle { position, key, until_ms, ..of(Kind::Retrying, behind) }
        }
        Obstacle::Blocked { position, key, behind } => {
            v1::Obstacle { position, key, ..of(Kind::Blocked, behind) }
        }
        Obstacle::KeyParked { key, messages } => v1::Obstacle { key, ..of(Kind::KeyParked, messages) },
        Obstacle::Held { key, position, consumer, until_ms, behind } => {
            v1::Obstacle { key, position, consumer, until_ms, ..of(Kind::Held, behind) }
        }
    }
}
