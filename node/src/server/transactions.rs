//! Transactions.

use prost::Message as _;
use quorate_machine::command::{
    Condition, LeaseRange, OpenProducer, PublishTo, Put, Require, RequireLengthBelow, RequireTail,
    RequireVersion, SettleLease, Transact, Verb,
};
use quorate_machine::limits::{SETTLE_RANGES_MAX, TRANSACTION_MESSAGES_MAX, TRANSACTION_PARTS_MAX};
use quorate_machine::reply::{Placed, Reply, Transacted};
use quorate_proto::v1;
use quorate_proto::v1::require::Condition as Wanted;
use quorate_proto::v1::transactions_server::Transactions;
use quorate_simpoint::buggify;
use tonic::{Request, Response, Status};

use super::convert::Reasons;
use super::error::Failure;
use super::{Api, convert};
use crate::shard::Shard;

/// What a part of a transaction takes besides its bytes while it is under way: as it was read, and as a command.
const PART_BYTES: usize = 256;

#[tonic::async_trait]
impl Transactions for Api {
    async fn open(&self, request: Request<v1::OpenProducer>) -> Result<Response<v1::ProducerOpened>, Status> {
        let request = request.into_inner();
        let namespace = convert::or_default(request.namespace);
        let v1::OpenProducer { session, ttl_ms, holder, resume, .. } = request;
        let verb = OpenProducer { namespace: namespace.clone(), session, ttl_ms, holder, resume };
        let reply = self.shard_of(&namespace)?.propose(Verb::OpenProducer(verb)).await?;
        let Reply::ProducerOpened(opened) = reply.map_err(Failure::from)? else {
            return Err(Failure::internal("an unexpected answer to open").into());
        };
        Ok(Response::new(convert::opened_out(opened)))
    }

    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        let request = request.into_inner();
        check_counts(&request)?;
        let room = self.0.admission.room(request.encoded_len() + parts(&request) * PART_BYTES).await?;
        let namespace = convert::or_default(request.namespace.clone());
        let shard = self.shard_of(&namespace)?;
        // What is acknowledged or deleted takes no room: that goes on when the disk is full.
        if !request.publish.is_empty() || request.put.iter().any(|put| !put.delete) {
            self.check_room(shard)?;
        }
        let ranges = request.settle.iter().filter_map(|lease| lease.range.as_ref());
        let reasons = self.reasons(shard, ranges);
        let command = Shard::admit(Verb::Transact(transact_in(namespace, request, reasons)?))?;
        let reply = shard.propose_with(command, room).await?;
        let Reply::Transacted(done) = reply.map_err(Failure::from)? else {
            return Err(Failure::internal("an unexpected answer to transact").into());
        };
        if buggify("node/transactions/lose_answer") {
            return Err(Failure::unknown().into());
        }
        Ok(Response::new(transacted_out(done)))
    }
}

/// The numbers of its parts: nothing is done for more than there may be.
fn check_counts(request: &v1::TransactRequest) -> Result<(), Failure> {
    convert::at_most("require", request.require.len(), TRANSACTION_PARTS_MAX)?;
    convert::at_most("settle", request.settle.len(), SETTLE_RANGES_MAX)?;
    convert::at_most("publish", request.publish.len(), TRANSACTION_PARTS_MAX)?;
    convert::at_most("publish", messages(request), TRANSACTION_MESSAGES_MAX)?;
    convert::at_most("put", request.put.len(), TRANSACTION_PARTS_MAX)
}

fn messages(request: &v1::TransactRequest) -> usize {
    request.publish.iter().map(|publish| publish.messages.len()).sum()
}

fn parts(request: &v1::TransactRequest) -> usize {
    let v1::TransactRequest { require, settle, publish, put, .. } = request;
    require.len() + settle.len() + publish.len() + put.len() + messages(request)
}

fn transact_in(
    namespace: String,
    request: v1::TransactRequest,
    mut reasons: Reasons,
) -> Result<Transact, Failure> {
    let v1::TransactRequest { producer, epoch, seq, acked_seq, require, settle, publish, put, .. } = request;
    let settle = settle.into_iter().map(|lease| {
        let range = lease.range.ok_or_else(|| Failure::invalid("settle: a lease has no range"))?;
        let range = convert::range_in(range, &mut reasons);
        Ok(SettleLease { queue: lease.queue, subscription: lease.subscription, range })
    });
    let settle = settle.collect::<Result<_, Failure>>()?;
    Ok(Transact {
        namespace,
        producer,
        epoch,
        seq,
        acked_seq,
        require: require.into_iter().map(require_in).collect(),
        settle,
        publish: publish.into_iter().map(publish_in).collect::<Result<_, _>>()?,
        put: put.into_iter().map(put_in).collect(),
        reasons: reasons.into_list(),
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

fn publish_in(publish: v1::PublishTo) -> Result<PublishTo, Failure> {
    let (lengths, messages, attributes) = convert::messages_in(&publish.messages)?;
    Ok(PublishTo { queue: publish.queue, lengths, messages, attributes })
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
