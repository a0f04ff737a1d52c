//! Transactions.

use bytes::Bytes;
use quorate_machine::command::{PublishTo, Put, Require, SettleLease, Transact};
use quorate_machine::limits::{SETTLE_RANGES_MAX, TRANSACTION_MESSAGES_MAX, TRANSACTION_PARTS_MAX};
use quorate_machine::reply::{Refusal, Transacted};
use quorate_simpoint::buggify;

use super::error::CommandError;
use super::produce::pack;
use super::settle::{Range, Reasons, at_most, with_number};
use super::{Context, Service, check};

/// What a part of a transaction takes besides its bytes while it is under way: as it was read, and as a command.
const PART_BYTES: usize = 256;

/// What happens whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    /// The session under which it is carried out once: its producer.
    pub producer: u64,
    /// The session's epoch.
    pub epoch: u64,
    /// Number of the transaction in its session.
    pub seq: u64,
    /// The session has the answers up to this number.
    pub acked_seq: u64,
    /// What has to be the case.
    pub require: Vec<Require>,
    /// Leases that are settled: of which queue and subscription, and which.
    pub settle: Vec<(String, String, Range)>,
    /// Encoded messages that are published, by their queues.
    pub publish: Vec<(String, Vec<Bytes>)>,
    /// Keys that are written.
    pub put: Vec<Put>,
    /// Length of the request as it came, in bytes.
    pub bytes: usize,
}

/// How many parts a transaction has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requirements.
    pub require: usize,
    /// Leases.
    pub settle: usize,
    /// Batches of messages.
    pub publish: usize,
    /// Messages in them.
    pub messages: usize,
    /// Keys that are written.
    pub put: usize,
}

impl Counts {
    /// Whether a transaction may have so many. An edge asks before it takes them apart: nothing is done for more.
    ///
    /// # Errors
    /// There are too many of some.
    pub fn check(&self) -> Result<(), Refusal> {
        at_most("require", self.require, TRANSACTION_PARTS_MAX)?;
        at_most("settle", self.settle, SETTLE_RANGES_MAX)?;
        at_most("publish", self.publish, TRANSACTION_PARTS_MAX)?;
        at_most("publish", self.messages, TRANSACTION_MESSAGES_MAX)?;
        at_most("put", self.put, TRANSACTION_PARTS_MAX)
    }

    fn sum(&self) -> usize {
        self.require + self.settle + self.publish + self.messages + self.put
    }
}

impl Transaction {
    fn counts(&self) -> Counts {
        Counts {
            require: self.require.len(),
            settle: self.settle.len(),
            publish: self.publish.len(),
            messages: self.publish.iter().map(|(_, messages)| messages.len()).sum(),
            put: self.put.len(),
        }
    }

    /// What it takes while it is under way, in bytes.
    fn cost(&self) -> usize {
        self.bytes + self.counts().sum() * PART_BYTES
    }

    /// What is acknowledged or deleted takes no room: that goes on when the disk is full.
    fn takes_room(&self) -> bool {
        !self.publish.is_empty() || self.put.iter().any(|put| !put.delete)
    }

    fn into_command(self, namespace: String, mut reasons: Reasons) -> Result<Transact, Refusal> {
        let settle = self.settle.into_iter().map(|(queue, subscription, range)| {
            let range = with_number(range, &mut reasons);
            SettleLease { queue, subscription, range }
        });
        let settle = settle.collect();
        let publish = self.publish.into_iter().map(|(queue, messages)| {
            let (lengths, messages, attributes) = pack(&messages)?;
            Ok(PublishTo { queue, lengths, messages, attributes })
        });
        let publish = publish.collect::<Result<_, Refusal>>()?;
        let Self { producer, epoch, seq, acked_seq, require, put, .. } = self;
        let reasons = reasons.into_list();
        Ok(Transact { namespace, producer, epoch, seq, acked_seq, require, settle, publish, put, reasons })
    }
}

impl Service {
    /// Carries out a transaction.
    ///
    /// # Errors
    /// Nothing of it happened, but for [`CommandError::Unknown`].
    pub async fn transact(
        &self,
        context: &Context,
        transaction: Transaction,
    ) -> Result<Transacted, CommandError> {
        transaction.counts().check()?;
        let room = self.admission().room(transaction.cost()).await?;
        let shard = self.shard(context)?;
        if transaction.takes_room() {
            self.check_room(shard)?;
        }
        let reasons = self.reasons(shard, transaction.settle.iter().map(|(_, _, range)| range));
        let command = check(transaction.into_command(context.namespace().into(), reasons)?.into())?;
        let done = self.propose_with::<Transact>(context, command, room).await?;
        if buggify("node/transactions/lose_answer") {
            return Err(CommandError::Unknown);
        }
        Ok(done)
    }
}
