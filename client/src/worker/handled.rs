//! What a handler returns.

use std::fmt::Display;

use crate::consumer::Outcome;
use crate::transaction::Transaction;

/// What becomes of a message that was handled. Handlers return whatever turns into it:
///
/// | returned | |
/// |---|---|
/// | `()` | acknowledged |
/// | [`Outcome`] | that |
/// | [`Transaction`] | committed, together with the acknowledgement; if it is refused, the message is retried with the reason |
/// | `Result<_, E>` | `Ok`: one of the above; `Err`: retried after the subscription's backoff, with the error as the reason |
pub enum Handled {
    /// Settles the message.
    Settle(Outcome),
    /// Commits it, with the acknowledgement.
    Commit(Box<Transaction>),
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Settle(Outcome::Ack)
    }
}

impl From<Outcome> for Handled {
    fn from(outcome: Outcome) -> Self {
        Self::Settle(outcome)
    }
}

impl From<Transaction> for Handled {
    fn from(transaction: Transaction) -> Self {
        Self::Commit(Box::new(transaction))
    }
}

impl<T: Into<Self>, E: Display> From<Result<T, E>> for Handled {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(handled) => handled.into(),
            // The alternate form of some errors tells their causes, too.
            Err(error) => Self::Settle(Outcome::retry().because(format!("{error:#}"))),
        }
    }
}
