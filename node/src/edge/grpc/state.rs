//! The `State` service.

use quorate_machine::read::StateEntry;
use quorate_proto::v1;
use quorate_proto::v1::state_server::State;
use tonic::{Request, Response, Status};

use super::Api;
use super::status::Failure;

#[tonic::async_trait]
impl State for Api {
    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let v1::GetStateRequest { namespace, keys } = request.into_inner();
        let context = self.admit(namespace)?;
        let (entries, applied_index) = self.0.keys(&context, &keys).await.map_err(Failure::from)?;
        let entries = entries.into_iter().map(entry_out).collect();
        Ok(Response::new(v1::GetStateResponse { entries, applied_index }))
    }

    async fn list(
        &self,
        request: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        let v1::ListStateRequest { namespace, prefix, after, limit } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.list_keys(&context, &prefix, &after, limit).await.map_err(Failure::from)?;
        let ((entries, more), applied_index) = found;
        let entries = entries.into_iter().map(entry_out).collect();
        Ok(Response::new(v1::ListStateResponse { entries, more, applied_index }))
    }

    async fn r#await(
        &self,
        request: Request<v1::AwaitStateRequest>,
    ) -> Result<Response<v1::AwaitStateResponse>, Status> {
        let v1::AwaitStateRequest { namespace, key, version, wait_ms } = request.into_inner();
        let context = self.admit(namespace)?;
        let found = self.0.await_key(&context, key, version, wait_ms).await.map_err(Failure::from)?;
        let (entry, applied_index) = found;
        Ok(Response::new(v1::AwaitStateResponse { entry: entry.map(entry_out), applied_index }))
    }
}

fn entry_out(entry: StateEntry) -> v1::StateEntry {
    let StateEntry { key, version, value, expires_ms } = entry;
    v1::StateEntry { key, version, value, expires_ms }
}
