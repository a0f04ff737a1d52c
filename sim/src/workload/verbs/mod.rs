//! The verbs of the product, one a file: what is asked for, the call, and how its answer is written down.

pub(crate) mod ack;
pub(crate) mod attach;
pub(crate) mod await_state;
pub(crate) mod close_producer;
#[cfg(test)]
mod coverage;
pub(crate) mod create_queue;
pub(crate) mod create_subscription;
pub(crate) mod credit;
pub(crate) mod delete_queue;
pub(crate) mod delete_subscription;
pub(crate) mod detach;
pub(crate) mod explain;
pub(crate) mod extend;
pub(crate) mod get_state;
pub(crate) mod list_producers;
pub(crate) mod list_queues;
pub(crate) mod list_state;
pub(crate) mod list_subscriptions;
pub(crate) mod members;
pub(crate) mod open_producer;
pub(crate) mod park;
pub(crate) mod pause;
pub(crate) mod peek;
pub(crate) mod publish;
pub(crate) mod purge;
pub(crate) mod raise_version;
pub(crate) mod read;
pub(crate) mod release;
pub(crate) mod remove_member;
pub(crate) mod reschedule;
pub(crate) mod retry;
pub(crate) mod seek;
pub(crate) mod show_queue;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod transact;
pub(crate) mod unpark;
pub(crate) mod update_queue;
pub(crate) mod update_subscription;
pub(crate) mod version;

use bytes::Bytes;
use quorate_client::Raw;

/// A consumer of this workload.
pub(crate) type Consumer = quorate_client::Consumer<Bytes, Raw>;
/// What it is handed.
pub(crate) type Delivery = quorate_client::Delivery<Bytes>;
