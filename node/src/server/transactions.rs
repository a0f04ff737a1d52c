//! Transactions.

use quorate_machine::command::{
    Condition, LeaseRange, OpenProducer, Publish, PublishTo, Put, Require, RequireLengthBelow, RequireTail,
    RequireVersion, SettleLease, Transact, Verb,
};
use quorate_machine::reply::{Placed, Reply, Transacted};
use quorate_proto::v1;
use quorate_proto::v1::require::Condition as Wanted;
use quorate_proto::v1::transactions_server::Transactions;
use quorate_simpoint::buggify;
use tonic::{Request, Response, Status};

use super::error::Failure;
use super::{Api, convert};

/// What a part of a transaction takes beside its bytes, roughly.
const PART_BYTES: usize = 64;

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
        let bytes =
            request.publish.iter().flat_map(|publish| &publish.messages).map(|m| m.len() + PART_BYTES);
        // What is acknowledged or deleted takes no room: that goes on when the disk is full.
        let new = request.put.iter().filter(|put| !put.delete);
        let bytes: usize = bytes.chain(new.map(|put| put.value.len() + PART_BYTES)).sum();
        let _room = self.0.admission.room(bytes).await;
        let namespace = convert::or_default(request.namespace.clone());
        let shard = self.shard_of(&namespace)?;
        if bytes > 0 {
            self.0.admission.check_space([shard.replica.log().quota(), shard.replica.state().quota()])?;
        }
        let verb = transact_in(namespace, request)?;
        let reply = shard.propose(Verb::Transact(verb)).await?;
        let Reply::Transacted(done) = reply.map_err(Failure::from)? else {
            return Err(Failure::internal("an unexpected answer to transact").into());
        };
        if buggify("node/transactions/lose_answer") {
            return Err(Failure::unknown().into());
        }
        Ok(Response::new(transacted_out(done)))
    }
}

fn transact_in(namespace: String, request: v1::TransactRequest) -> Result<Transact, Failure> {
    let v1::TransactRequest { producer, epoch, seq, acked_seq, require, settle, publish, put, .. } = request;
    let mut reasons = Vec::new();
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
        reasons,
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
    let mut attributes = 0;
    for message in &publish.messages {
        attributes |= convert::check_message(message)?;
    }
    let (lengths, messages) = Publish::pack(&publish.messages);
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
