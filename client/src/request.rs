//! Request and reply: a message that asks for an answer, which is accepted once.
//!
//! The requester draws a key of the namespace's state and sends it along in a header; who works on the message writes the answer there in the
//! transaction that acknowledges it. So of two who worked on it only one answers, the one whose lease is current; and nothing
//! has to be set up or cleaned away: request and answer go by themselves when their time is over.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::codec::Codec;
use crate::consumer::Delivery;
use crate::error::Error;
use crate::message::Message;
use crate::queue::Queue;
use crate::transaction::Transaction;

/// Header with the key under which the answer is awaited.
pub const REPLY_TO: &str = "quorate-reply-to";

/// How long an answer is kept for who asked: longer than anybody who is still waiting looks away.
const KEPT: Duration = Duration::from_secs(60);

impl<T, C: Codec<T>> Queue<T, C> {
    /// Publishes a message that asks for an answer, and waits for it: at most so long, in whole milliseconds. Whoever consumes it answers with
    /// [`Transaction::reply`]. The message expires when nobody waits for its answer any more. The answer is a value in JSON of at most 64 KiB.
    ///
    /// # Errors
    /// [`Error::OutOfTime`] if there was no answer in time: the request may have been worked on, and may still be if somebody holds it. As
    /// [`Transaction::commit`] if it could not be published; [`Error::WrongType`] if the answer is not of this type.
    pub async fn request<R: DeserializeOwned>(
        &self,
        message: impl Into<Message<T>>,
        at_most: Duration,
    ) -> Result<R, Error> {
        let (client, end) = (self.client(), Instant::now() + at_most);
        let mut drawn = [0; 16];
        client.router.random().fill(&mut drawn);
        let key = format!("reply/{}", drawn.map(|byte| format!("{byte:02x}")).concat());
        let message = message.into().header(REPLY_TO, key.clone()).ttl(at_most);
        client.transaction().publish(self, message).commit().await?;
        let left = end.saturating_duration_since(Instant::now());
        match client.state().wait(&key, 0, left).await? {
            Some(answer) => answer.json(),
            None => Err(Error::OutOfTime { waited: at_most, last: "nobody answered".into() }),
        }
    }
}

impl<T> Delivery<T> {
    /// Whether its publisher waits for an answer: see [`Transaction::reply`].
    pub fn wants_reply(&self) -> bool {
        self.reply_to().is_some()
    }

    fn reply_to(&self) -> Option<&str> {
        let header = self.meta.headers.iter().rfind(|(name, _)| name == REPLY_TO)?;
        std::str::from_utf8(&header.1).ok()
    }
}

impl Transaction {
    /// Acknowledges a message and answers it, with a value in JSON of at most 64 KiB. Refused if its lease is not current, or it has an answer. A
    /// message that asks for none is only acknowledged.
    pub fn reply<T>(self, delivery: &Delivery<T>, answer: &impl Serialize) -> Self {
        let acked = self.ack(delivery);
        match delivery.reply_to() {
            Some(key) => acked.require_absent(key).put_json_for(key, answer, Some(KEPT)),
            None => acked,
        }
    }
}
