//! One message: handled while its lease is kept, then settled.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;

use super::Handled;
use crate::consumer::{Delivery, Lanes, Outcome};
use crate::error::{Error, Reason, Unmet};
use crate::transaction::Transaction;

/// A message and what it takes to settle it.
pub(super) struct Handling<T> {
    pub(super) delivery: Arc<Delivery<T>>,
    pub(super) lanes: Lanes,
}

impl<T> Handling<T> {
    /// Runs the handler, and carries out what it returned. A transaction is committed before this returns; a settle is on its way.
    pub(super) async fn run(self, handler: impl Future<Output = Handled>) {
        // A panic of a handler is its failure, not the worker's.
        let work = AssertUnwindSafe(handler).catch_unwind();
        match self.delivery.while_held(work).await {
            Ok(Ok(handled)) => match handled {
                Handled::Settle(outcome) => self.delivery.settle_shared(outcome),
                Handled::Commit(transaction) => self.commit(*transaction).await,
            },
            Ok(Err(panic)) => {
                let what = panic.downcast_ref::<&str>().copied();
                let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                let reason = format!("the handler panicked: {}", what.unwrap_or("no message"));
                tracing::error!("{reason}");
                self.delivery.settle_shared(Outcome::retry().because(reason));
            }
            Err(_) if self.lanes.is_lost(self.delivery.token) => {
                tracing::warn!("the lease was revoked; the handler was cancelled");
            }
            Err(_) => {
                tracing::warn!("the lease ran out and could not be extended; the handler was cancelled");
                self.delivery.settle_shared(Outcome::Release);
            }
        }
    }

    async fn commit(&self, transaction: Transaction) {
        let acked = match transaction.acks(&self.delivery) {
            true => transaction,
            false => transaction.ack(&self.delivery),
        };
        let Err(error) = acked.commit().await else { return };
        if lost(&error) {
            tracing::warn!("the lease was lost before the transaction was committed: nothing of it happened");
            return;
        }
        tracing::info!(%error, "the transaction was not committed; the message is retried");
        // Where it is not known whether it happened: if it did, the lease is over, and this is refused.
        self.delivery.settle_shared(Outcome::retry().because(error.to_string()));
    }
}

/// Whether the transaction was refused since the lease is not current.
fn lost(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => {
            refusal.reason == Reason::StaleLease || matches!(refusal.unmet, Some(Unmet::Lease { .. }))
        }
        Error::StaleLease { .. } => true,
        _ => false,
    }
}
