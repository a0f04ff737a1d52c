//! The keyed state of a namespace: linearizable reads, and waiting for a change.

use std::time::Duration;

use quorate_machine::read::{self, StateEntry};
use quorate_proto::v1;
use quorate_proto::v1::state_server::State;
use tonic::{Request, Response, Status};

use super::error::Failure;
use super::producer::lost_leadership;
use super::{Api, convert};

/// Longest wait for a change.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Most keys that one listing has.
const LIST_MAX: u32 = 1000;

#[tonic::async_trait]
impl State for Api {
    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let look = self.shard_of(&namespace)?.read(|state| read::state(state, &namespace, &request.keys));
        let (found, applied_index) = look.await?;
        let entries = found.map_err(Failure::from)?.into_iter().map(entry_out).collect();
        Ok(Response::new(v1::GetStateResponse { entries, applied_index }))
    }

    async fn list(
        &self,
        request: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        let v1::ListStateRequest { namespace, prefix, after, limit } = request.into_inner();
        let namespace = convert::or_default(namespace);
        let limit = convert::bounded(limit, LIST_MAX, LIST_MAX, "limit")?;
        let look = self
            .shard_of(&namespace)?
            .read(|state| read::state_keys(state, &namespace, &prefix, &after, limit));
        let (found, applied_index) = look.await?;
        let (entries, more) = found.map_err(Failure::from)?;
        let entries = entries.into_iter().map(entry_out).collect();
        Ok(Response::new(v1::ListStateResponse { entries, more, applied_index }))
    }

    async fn r#await(
        &self,
        request: Request<v1::AwaitStateRequest>,
    ) -> Result<Response<v1::AwaitStateResponse>, Status> {
        let v1::AwaitStateRequest { namespace, key, version, wait_ms } = request.into_inner();
        let namespace = convert::or_default(namespace);
        let wait = Duration::from_millis(wait_ms);
        if wait > WAIT_MAX {
            return Err(Failure::invalid("wait_ms: at most 60000").into());
        }
        let shard = self.shard_of(&namespace)?.clone();
        let (deadline, keys) = (tokio::time::Instant::now() + wait, [key]);
        let watch = shard.hub.watch(&keys[0])?;
        loop {
            // Before it looks: a change after the look is not missed.
            let changed = watch.changed();
            let (found, applied_index) = shard.read(|state| read::state(state, &namespace, &keys)).await?;
            let entry = found.map_err(Failure::from)?.pop();
            let is_other = entry.as_ref().map_or(0, |entry| entry.version) != version;
            if is_other || tokio::time::Instant::now() >= deadline {
                let entry = entry.map(entry_out);
                return Ok(Response::new(v1::AwaitStateResponse { entry, applied_index }));
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
                failure = lost_leadership(shard.clone()) => return Err(failure.into()),
                () = self.0.stopping.cancelled() => return Err(Failure::shutting_down().into()),
            }
        }
    }
}

fn entry_out(entry: StateEntry) -> v1::StateEntry {
    let StateEntry { key, version, value, expires_ms } = entry;
    v1::StateEntry { key, version, value, expires_ms }
}
