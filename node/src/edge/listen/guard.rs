//! A connection that ends when its slot is taken away, or when it does not say soon what it wants.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_raft::transport::BoxedIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::slots::Slot;

/// A connection has this long to send its first bytes.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub struct Guarded {
    io: BoxedIo,
    slot: Arc<Slot>,
    /// Until the first bytes are there.
    greeting: Option<Greeting>,
}

struct Greeting {
    missing_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Guarded {
    pub(super) fn new(io: BoxedIo, slot: Arc<Slot>, greeting_bytes: usize) -> Self {
        let deadline = Box::pin(tokio::time::sleep(GREETING_TIMEOUT));
        Self { io, slot, greeting: Some(Greeting { missing_bytes: greeting_bytes, deadline }) }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.slot.poll_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(greeting) = &mut this.greeting else { return Pin::new(&mut this.io).poll_read(cx, buf) };
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        greeting.missing_bytes = greeting.missing_bytes.saturating_sub(buf.filled().len() - before);
        if greeting.missing_bytes == 0 {
            this.greeting = None;
        } else if read.is_pending() && greeting.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl Connected for Guarded {
    type ConnectInfo = Arc<Slot>;

    fn connect_info(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::edge::listen::slots::Slots;

    fn guarded(slots: &Slots) -> (tokio::io::DuplexStream, Guarded) {
        let (client, server) = tokio::io::duplex(64);
        (client, Guarded::new(Box::new(server), slots.take().expect("a slot"), 4))
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_what_it_wants_is_closed() {
        let slots = Slots::new("tests", 9);
        let (mut client, mut server) = guarded(&slots);
        client.write_all(b"abc").await.expect("room");
        let mut bytes = [0; 4];
        let read = server.read_exact(&mut bytes).await;
        assert_eq!(read.expect_err("one byte is missing").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_bytes_it_may_say_nothing() {
        let slots = Slots::new("tests", 9);
        let (mut client, mut server) = guarded(&slots);
        client.write_all(b"abcd").await.expect("room");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.expect("four bytes");
        let more = tokio::time::timeout(100 * GREETING_TIMEOUT, server.read_exact(&mut bytes)).await;
        assert!(more.is_err(), "it still waits");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_its_slot_goes_to_another() {
        let slots = Slots::new("tests", 1);
        let (mut client, mut server) = guarded(&slots);
        client.write_all(b"abcd").await.expect("room");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.expect("four bytes");
        let waits = tokio::spawn(async move { server.read_exact(&mut [0; 4]).await });
        tokio::task::yield_now().await;
        let _other = slots.take().expect("its slot");
        let read = waits.await.expect("no panic");
        assert_eq!(read.expect_err("it is over").kind(), io::ErrorKind::ConnectionAborted);
    }
}
