//! A machine with a clock, for tests that read like the rules they check.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::{
    Attach, Batch, Command, CreateQueue, Credit, DeleteQueue, Detach, OpenProducer, Order,
    Outcome as Settled, Publish, Settings, Settle, SettleRange, Tick, Verb,
};
use quorate_machine::effect::Effect;
use quorate_machine::limits::{ENTRY_ROWS, SETTLE_MESSAGES_MAX};
use quorate_machine::message::Message;
use quorate_machine::read::{self, Stat};
use quorate_machine::reply::{Attached, NotSettled, Outcome, PositionRun, ProducerOpened, Refusal, Reply};
use quorate_machine::{Applied, MemoryStore, apply_within, check};

pub const LEASE_MS: u64 = 1000;
pub const BACKOFF_MS: u64 = 100;

/// A message in someone's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    pub consumer: u64,
    pub position: u64,
    pub token: u64,
    pub attempt: u32,
}

#[derive(Default)]
pub struct World {
    pub store: MemoryStore,
    pub clock_ms: u64,
    /// What the last entry brought about.
    pub last: Option<Applied>,
    /// Skips the check after each entry: it scans, which large states cannot have thousands of times.
    pub unchecked: bool,
    /// What an entry may do before it leaves the rest, if not what it may in production.
    pub rows_max: Option<u64>,
}

/// What names a holder of a producer session.
pub fn holder(by: u8) -> Bytes {
    Bytes::from(vec![by; 16])
}

pub fn publish(queue: &str, session: (u64, u64), first_seq: u64, bodies: &[&str]) -> Publish {
    let message = |body: &&str| {
        Message { body: Bytes::copy_from_slice(body.as_bytes()), ..Message::default() }.encode_to_vec()
    };
    let messages: Vec<Vec<u8>> = bodies.iter().map(message).collect();
    let (lengths, messages) = Publish::pack(&messages);
    Publish {
        namespace: "default".into(),
        queue: queue.into(),
        producer: session.0,
        epoch: session.1,
        first_seq,
        acked_seq: 0,
        lengths,
        messages,
        attributes: 0,
    }
}

pub fn range(first: Got, count: u32, outcome: Settled) -> SettleRange {
    SettleRange {
        first_position: first.position,
        count,
        first_token: first.token,
        outcome: outcome.into(),
        delay_ms: 0,
        reason: 0,
    }
}

/// CPU time of this thread so far, whatever else the machine is at.
pub fn cpu_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let on_cpu = stat.split(' ').next().and_then(|text| text.parse().ok()).expect("it begins with a number");
    std::time::Duration::from_nanos(on_cpu)
}

impl World {
    /// Another that goes on from the same state.
    pub fn again(&self) -> Self {
        let (store, clock_ms, unchecked) = (self.store.clone(), self.clock_ms, self.unchecked);
        Self { store, clock_ms, unchecked, ..Self::default() }
    }

    pub fn new() -> Self {
        Self { clock_ms: 1_000_000, ..Self::default() }
    }

    /// With a queue named `jobs`.
    pub fn with_queue(order: Order) -> Self {
        let mut world = Self::new();
        world.create("jobs", order).expect("the name is free");
        world
    }

    /// Applies one entry and checks every invariant after it.
    pub fn entry(&mut self, verbs: Vec<Verb>) -> Vec<Outcome> {
        let commands = verbs.into_iter().map(Command::from).collect();
        let applied = apply_within(
            &mut self.store,
            &Batch::new(self.clock_ms, commands).encode(),
            self.rows_max.unwrap_or(ENTRY_ROWS),
        )
        .expect("memory works");
        if !self.unchecked {
            check::check(&self.store).expect("the state is sound");
        }
        let replies = applied.replies.clone();
        self.last = Some(applied);
        replies
    }

    /// [`World::one`], carried out so many times from the same state, with the CPU time that it takes on average: the kernel counts in steps of some milliseconds.
    pub fn measured(&mut self, verb: Verb, times: usize) -> (Outcome, std::time::Duration) {
        let rows_max = self.rows_max.unwrap_or(ENTRY_ROWS);
        let entry = Batch::new(self.clock_ms, vec![Command::from(verb)]).encode();
        let mut copies = vec![self.store.clone(); times];
        let start = cpu_time();
        let mut last = None;
        for store in &mut copies {
            last = Some(apply_within(store, &entry, rows_max).expect("memory works"));
        }
        let time = (cpu_time() - start) / times.max(1) as u32;
        let applied = last.expect("it was carried out");
        self.store = copies.swap_remove(0);
        let reply = applied.replies[0].clone();
        self.last = Some(applied);
        (reply, time)
    }

    pub fn one(&mut self, verb: Verb) -> Outcome {
        self.entry(vec![verb]).remove(0)
    }

    pub fn after(&mut self, ms: u64) -> &mut Self {
        self.clock_ms += ms;
        self
    }

    /// Rows that the last entry touched.
    pub fn rows(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.rows)
    }

    /// Whether a tick has something to do.
    pub fn is_due(&self) -> bool {
        self.last
            .as_ref()
            .and_then(|last| last.next_deadline_ms)
            .is_some_and(|due_ms| due_ms <= self.clock_ms)
    }

    pub fn tick(&mut self) {
        assert_eq!(self.one(Verb::Tick(Tick {})), Ok(Reply::Done));
    }

    pub fn create(&mut self, name: &str, order: Order) -> Outcome {
        let settings = Settings {
            order: order.into(),
            lease_ms: LEASE_MS,
            backoff_first_ms: BACKOFF_MS,
            backoff_last_ms: 4 * BACKOFF_MS,
            jitter_percent: Some(0),
            ..Settings::default()
        };
        self.create_with(name, settings)
    }

    pub fn create_with(&mut self, name: &str, settings: Settings) -> Outcome {
        self.one(Verb::CreateQueue(CreateQueue { name: name.into(), settings, ..CreateQueue::default() }))
    }

    pub fn delete(&mut self, name: &str) -> Outcome {
        self.one(Verb::DeleteQueue(DeleteQueue { namespace: String::new(), name: name.into() }))
    }

    pub fn open(&mut self, name: &str) -> ProducerOpened {
        match self.open_as(name, 0, 0) {
            Ok(Reply::ProducerOpened(opened)) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// Opens or resumes a producer session for one of many holders.
    pub fn open_as(&mut self, name: &str, by: u8, resume: u64) -> Outcome {
        let (namespace, session) = (String::new(), name.into());
        self.one(Verb::OpenProducer(OpenProducer {
            namespace,
            session,
            ttl_ms: 5000,
            holder: holder(by),
            resume,
        }))
    }

    /// Publishes without a session.
    pub fn publish(&mut self, bodies: &[&str]) -> Vec<PositionRun> {
        match self.one(Verb::Publish(publish("jobs", (0, 0), 0, bodies))) {
            Ok(Reply::Published { positions, .. }) => positions,
            other => panic!("{other:?}"),
        }
    }

    pub fn attach(&mut self, name: u8, credit: u32) -> Attached {
        match self.one(attach("jobs", name, credit)) {
            Ok(Reply::Attached(attached)) => attached,
            other => panic!("{other:?}"),
        }
    }

    pub fn detach(&mut self, session: &Attached) -> Outcome {
        self.one(Verb::Detach(Detach { consumer: session.consumer, generation: session.generation }))
    }

    pub fn credit(&mut self, session: &Attached, credit: u32) -> Outcome {
        let (consumer, generation) = (session.consumer, session.generation);
        self.one(Verb::Credit(Credit { consumer, generation, credit }))
    }

    pub fn settle(&mut self, consumer: u64, ranges: Vec<SettleRange>) -> Vec<NotSettled> {
        match self.one(Verb::Settle(Settle { consumer, ranges, ..Settle::default() })) {
            Ok(Reply::Settled(settled)) => settled.refused,
            other => panic!("{other:?}"),
        }
    }

    /// Settles one message that is leased, by whom it was given to.
    pub fn settle_one(&mut self, got: Got, outcome: Settled) {
        assert_eq!(self.settle(got.consumer, vec![range(got, 1, outcome)]), vec![]);
    }

    /// What the last entry handed out, message by message.
    pub fn got(&self) -> Vec<Got> {
        self.moved(|effect| matches!(effect, Effect::Assigned { .. }))
    }

    /// What the last entry took away.
    pub fn lost(&self) -> Vec<Got> {
        self.moved(|effect| matches!(effect, Effect::Revoked { .. }))
    }

    fn moved(&self, wanted: fn(&Effect) -> bool) -> Vec<Got> {
        let effects = &self.last.as_ref().expect("an entry was applied").effects;
        let mut each = Vec::new();
        for effect in effects.iter().filter(|effect| wanted(effect)) {
            let (Effect::Assigned { consumer, lease } | Effect::Revoked { consumer, lease }) = effect else {
                continue;
            };
            for at in 0..u64::from(lease.count) {
                each.push(Got {
                    consumer: *consumer,
                    position: lease.first_position + at,
                    token: lease.first_token + at,
                    attempt: lease.attempt,
                });
            }
        }
        each
    }

    pub fn stat(&self) -> Stat {
        read::stat(&self.store, "default", "jobs", "").expect("the queue is there")
    }
}

pub fn attach(queue: &str, name: u8, credit: u32) -> Verb {
    Verb::Attach(Attach {
        namespace: String::new(),
        queue: queue.into(),
        subscription: String::new(),
        session: Bytes::from(vec![name; 16]),
        credit,
        session_timeout_ms: 0,
        name: String::new(),
    })
}

pub fn positions(got: &[Got]) -> Vec<u64> {
    got.iter().map(|got| got.position).collect()
}

/// The reasons of a settle's refusals with their positions, message by message.
pub fn reasons(refused: &[NotSettled]) -> Vec<(u64, Refusal)> {
    let each = |part: &NotSettled| {
        let refusal = part.refusal.clone();
        (part.first_position..)
            .take(part.count as usize)
            .map(move |at| (at, refusal.clone()))
            .collect::<Vec<_>>()
    };
    refused.iter().flat_map(each).collect()
}

/// What a consumer holds as ranges of one message each, as many as a settle takes.
pub fn held_singly(store: &MemoryStore, consumer: u64, outcome: Settled, reason: u32) -> Vec<SettleRange> {
    let held = read::held(store, consumer).expect("memory works");
    let singles = held.leases.iter().flat_map(|lease| {
        (0..u64::from(lease.count)).map(|at| SettleRange {
            first_position: lease.first_position + at,
            count: 1,
            first_token: lease.first_token + at,
            outcome: outcome.into(),
            delay_ms: 0,
            reason,
        })
    });
    singles.take(SETTLE_MESSAGES_MAX as usize).collect()
}
