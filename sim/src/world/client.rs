//! A host that uses the cluster.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use quorate_client::Client;

use super::links::Links;
use super::net::{client_name, node_name};
use super::random::Seeded;
use super::reach::Reach;
use super::{Gate, HostClock};
use crate::seed::Rng;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// A client's host. What runs on it is given by [`ClientHost::assign`].
pub(crate) struct ClientHost {
    id: usize,
    nodes: usize,
    pub(crate) clock: Arc<HostClock>,
    reach: Arc<Reach>,
    rng: RefCell<Rng>,
    work: RefCell<Option<Box<dyn Fn() -> Work>>>,
    lives: Cell<u32>,
    /// What this life runs on.
    runtime: Cell<Option<tokio::runtime::Id>>,
    /// How many want it to be.
    paused: Cell<u32>,
    /// Goes on with the work.
    waker: RefCell<Option<Waker>>,
}

impl ClientHost {
    pub(super) fn new(id: usize, nodes: usize, reach: Arc<Reach>, rng: Rng) -> Rc<Self> {
        Rc::new(ClientHost {
            id,
            nodes,
            clock: Arc::default(),
            reach,
            rng: RefCell::new(rng),
            work: RefCell::new(None),
            lives: Cell::new(0),
            runtime: Cell::new(None),
            paused: Cell::new(0),
            waker: RefCell::new(None),
        })
    }

    /// Stops its work where it is, or lets it go on. Time goes on meanwhile, and so do the timers of the client that it uses, as those
    /// of a node do (see [`Fault::Pause`](crate::plan::Fault::Pause)): whoever pauses the host holds what it sends and is sent.
    pub(crate) fn pause(&self, paused: bool) {
        let by = self.paused.get();
        self.paused.set(if paused { by + 1 } else { by.saturating_sub(1) });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Does the work, but for the time in which the host is paused.
    async fn work_on(&self, mut work: Work) {
        std::future::poll_fn(|context| {
            if self.paused.get() > 0 {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            work.as_mut().poll(context)
        })
        .await;
    }

    pub(crate) fn name(&self) -> String {
        client_name(self.id)
    }

    /// Says what the host does from its next start on.
    pub(crate) fn assign<F: Future<Output = ()> + 'static>(&self, work: impl Fn() -> F + 'static) {
        *self.work.borrow_mut() = Some(Box::new(move || Box::pin(work())));
    }

    pub(super) fn stop(&self) {
        *self.work.borrow_mut() = None;
    }

    /// What it runs on.
    pub(crate) fn runtime(&self) -> Option<tokio::runtime::Id> {
        self.runtime.get()
    }

    /// How often its process was started.
    pub(crate) fn lives(&self) -> u32 {
        self.lives.get()
    }

    /// Choices for what runs on it.
    pub(crate) fn rng(&self) -> Rng {
        self.rng.borrow_mut().fork()
    }

    /// A client of the cluster. It knows some of the nodes.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<Client, quorate_client::Error> {
        self.connect_with(timeout, Seeded::new(self.rng()))
    }

    /// As [`ClientHost::connect`], with a randomness of the caller's.
    pub(crate) fn connect_with(
        &self,
        timeout: Duration,
        random: impl quorate_client::Random,
    ) -> Result<Client, quorate_client::Error> {
        let mut rng = self.rng();
        let mut known: Vec<usize> = (0..self.nodes).collect();
        rng.shuffle(&mut known);
        // A majority, since a minority may be gone for good.
        known.truncate(rng.between(self.nodes as u64 / 2 + 1, self.nodes as u64) as usize);
        Client::builder()
            .endpoints(known.into_iter().map(|id| format!("http://{}:7400", node_name(id))))
            .timeout(timeout)
            .connector(Links {
                gate: Gate::default(),
                reach: Arc::clone(&self.reach),
                host: self.nodes + self.id,
            })
            .random(random)
            .build()
    }

    pub(super) async fn live(self: Rc<Self>) -> turmoil::Result {
        self.lives.set(self.lives.get() + 1);
        self.runtime.set(Some(tokio::runtime::Handle::current().id()));
        let work = self.work.borrow().as_ref().map(|work| work());
        if let Some(work) = work {
            self.work_on(work).await;
        }
        pending().await
    }
}
