//! How the answer to a proposal comes back from openraft.

use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;

use crate::types::Types;

/// Called once with the result, or with `None` if openraft dropped it: what became of the entry is unknown.
/// Runs inside openraft's tasks, so it only hands the result on.
pub struct Done<T: Send + 'static>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T: Send + 'static> Done<T> {
    /// Calls `call` when the result is there.
    pub fn new(call: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(call)))
    }
}

impl<T: Send + 'static> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call(None);
        }
    }
}

impl<T: Send + 'static> Responder<Types, T> for Done<T> {
    fn on_complete(mut self, result: T) {
        if let Some(call) = self.0.take() {
            call(Some(result));
        }
    }
}

/// The result of a proposal.
pub type WriteResult = ClientWriteResult<Types>;
