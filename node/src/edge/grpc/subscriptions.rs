//! The `Subscriptions` service.

use quorate_machine::command::{Action, CreateSub, Pause, Seek, Selector, Unpark, UpdateSub};
use quorate_machine::read::{Obstacle, SubInfo};
use quorate_machine::reply::Unparked;
use quorate_proto::v1;
use quorate_proto::v1::subscriptions_server::Subscriptions;
use tonic::{Request, Response, Status};

use super::status::Failure;
use super::{Api, settings};

#[tonic::async_trait]
impl Subscriptions for Api {
    async fn create(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let v1::CreateSubscriptionRequest { namespace, queue, name, settings, start } = request.into_inner();
        let context = self.admit(namespace)?;
        let (settings, filter) = settings::settings_in(settings)?;
        let start = settings::start_in(start);
        let shown = filter.clone();
        let command = CreateSub { queue, name, settings, filter, start, ..CreateSub::default() };
        let done = self.0.create_sub(&context, command).await.map_err(Failure::from)?;
        let settings = Some(settings::settings_out(&done.settings, shown));
        Ok(Response::new(v1::CreateSubscriptionResponse { settings, created: done.created }))
    }

    async fn list(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let v1::ListSubscriptionsRequest { namespace, queue } = request.into_inner();
        let context = self.admit(namespace)?;
        let (subs, applied_index) = self.0.subs(&context, &queue).await.map_err(Failure::from)?;
        let subscriptions = subs.into_iter().map(sub_out).collect();
        Ok(Response::new(v1::ListSubscriptionsResponse { subscriptions, applied_index }))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let v1::UpdateSubscriptionRequest { namespace, queue, name, settings, revision } =
            request.into_inner();
        let context = self.admit(namespace)?;
        let (settings, filter) = settings::settings_in(settings)?;
        let command = UpdateSub { queue, name, settings, filter, revision, ..UpdateSub::default() };
        let revision = self.0.update_sub(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::UpdateSubscriptionResponse { revision }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let v1::DeleteSubscriptionRequest { namespace, queue, name } = request.into_inner();
        let context = self.admit(namespace)?;
        self.0.delete_sub(&context, queue, name).await.map_err(Failure::from)?;
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        let v1::PauseSubscriptionRequest { namespace, queue, name, paused } = request.into_inner();
        let context = self.admit(namespace)?;
        let command = Pause { queue, name, paused, ..Pause::default() };
        self.0.pause_sub(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::PauseSubscriptionResponse {}))
    }

    async fn seek(&self, request: Request<v1::SeekRequest>) -> Result<Response<v1::SeekResponse>, Status> {
        let v1::SeekRequest { namespace, queue, name, to } = request.into_inner();
        let context = self.admit(namespace)?;
        let command = Seek { queue, name, to: settings::start_in(to), ..Seek::default() };
        let position = self.0.seek_sub(&context, command).await.map_err(Failure::from)?;
        Ok(Response::new(v1::SeekResponse { position }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let v1::ExplainRequest { namespace, queue, subscription } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.explain(&context, &queue, &subscription).await.map_err(Failure::from)?;
        let (obstacles, applied_index) = found;
        let obstacles = obstacles.into_iter().map(obstacle_out).collect();
        Ok(Response::new(v1::ExplainResponse { obstacles, applied_index }))
    }

    async fn unpark(
        &self,
        request: Request<v1::UnparkRequest>,
    ) -> Result<Response<v1::UnparkResponse>, Status> {
        let request = request.into_inner();
        let context = self.admit(request.namespace)?;
        let action = match v1::UnparkAction::try_from(request.action) {
            Ok(v1::UnparkAction::Redrive) => Action::Redrive,
            Ok(v1::UnparkAction::Discard) => Action::Discard,
            Ok(v1::UnparkAction::Unspecified) | Err(_) => Action::Unspecified, // refused
        };
        let v1::Selector { from_position, to_position, key, filter } = request.selector.unwrap_or_default();
        let selector = Selector { from_position, to_position, key, filter: filter.map(settings::filter_in) };
        let command = Unpark {
            queue: request.queue,
            subscription: request.subscription,
            action: action.into(),
            selector,
            per_second: request.per_second,
            ..Unpark::default()
        };
        let done = self.0.unpark(&context, command).await.map_err(Failure::from)?;
        let Unparked { messages, job } = done;
        Ok(Response::new(v1::UnparkResponse { messages, job }))
    }
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
