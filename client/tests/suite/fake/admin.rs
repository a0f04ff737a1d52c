//! What the fake knows of members and queues: next to nothing.

use quorate_proto::v1;
use quorate_proto::v1::cluster_server::Cluster;
use quorate_proto::v1::queues_server::Queues;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Fake, status};

#[tonic::async_trait]
impl Cluster for Fake {
    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        if self.state.lock().silent {
            std::future::pending::<()>().await;
        }
        let member = v1::Member { id: 1, client_addr: self.address.clone(), ..Default::default() };
        Ok(Response::new(v1::MembersResponse { members: vec![member], leader_id: 1, ..Default::default() }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let replica = v1::ReplicaStatus { id: 1, ..Default::default() };
        Ok(Response::new(v1::StatusResponse { replicas: vec![replica] }))
    }

    async fn remove_member(
        &self,
        _: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        self.gate().map(|()| Response::new(v1::RemoveMemberResponse {}))
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(v1::VersionResponse { active: 1, members: Vec::new() }))
    }

    async fn raise_version(
        &self,
        request: Request<v1::RaiseVersionRequest>,
    ) -> Result<Response<v1::RaiseVersionResponse>, Status> {
        let active = request.into_inner().to;
        self.gate().map(|()| Response::new(v1::RaiseVersionResponse { active }))
    }
}

impl Fake {
    fn change_queue(&self) -> Result<(), Status> {
        self.gate()?;
        self.state.lock().queue_answers.pop_front().map_or(Ok(()), |reason| Err(status(reason, &[])))
    }
}

#[tonic::async_trait]
impl Queues for Fake {
    type ReadStream = ReceiverStream<Result<v1::ReadResponse, Status>>;

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.gate()?;
        let (_, nothing) = mpsc::channel(1);
        Ok(Response::new(ReceiverStream::new(nothing)))
    }

    async fn create(
        &self,
        _: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::CreateQueueResponse>, Status> {
        self.change_queue()?;
        Ok(Response::new(v1::CreateQueueResponse { queue: None, created: true }))
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        self.change_queue()?;
        Ok(Response::new(v1::DeleteQueueResponse {}))
    }

    async fn update(
        &self,
        _: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        self.change_queue()?;
        Ok(Response::new(v1::UpdateQueueResponse { revision: 1 }))
    }

    async fn purge(
        &self,
        _: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        self.change_queue()?;
        Ok(Response::new(v1::PurgeQueueResponse {}))
    }

    async fn reschedule(
        &self,
        _: Request<v1::RescheduleRequest>,
    ) -> Result<Response<v1::RescheduleResponse>, Status> {
        self.change_queue()?;
        Ok(Response::new(v1::RescheduleResponse {}))
    }

    async fn list(
        &self,
        _: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        self.gate()?;
        Ok(Response::new(v1::ListQueuesResponse::default()))
    }

    async fn show(
        &self,
        _: Request<v1::ShowQueueRequest>,
    ) -> Result<Response<v1::ShowQueueResponse>, Status> {
        self.gate()?;
        Ok(Response::new(v1::ShowQueueResponse::default()))
    }

    async fn peek(&self, _: Request<v1::PeekRequest>) -> Result<Response<v1::PeekResponse>, Status> {
        self.gate()?;
        Ok(Response::new(v1::PeekResponse::default()))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        self.gate()?;
        Ok(Response::new(v1::StatResponse::default()))
    }
}
