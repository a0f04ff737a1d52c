//! A bound on the connections of one port.
//!
//! Each connection has a slot. When all are taken, a new connection takes the slot of the one that has been idle for
//! longest: it has no call open, so that its client loses nothing but has to connect again. If none is idle, the new one is
//! closed. So neither connections that say nothing nor any number of them keep others out, and the ports do not take each
//! other's descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A connection without a call is closed after this long. Pings of HTTP/2 are no use of it.
pub const IDLE_MAX: Duration = Duration::from_secs(300);
/// Connections that are refused are counted, and told of this often at most.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// The slots of a port. Clones share them.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    /// Who connects there, for the log.
    whose: &'static str,
    max: usize,
    idle_max: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    open: BTreeMap<u64, Open>,
    /// Those without a call, by the time since when.
    idle: BTreeSet<(Instant, u64)>,
    refused: u64,
    told: Option<Instant>,
}

struct Open {
    ending: Arc<Ending>,
    calls: usize,
    /// Since when it has had none.
    idle_since: Instant,
}

/// How a connection is told to end.
#[derive(Default)]
struct Ending {
    is_over: AtomicBool,
    waker: AtomicWaker,
}

/// The slot of one connection, until it is dropped.
pub struct Slot {
    shared: Arc<Shared>,
    id: u64,
    ending: Arc<Ending>,
    /// A message of it waits for its budget.
    waits: AtomicBool,
}

/// That a message of a connection waits, until it is dropped.
pub(super) struct Wait(Arc<Slot>);

/// A call on a connection, until it is dropped.
pub struct Call(Arc<Slot>);

impl Slots {
    /// So many slots for the connections of `whose`.
    pub fn new(whose: &'static str, max: usize) -> Self {
        Self::with_idle_max(whose, max, IDLE_MAX)
    }

    fn with_idle_max(whose: &'static str, max: usize, idle_max: Duration) -> Self {
        Self(Arc::new(Shared { whose, max: max.max(1), idle_max, table: Mutex::default() }))
    }

    /// A slot for a new connection; `None` if all are taken by connections that are in use.
    pub fn take(&self) -> Option<Arc<Slot>> {
        let now = Instant::now();
        let mut table = self.0.table.lock();
        if table.open.len() >= self.0.max && !table.end_idle(now) {
            table.refuse(self.0.whose, self.0.max, now);
            return None;
        }
        table.last_id += 1;
        let (id, ending) = (table.last_id, Arc::new(Ending::default()));
        table.open.insert(id, Open { ending: Arc::clone(&ending), calls: 0, idle_since: now });
        table.idle.insert((now, id));
        Some(Arc::new(Slot { shared: Arc::clone(&self.0), id, ending, waits: AtomicBool::new(false) }))
    }

    /// Ends the connections that have been idle for too long.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut table = self.0.table.lock();
        while table.idle.first().is_some_and(|(since, _)| now.duration_since(*since) >= self.0.idle_max) {
            table.end_idle(now);
        }
    }

    #[cfg(test)]
    fn open(&self) -> usize {
        self.0.table.lock().open.len()
    }
}

impl Table {
    /// Ends the connection that has been idle for longest. False if none is idle.
    fn end_idle(&mut self, now: Instant) -> bool {
        let Some((since, id)) = self.idle.pop_first() else { return false };
        if let Some(open) = self.open.remove(&id) {
            tracing::debug!(idle = ?now.duration_since(since), "an idle connection is closed");
            open.ending.is_over.store(true, Ordering::Release);
            open.ending.waker.wake();
        }
        true
    }

    fn refuse(&mut self, whose: &str, max: usize, now: Instant) {
        self.refused += 1;
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_INTERVAL) {
            self.told = Some(now);
            let refused = std::mem::take(&mut self.refused);
            tracing::warn!(max, refused, "all connections for {whose} are in use: new ones are closed");
        }
    }
}

impl Slot {
    /// Whether the connection has to end; if not, the task is woken when it has to.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> bool {
        self.ending.waker.register(cx.waker());
        self.ending.is_over.load(Ordering::Acquire)
    }

    /// The right to let a message wait. One at a time has it: what is not read of a message takes up half of what a connection may send
    /// ahead, and two that wait would be all that its other calls have.
    pub(super) fn wait(self: &Arc<Self>) -> Option<Wait> {
        (!self.waits.swap(true, Ordering::AcqRel)).then(|| Wait(Arc::clone(self)))
    }

    /// Begins a call.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        let mut table = self.shared.table.lock();
        if let Some(open) = table.open.get_mut(&self.id) {
            open.calls += 1;
            let was = (open.idle_since, self.id);
            table.idle.remove(&was);
        }
        drop(table);
        Call(Arc::clone(self))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.waits.store(false, Ordering::Release);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut table = self.0.shared.table.lock();
        let id = self.0.id;
        let Some(open) = table.open.get_mut(&id) else { return };
        open.calls -= 1;
        if open.calls == 0 {
            open.idle_since = Instant::now();
            let since = open.idle_since;
            table.idle.insert((since, id));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        if let Some(open) = table.open.remove(&self.id) {
            table.idle.remove(&(open.idle_since, self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(slot: &Slot) -> bool {
        slot.poll_over(&mut Context::from_waker(futures::task::noop_waker_ref()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_takes_the_place_of_the_longest_idle_one() {
        let slots = Slots::new("tests", 3);
        let used = slots.take().expect("a slot");
        let call = used.call();
        tokio::time::advance(Duration::from_secs(1)).await;
        let idle = slots.take().expect("a slot");
        tokio::time::advance(Duration::from_secs(1)).await;
        let younger = slots.take().expect("a slot");
        let fourth = slots.take().expect("the idle one's");
        assert!(is_over(&idle) && !is_over(&used) && !is_over(&younger) && !is_over(&fourth));
        assert_eq!(slots.open(), 3);
        // The call has ended just now: of all, this one has been idle for the shortest time.
        drop(call);
        tokio::time::advance(Duration::from_secs(1)).await;
        let _calls = (younger.call(), fourth.call());
        let fifth = slots.take().expect("that one's");
        assert!(is_over(&used) && !is_over(&fifth));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_in_use_a_new_one_is_refused_until_one_goes() {
        let slots = Slots::new("tests", 2);
        let (one, two) = (slots.take().expect("a slot"), slots.take().expect("a slot"));
        let calls = (one.call(), two.call(), two.call());
        assert!(slots.take().is_none() && slots.take().is_none());
        drop(calls.1);
        assert!(slots.take().is_none(), "it has another call");
        drop(one);
        assert_eq!(slots.open(), 2, "its call holds it");
        drop(calls.0);
        assert!(slots.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_too_long_is_swept_and_what_is_in_use_is_not() {
        let slots = Slots::with_idle_max("tests", 9, Duration::from_secs(10));
        let (idle, used) = (slots.take().expect("a slot"), slots.take().expect("a slot"));
        let call = used.call();
        tokio::time::advance(Duration::from_secs(9)).await;
        slots.sweep();
        assert!(!is_over(&idle));
        tokio::time::advance(Duration::from_secs(1)).await;
        slots.sweep();
        assert!(is_over(&idle) && !is_over(&used));
        drop((call, idle));
        tokio::time::advance(Duration::from_secs(10)).await;
        slots.sweep();
        assert!(is_over(&used));
        assert_eq!(slots.open(), 0);
    }
}
