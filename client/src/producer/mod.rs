//! Publishing: every message enters its queue once, in the order of [`Producer::send`].

mod actor;
mod close;
mod ledger;
mod stream;

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::client::Client;
use crate::codec::Codec;
use crate::error::Error;
use crate::leader::Failed;
use crate::message::{Encoder, Message};
use crate::random;
use crate::settings::millis;
use crate::trace::Tracer;

use actor::{Actor, Command};
use ledger::{Cutting, Item, Ledger};

/// Largest window, in messages.
const WINDOW_MAX: u32 = 262_144;
/// Most messages that the wire allows in a batch.
const BATCH_MESSAGES_MAX: usize = 4096;
/// Largest batch, in bytes; a single message may be larger.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No encoded message is longer, in bytes; one that is would not be read. The exact limits are the server's to say.
const MESSAGE_BYTES_MAX: usize = 17 * 1024 * 1024;
/// The longest that a message waits for others.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// The message is on the disks of a majority.
///
/// ```no_run
/// # use quorate_client::{Error, Json, Producer, Receipt};
/// # async fn example(producer: Producer<u64, Json>) -> Result<(), Error> {
/// let Receipt { position, duplicate } = producer.publish(7).await?;
/// println!("{position}{}", if duplicate { ", which was there already" } else { "" });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its position in the queue.
    pub position: u64,
    /// Whether the queue already held it from an attempt whose answer was lost.
    pub duplicate: bool,
}

/// Settings of a [`Producer`].
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client, lines: Vec<String>) -> Result<(), Error> {
/// let imports = client.queue::<String>("imports");
/// // After a crash, the same name tells how far it got.
/// let producer = imports.producer().session("import-2024").linger(Duration::from_millis(5)).open().await?;
/// for line in lines.iter().skip(producer.last_seq() as usize) {
///     producer.send(line.clone()).await?.await?;
/// }
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct ProducerBuilder<T, C> {
    client: Client,
    queue: String,
    codec: C,
    session: Option<String>,
    ttl: Option<Duration>,
    window: u32,
    window_bytes: usize,
    batch_messages: usize,
    batch_bytes: usize,
    linger: Duration,
    of: PhantomData<fn() -> T>,
}

impl<T, C> ProducerBuilder<T, C> {
    pub(crate) fn new(client: Client, queue: String, codec: C) -> Self {
        Self {
            client,
            queue,
            codec,
            session: None,
            ttl: None,
            window: 1024,
            window_bytes: 64 * 1024 * 1024,
            batch_messages: 256,
            batch_bytes: 256 * 1024,
            linger: Duration::ZERO,
            of: PhantomData,
        }
    }

    /// Name of the session, 1 to 128 bytes, unique in the namespace. Opening it again fences whoever held it
    /// before and tells through [`Producer::last_seq`] how much of it was stored. Default: a random name.
    #[must_use]
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session = Some(name.into());
        self
    }

    /// How long the session is remembered without use, 1 s to 30 days. Default one hour. A producer that is open uses it by itself, so this is how
    /// long its process may be away.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Most messages without a receipt, 1 to 262,144. Default 1024.
    #[must_use]
    pub fn window(mut self, messages: u32) -> Self {
        self.window = messages;
        self
    }

    /// Most bytes without a receipt, at least 1. A single message may be larger. Default 64 MiB.
    #[must_use]
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// Most messages in a batch, 1 to 4096. Default 256. Nothing waits for a batch to fill unless [`linger`](Self::linger) says so: what is
    /// handed in while the connection is busy goes together.
    #[must_use]
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.batch_messages = messages;
        self
    }

    /// Most bytes in a batch, 1 to 16 MiB. A single message may be larger. Default 256 KiB.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How long a message waits for others to fill its batch, 0 to 10 s. Default 0. More of it makes batches larger, which costs less for each
    /// message, and receipts later. [`Producer::flush`] and [`Producer::close`] wait for nothing.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |text: &str| Err(Error::Config(text.to_owned()));
        match self {
            _ if !(1..=WINDOW_MAX).contains(&self.window) => bad("window: 1 to 262144 messages"),
            _ if self.window_bytes == 0 => bad("window_bytes: at least 1"),
            _ if !(1..=BATCH_MESSAGES_MAX).contains(&self.batch_messages) => {
                bad("batch_messages: 1 to 4096 messages")
            }
            _ if !(1..=BATCH_BYTES_MAX).contains(&self.batch_bytes) => bad("batch_bytes: 1 to 16 MiB"),
            _ if self.linger > LINGER_MAX => bad("linger: at most 10 s"),
            _ => Ok(()),
        }
    }
}

impl<T, C: Codec<T>> ProducerBuilder<T, C> {
    /// Opens the session.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range; reasons `INVALID`, `UNKNOWN_NAMESPACE`,
    /// `LIMIT_REACHED`; [`Error::NoLeader`]; [`Error::Unknown`]: a session that was opened without an answer expires
    /// by itself.
    pub async fn open(self) -> Result<Producer<T, C>, Error> {
        self.check()?;
        let session = self.session.unwrap_or_else(|| random::name(self.client.router.random()));
        let opener = stream::Opener::new(&self.client, session.clone(), millis("ttl", self.ttl)?);
        let opening = opener.open(Instant::now() + self.client.timeout).await;
        let stream = opening.map_err(Failed::of_change)?;
        let last_seq = stream.opened.last_seq;
        let window_bytes = u32::try_from(self.window_bytes).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            messages: Semaphore::new(self.window as usize),
            bytes: Semaphore::new(window_bytes as usize),
            failed: Mutex::new(None),
        });
        let (commands, inbox) = mpsc::unbounded_channel();
        let cutting = Cutting {
            messages: self.batch_messages,
            bytes: self.batch_bytes,
            linger: self.linger,
            window: (self.window as usize, window_bytes as usize),
        };
        let ledger = Ledger::new(last_seq, cutting);
        let queue: Arc<str> = self.queue.as_str().into();
        let actor = Actor::new(opener, self.queue, ledger, inbox, shared.clone(), self.client.timeout);
        let task = tokio::spawn(actor.run(stream));
        Ok(Producer {
            encoder: Mutex::new(Encoder::new(self.codec.content_type())),
            codec: self.codec,
            queue,
            tracer: self.client.tracer.clone(),
            session,
            last_seq,
            timeout: self.client.timeout,
            window: self.window,
            window_bytes,
            shared,
            commands,
            task,
            of: PhantomData,
        })
    }
}

/// What the producer and its task share.
struct Shared {
    /// Room in the window. Permits are forgotten when taken and given back with the receipts.
    messages: Semaphore,
    bytes: Semaphore,
    /// Why the producer came to its end.
    failed: Mutex<Option<Error>>,
}

impl Shared {
    fn failure(&self) -> Error {
        self.failed.lock().clone().unwrap_or(Error::Closed("producer"))
    }
}

/// An open producer session. Messages are stored in the order in which `send` was called, each once, whatever
/// happens to leaders and connections meanwhile.
///
/// If a message has no receipt when the client's timeout has passed since its `send`, the producer fails: that
/// message and all after it end with [`Error::Unknown`] (if they were sent) or the reason why they could not be
/// sent, in order, so nothing later is stored in front of a gap. Opening the session again by its name tells how far it got.
/// So it does when a message that was stored without a receipt is refused one for good, since its queue is gone.
///
/// Dropping it stops at once and leaves the session to expire on the server; [`Producer::close`] is the orderly end.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let producer = client.queue::<u64>("orders").producer().open().await?;
/// let receipt = producer.publish(7).await?; // stored, on the disks of a majority
/// println!("at {}", receipt.position);
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Producer<T, C> {
    codec: C,
    queue: Arc<str>,
    tracer: Arc<dyn Tracer>,
    encoder: Mutex<Encoder>,
    session: String,
    last_seq: u64,
    timeout: Duration,
    window: u32,
    window_bytes: u32,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
    of: PhantomData<fn() -> T>,
}

impl<T, C: Codec<T>> Producer<T, C> {
    /// Hands a message in, and waits until it is stored. Messages that are published one by one like this travel one by one: where there are many,
    /// [`Producer::send`] them.
    ///
    /// # Errors
    /// As [`Producer::send`] and [`Pending`].
    pub async fn publish(&self, message: impl Into<Message<T>>) -> Result<Receipt, Error> {
        self.send(message).await?.await
    }

    /// Hands a message in, waiting for room in the window. The result is a future of its own: keep it, and
    /// await it when the receipt matters.
    ///
    /// Its place in the order is that of the first poll of this future: one that was polled once and then left alone while others are handed in keeps
    /// its place before them, and they wait for it. Cancel safe: if this future is dropped, the message was not handed in.
    ///
    /// ```no_run
    /// # use quorate_client::{Error, Json, Producer};
    /// # async fn example(producer: Producer<u64, Json>) -> Result<(), Error> {
    /// let mut pending = Vec::new();
    /// for number in 1..=1000 {
    ///     pending.push(producer.send(number).await?); // on its way, together with others
    /// }
    /// for receipt in pending {
    ///     println!("stored at {}", receipt.await?.position); // on the disks of a majority
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`]; or why the producer failed earlier.
    pub async fn send(&self, message: impl Into<Message<T>>) -> Result<Pending, Error> {
        self.hand_in(message.into()).instrument(tracing::debug_span!("publish", queue = &*self.queue)).await
    }

    async fn hand_in(&self, mut message: Message<T>) -> Result<Pending, Error> {
        if let Some(context) = self.tracer.current() {
            context.put_into(&mut message.meta);
        }
        let body = self.codec.encode(&message.value).map_err(Error::Encode)?;
        let message = self.encoder.lock().encode(message.meta, body);
        if message.len() > MESSAGE_BYTES_MAX {
            let problem =
                format!("{} bytes with all that belongs to it; a body has at most 16 MiB", message.len());
            return Err(Error::Encode(problem));
        }
        let bytes = ledger::bytes(&message);
        let closed = |_| self.shared.failure();
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.window_bytes);
        let room = self.shared.messages.acquire().await.map_err(closed)?;
        let room_bytes = self.shared.bytes.acquire_many(share).await.map_err(closed)?;
        let (reply, receipt) = oneshot::channel();
        let handed_in = Instant::now();
        let item = Item { message, share, handed_in, deadline: handed_in + self.timeout, reply };
        self.commands.send(Command::Send(item)).map_err(|_| self.shared.failure())?;
        room.forget();
        room_bytes.forget();
        Ok(Pending { receipt })
    }
}

impl<T, C> Producer<T, C> {
    /// The session's name.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// How many messages the session had stored when this producer opened it: those of earlier holders.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Waits until everything handed in so far has its receipt or its error.
    ///
    /// # Errors
    /// Why the producer failed. A message that was refused on its own shows only in its [`Pending`].
    pub async fn flush(&self) -> Result<(), Error> {
        let _ = self.commands.send(Command::Flush); // if it is over, the window says why
        // The semaphore is fair: the whole window becomes free when all that came before has been answered.
        let all = self.shared.messages.acquire_many(self.window).await;
        all.map(drop).map_err(|_| self.shared.failure())
    }

    /// Flushes, then ends the session on the server, which forgets its name.
    ///
    /// # Errors
    /// As [`Producer::flush`]; reason `PRODUCER_FENCED`; [`Error::NoLeader`] if the end could not be told to a leader
    /// in time, [`Error::Unknown`] if it was and no answer came: everything handed in has its receipt nevertheless,
    /// and the session expires by itself.
    pub async fn close(self) -> Result<(), Error> {
        self.flush().await?;
        let (reply, closed) = oneshot::channel();
        let deadline = Instant::now() + self.timeout;
        self.commands.send(Command::Close { reply, deadline }).map_err(|_| self.shared.failure())?;
        closed.await.unwrap_or_else(|_| Err(self.shared.failure()))
    }
}

impl<T, C> Drop for Producer<T, C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A message on its way: resolves to its [`Receipt`], or to what became of it.
///
/// ```no_run
/// # use quorate_client::{Error, Json, Producer};
/// # async fn example(producer: Producer<u64, Json>) -> Result<(), Error> {
/// let (first, second) = (producer.send(1).await?, producer.send(2).await?);
/// println!("{} and {}", first.await?.position, second.await?.position);
/// # Ok(())
/// # }
/// ```
#[must_use = "whether the message was stored shows only here"]
#[derive(Debug)]
pub struct Pending {
    receipt: oneshot::Receiver<Result<Receipt, Error>>,
}

impl Future for Pending {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The task answers everything before it ends; it was aborted by the producer's drop.
        Pin::new(&mut self.receipt).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| Err(Error::Unknown { cause: Box::new(Error::Closed("producer")) }))
        })
    }
}
