//! The `Transactions` service.

use prost::Message as _;
use quorate_machine::command::{
    Condition, LeaseRange, Put, Require, RequireLengthBelow, RequireTail, RequireVersion,
};
use quorate_machine::reply::{Placed, Transacted};
use quorate_proto::v1;
use quorate_proto::v1::require::Condition as Wanted;
use quorate_proto::v1::transactions_server::Transactions;
use tonic::{Request, Response, Status};

use super::producer::open_in;
use super::status::Failure;
use super::{Api, convert};
use crate::service::transactions::{Counts, Transaction};

#[tonic::async_trait]
impl Transactions for Api {
    async fn open(&self, request: Request<v1::OpenProducer>) -> Result<Response<v1::ProducerOpened>, Status> {
        let open = request.into_inner();
        let context = self.admit(open.namespace.clone())?;
        let opened = self.0.open_producer(&context, open_in(open)).await.map_err(Failure::from)?;
        Ok(Response::new(convert::opened_out(opened)))
    }

    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        let request = request.into_inner();
        let context = self.admit(request.namespace.clone())?;
        let done = self.0.transact(&context, transaction_in(request)?).await.map_err(Failure::from)?;
        Ok(Response::new(transacted_out(done)))
    }
}

fn counts(request: &v1::TransactRequest) -> Counts {
    Counts {
        require: request.require.len(),
        settle: request.settle.len(),
        publish: request.publish.len(),
        messages: request.publish.iter().map(|publish| publish.messages.len()).sum(),
        put: request.put.len(),
    }
}

fn transaction_in(request: v1::TransactRequest) -> Result<Transaction, Failure> {
    counts(&request).check()?;
    let bytes = request.encoded_len();
    let v1::TransactRequest { producer, epoch, seq, acked_seq, require, settle, publish, put, .. } = request;
    let settle = settle.into_iter().map(|lease| {
        let range = lease.range.ok_or_else(|| Failure::invalid("settle: a lease has no range"))?;
        Ok((lease.queue, lease.subscription, convert::range_in(range)))
    });
    Ok(Transaction {
        producer,
        epoch,
        seq,
        acked_seq,
        require: require.into_iter().map(require_in).collect(),
        settle: settle.collect::<Result<_, Failure>>()?,
        publish: publish.into_iter().map(|publish| (publish.queue, publish.messages)).collect(),
        put: put.into_iter().map(put_in).collect(),
        bytes,
    })
}

/// A requirement without a condition is refused by the machine.
fn require_in(require: v1::Require) -> Require {
    let condition = require.condition.map(|wanted| match wanted {
        Wanted::Version(v1::RequireVersion { key, version }) => {
            Condition::Version(RequireVersion { key, version })
        }
        Wanted::Tail(v1::RequireTail { queue, position }) => Condition::Tail(RequireTail { queue, position }),
        Wanted::LengthBelow(v1::RequireLengthBelow { queue, subscription, length }) => {
            Condition::LengthBelow(RequireLengthBelow { queue, subscription, length })
        }
        Wanted::Held(v1::RequireHeld { queue, subscription, first_position, count, first_token }) => {
            Condition::Held(LeaseRange { queue, subscription, first_position, count, first_token })
        }
    });
    Require { condition }
}

fn put_in(put: v1::Put) -> Put {
    let v1::Put { key, value, delete, ttl_ms } = put;
    Put { key, value, delete, ttl_ms }
}

fn transacted_out(done: Transacted) -> v1::TransactResponse {
    let Transacted { published, versions, duplicate } = done;
    let placed = |placed: Placed| v1::Placed {
        queue: placed.queue,
        positions: convert::positions_out(placed.positions),
        nth: placed.nth,
    };
    v1::TransactResponse { published: published.into_iter().map(placed).collect(), versions, duplicate }
}
