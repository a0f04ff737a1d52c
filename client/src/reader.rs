//! Reading a queue like a log, without leasing anything.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::queues_client::QueuesClient;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::message::{Meta, from_wire};
use crate::settings::Start;
use crate::status::{Verdict, judge};

/// After so long without a word the leader is asked whether it is there.
const IDLE: Duration = Duration::from_secs(2);

/// A message as it is stored.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Start};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let mut reader = client.queues().read("orders", Start::Earliest, 1, false);
/// if let Some(first) = reader.next().await.transpose()? {
///     println!("{} at {}", first.json::<u64>()?, first.position);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its position in the queue.
    pub position: u64,
    /// When it was published, in milliseconds since 1970 by the cluster's clock.
    pub published_at_ms: u64,
    /// The positions before this one, and after the last that was read, that are not stored any more. Where a queue retains only the latest message of
    /// each key, what a later one superseded is not among them, as far as it can be told from what left for another reason.
    pub missing: Vec<Range<u64>>,
    /// Id, key, subject, headers and the like.
    pub meta: Meta,
    /// MIME type of the body; empty means unspecified.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl StoredMessage {
    /// The body, from JSON.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::WrongType {
            what: format!("the body of message {}", self.position),
            problem: error.to_string(),
        })
    }
}

/// Reads the messages that a queue stores, in the order of their positions. Goes on where it was after the leader has changed.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Start};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let mut reader = client.queues().read("orders", Start::Earliest, 0, true);
/// while let Some(message) = reader.next().await {
///     let message = message?;
///     println!("{}: {} bytes", message.position, message.body.len());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    client: Client,
    request: v1::ReadRequest,
    stream: Option<Streaming<v1::ReadResponse>>,
    leader: Option<crate::connect::Address>,
    ready: VecDeque<v1::StoredMessage>,
    /// What is missing and was not told yet, in the order of the positions.
    missing: VecDeque<Range<u64>>,
    /// Where the next part begins; 0 before the first one.
    next: u64,
    backoff: Backoff,
    ended: bool,
}

impl Reader {
    pub(crate) fn new(client: Client, queue: &str, start: Start, count: u64, follow: bool) -> Self {
        let request = v1::ReadRequest {
            namespace: client.namespace.to_string(),
            queue: queue.to_owned(),
            start: Some(start.to_wire()),
            count,
            follow,
        };
        Self {
            client,
            request,
            stream: None,
            leader: None,
            ready: VecDeque::new(),
            missing: VecDeque::new(),
            next: 0,
            backoff: Backoff::new(),
            ended: false,
        }
    }

    /// The next message; `None` at the end, which a reader that follows never comes to. Cancel safe.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `OUT_OF_RANGE` (a position beyond the end), `INVALID`; [`Error::NoLeader`] if there is none for the
    /// client's timeout. After an error the reader tries again where it was.
    pub async fn next(&mut self) -> Option<Result<StoredMessage, Error>> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                return Some(self.take(stored));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill().await {
                return Some(Err(error));
            }
        }
    }

    /// The positions after the last message that was read that are known not to be stored any more: what [`StoredMessage::missing`] says if there
    /// is no message after them.
    pub fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        let before = self.ready.front().map_or(u64::MAX, |stored| stored.position);
        self.missing.iter().filter(move |range| range.start < before).cloned()
    }

    fn take(&mut self, stored: v1::StoredMessage) -> Result<StoredMessage, Error> {
        let v1::StoredMessage { position, published_at_ms, message } = stored;
        let mut missing = Vec::new();
        while let Some(range) = self.missing.pop_front_if(|range| range.start < position) {
            missing.push(range);
        }
        if self.request.count > 0 {
            self.request.count -= 1;
            self.ended = self.request.count == 0;
        }
        let (meta, body, content_type) = from_wire(message)
            .map_err(|e| Error::Protocol(format!("message {position} cannot be read: {e}")))?;
        Ok(StoredMessage { position, published_at_ms, missing, meta, content_type, body })
    }

    /// Waits for the next part.
    async fn fill(&mut self) -> Result<(), Error> {
        if self.stream.is_none() {
            self.open().await?;
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let Ok(part) = tokio::time::timeout(IDLE, stream.message()).await else {
            // Nothing new, or nobody there.
            if let Some(leader) = &self.leader
                && self.client.router.gone_from(leader).await
            {
                self.stream = None;
            }
            return Ok(());
        };
        match part {
            Ok(Some(part)) => {
                self.backoff.reset();
                self.next = part.next;
                for gap in part.missing {
                    match self.missing.back_mut() {
                        Some(last) if last.end == gap.from => last.end = gap.to,
                        _ => self.missing.push_back(gap.from..gap.to),
                    }
                }
                self.ready.extend(part.messages);
                Ok(())
            }
            Ok(None) => {
                // At the end, unless it was to go on.
                self.ended = !self.request.follow;
                self.stream = None;
                Ok(())
            }
            Err(status) => {
                self.stream = None;
                let router = &self.client.router;
                match (judge(&status), &self.leader) {
                    (Verdict::Certain(error), _) => return Err(error),
                    (Verdict::Elsewhere { leader, answer }, Some(known)) => {
                        router.lost(known, leader, answer)
                    }
                    (Verdict::Again { answer, .. }, Some(known)) => router.lost(known, None, answer),
                    _ => {}
                }
                tokio::time::sleep(self.backoff.wait(router.random()).min(Duration::from_secs(1))).await;
                Ok(())
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        if self.next > 0 {
            self.request.start = Some(Start::Position(self.next).to_wire());
        }
        let request = self.request.clone();
        let ask = |channel| {
            let request = request.clone();
            async move {
                let mut client = QueuesClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
                Ok(client.read(request).await?.into_inner())
            }
        };
        let deadline = Instant::now() + self.client.timeout;
        let opened = self.client.router.call(deadline, ask).await.map_err(|failed| failed.error)?;
        self.leader = Some(opened.leader);
        self.stream = Some(opened.value);
        Ok(())
    }
}
