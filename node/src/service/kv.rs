//! The keyed state of a namespace: linearizable reads, and waiting for a change.

use std::time::Duration;

use quorate_machine::limits::PAGE_MAX;
use quorate_machine::read::{self, StateEntry};
use quorate_machine::reply::Refusal;

use super::error::{Overload, QueryError, Unavailable};
use super::{Context, Service, bounded};

/// Longest wait for a change, in milliseconds.
pub const WAIT_MS_MAX: u64 = 60_000;

impl Service {
    /// Keys that are there, in the order in which they were asked for.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn keys(
        &self,
        context: &Context,
        keys: &[String],
    ) -> Result<(Vec<StateEntry>, u64), QueryError> {
        self.query(context, |state| read::state(state, context.namespace(), keys)).await
    }

    /// Keys that begin with a prefix, and whether there are more.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn list_keys(
        &self,
        context: &Context,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<((Vec<StateEntry>, bool), u64), QueryError> {
        let limit = bounded("limit", limit, PAGE_MAX, PAGE_MAX)?;
        self.query(context, |state| read::state_keys(state, context.namespace(), prefix, after, limit)).await
    }

    /// A key as soon as its version is another than this one (0: it is absent), or after `wait_ms`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn await_key(
        &self,
        context: &Context,
        key: String,
        version: u64,
        wait_ms: u64,
    ) -> Result<(Option<StateEntry>, u64), QueryError> {
        Refusal::unless_at_most("wait_ms", wait_ms, WAIT_MS_MAX, "ms")?;
        let shard = self.shard(context)?.clone();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        let keys = [key];
        let watch = shard.hub.watch(&keys[0]).ok_or(Overload::Watches)?;
        loop {
            // Before it looks: a change after the look is not missed.
            let changed = watch.changed();
            let (mut found, applied_index) = self.keys(context, &keys).await?;
            let entry = found.pop();
            let is_other = entry.as_ref().map_or(0, |entry| entry.version) != version;
            if is_other || tokio::time::Instant::now() >= deadline {
                return Ok((entry, applied_index));
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
                why = shard.lost_leadership() => return Err(why.into()),
                () = self.0.stopping.cancelled() => return Err(Unavailable::ShuttingDown.into()),
            }
        }
    }
}
