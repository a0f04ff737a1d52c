//! Which consumer sessions there are.

use bytes::Bytes;

use crate::store::{Read, StoreError};
use crate::tables::row::{self, Consumer};
use crate::tables::{Key, Table, key};

/// A consumer session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Names the session in commands.
    pub consumer: u64,
    /// What its next [`crate::command::Detach`] has to say.
    pub generation: u64,
    /// Namespace of its queue.
    pub namespace: u32,
    /// Its queue.
    pub queue: u64,
    /// Its subscription.
    pub subscription: u32,
    /// The session's name, as the client chose it.
    pub session: Bytes,
    /// How long the session outlives its stream, in milliseconds.
    pub session_timeout_ms: u64,
    /// How many unsettled messages it may hold.
    pub credit: u32,
    /// How many it holds.
    pub outstanding: u64,
    /// For people.
    pub label: String,
}

/// All consumer sessions, in the order in which they were first attached: for the timers of a new leader. Fails
/// like the store.
pub fn consumers(store: &impl Read) -> Result<Vec<ConsumerInfo>, StoreError> {
    let mut from = key::all(Table::Consumer);
    let end = from.end();
    let mut found = Vec::new();
    while let Some((key, value)) = store.first(&from, &end)? {
        from = Key::read(&key)?.next();
        let row: Consumer = row::decode(&key, value)?;
        // One whose subscription was deleted is as good as ended.
        let Some(sub) = super::place(store, &row)? else { continue };
        // What it held before its subscription was moved is lost.
        let outstanding = if sub == row.sub_id() { row.outstanding } else { 0 };
        found.push(ConsumerInfo {
            consumer: key::last_u64(&key)?,
            generation: row.generation,
            namespace: row.namespace,
            queue: row.queue,
            subscription: sub.sub,
            session: row.session,
            session_timeout_ms: row.session_timeout_ms,
            credit: row.credit,
            outstanding,
            label: row.label,
        });
    }
    Ok(found)
}
