//! The producer session under which a client's transactions are carried out once.
//!
//! Each transaction has a number of its own. When an attempt got no answer, the session is opened again before the next one: that fences
//! what is still under way, so that the next attempt either gets the receipt of the first, or is the only one.

use std::collections::BTreeSet;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::v1;
use quorate_proto::v1::transactions_client::TransactionsClient;
use quorate_simpoint::{Bug, planted};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::{Error, Reason};
use crate::random::Random;
use crate::status::{Verdict, judge};

/// How long the cluster remembers the session without use, in milliseconds: longer than anybody goes on trying.
const TTL_MS: u64 = 10 * 60 * 1000;
/// How far numbers may run ahead of the oldest that is under way; the cluster remembers 4096.
const SPAN_MAX: u64 = 4000;
/// The session is opened again so often within one attempt: each time it may have been fenced by another transaction of ours.
const OPENINGS_MAX: usize = 4;

/// See the module. Opened when it is first used.
#[derive(Default)]
pub(crate) struct Session {
    open: AsyncMutex<Option<Open>>,
    numbers: Mutex<Numbers>,
    freed: Notify,
}

#[derive(Clone)]
struct Open {
    producer: u64,
    epoch: u64,
    name: String,
    holder: Bytes,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    /// Of transactions whose receipts may still be asked for.
    under_way: BTreeSet<u64>,
}

/// A number that is under way until it is dropped.
struct Number<'a> {
    seq: u64,
    session: &'a Session,
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.session.numbers.lock().under_way.remove(&self.seq);
        self.session.freed.notify_waiters();
    }
}

/// What is known of a transaction's attempts.
#[derive(Default)]
struct Attempts {
    /// The session and its epoch of the last one that was sent and had no answer.
    unanswered: Option<(u64, u64)>,
    /// The last one was refused by the state itself, and those before it are fenced: nothing happened.
    refused: bool,
    /// The cluster has forgotten the session, and with it what became of an attempt.
    forgotten: bool,
}

impl Session {
    /// Carries a transaction out, once.
    pub(crate) async fn transact(
        &self,
        client: &Client,
        request: v1::TransactRequest,
    ) -> Result<v1::TransactResponse, Error> {
        let deadline = Instant::now() + client.timeout;
        let number = match tokio::time::timeout_at(deadline, self.number()).await {
            Ok(number) => number,
            Err(_) => {
                let last = "another transaction of this client has had no answer for too long".into();
                return Err(Error::OutOfTime { waited: client.timeout, last });
            }
        };
        let attempts = Mutex::new(Attempts::default());
        let attempt = |channel| self.attempt(channel, client, &request, number.seq, &attempts);
        match client.router.call(deadline, attempt).await {
            Ok(led) => Ok(led.value),
            Err(failed) if attempts.lock().refused => Err(failed.error),
            Err(_) if attempts.lock().forgotten => {
                let cause = Error::Protocol("the session ended before the transaction was answered".into());
                Err(cause.unknown())
            }
            Err(failed) => Err(failed.of_change()),
        }
    }

    /// The next number, once it is not too far ahead of those that are under way.
    async fn number(&self) -> Number<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut numbers = self.numbers.lock();
                let first = numbers.under_way.first().copied().unwrap_or(numbers.last + 1);
                if numbers.last + 1 - first < SPAN_MAX {
                    numbers.last += 1;
                    let seq = numbers.last;
                    numbers.under_way.insert(seq);
                    return Number { seq, session: self };
                }
            }
            freed.await;
        }
    }

    async fn attempt(
        &self,
        channel: Channel,
        client: &Client,
        request: &v1::TransactRequest,
        seq: u64,
        attempts: &Mutex<Attempts>,
    ) -> Result<v1::TransactResponse, Status> {
        let mut grpc = TransactionsClient::new(channel)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let before = attempts.lock().unanswered;
        let anew = planted(Bug::ClientTransactsAnew) && before.is_some();
        let seq = if anew { self.number().await.seq } else { seq };
        let mut unusable = before;
        for _ in 0..OPENINGS_MAX {
            let Open { producer, epoch, .. } =
                self.opened(&mut grpc, client, unusable, before.is_some()).await?;
            if before.is_some_and(|(before, _)| before != producer) {
                attempts.lock().forgotten = true;
                return Err(Status::failed_precondition("the session is another one"));
            }
            let acked_seq = self.numbers.lock().under_way.first().map_or(seq, |first| *first) - 1;
            let request = v1::TransactRequest { producer, epoch, seq, acked_seq, ..request.clone() };
            attempts.lock().unanswered = Some((producer, epoch));
            let status = match grpc.transact(request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            match judge(&status) {
                Verdict::Again { .. } => return Err(status),
                Verdict::Elsewhere { .. } => {
                    attempts.lock().unanswered = before;
                    return Err(status);
                }
                Verdict::Certain(error) => {
                    let mut attempts = attempts.lock();
                    attempts.unanswered = before;
                    match error.reason() {
                        Some(Reason::ProducerFenced | Reason::UnknownProducer) => {
                            unusable = Some((producer, epoch));
                        }
                        // Said by the server before it asked the state.
                        Some(Reason::NoSpace) => return Err(status),
                        _ => {
                            attempts.refused = true;
                            return Err(status);
                        }
                    }
                }
            }
        }
        Err(Status::unavailable("the session is opened again and again"))
    }

    /// The open session, opened again if this opening of it cannot be used. With `keep` it must still be the same.
    async fn opened(
        &self,
        grpc: &mut TransactionsClient<Channel>,
        client: &Client,
        unusable: Option<(u64, u64)>,
        keep: bool,
    ) -> Result<Open, Status> {
        let mut open = self.open.lock().await;
        if let Some(known) = open.as_ref().filter(|known| unusable != Some((known.producer, known.epoch))) {
            return Ok(known.clone());
        }
        if let Some(known) = open.clone() {
            match reopen(grpc, client, &known).await {
                Ok(now) => return Ok(open.insert(now).clone()),
                Err(status) if !is_ended(&status) => return Err(status),
                Err(status) => {
                    *open = None;
                    if keep {
                        return Err(status);
                    }
                }
            }
        }
        let random = client.router.random();
        let name = format!("transactions-{}", drawn(random).map(|byte| format!("{byte:02x}")).concat());
        let holder = Bytes::copy_from_slice(&drawn(random));
        let now = reopen(grpc, client, &Open { producer: 0, epoch: 0, name, holder }).await?;
        Ok(open.insert(now).clone())
    }
}

async fn reopen(
    grpc: &mut TransactionsClient<Channel>,
    client: &Client,
    known: &Open,
) -> Result<Open, Status> {
    let request = v1::OpenProducer {
        namespace: client.namespace.to_string(),
        session: known.name.clone(),
        ttl_ms: TTL_MS,
        holder: known.holder.clone(),
        resume: known.producer,
    };
    let opened = grpc.open(request).await?.into_inner();
    Ok(Open { producer: opened.producer, epoch: opened.epoch, ..known.clone() })
}

fn is_ended(status: &Status) -> bool {
    matches!(judge(status), Verdict::Certain(error) if error.reason() == Some(&Reason::UnknownProducer))
}

fn drawn(random: &dyn Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes
}
