//! What random entries are made of: intents, that become commands only when the model's state is known, so that most
//! of them mean something: a settle names leases that are held, a repeat repeats what was sent.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use quorate_machine::command::{
    Attach, CloseProducer, CreateQueue, Credit, DeleteQueue, Detach, GiveNodeIds, OpenProducer, Order,
    Publish, Settings, Settle, SettleRange, Tick, Verb,
};
use quorate_machine::message::Message;

use quorate_model::naive::{At, Naive};

const QUEUES: [&str; 4] = ["free", "strict", "other-free", "other-strict"];

#[derive(Clone, Debug)]
pub enum Op {
    Create { queue: usize, other_settings: bool },
    Delete { queue: usize },
    Open { producer: u8, ttl_ms: u64, holder: u8, resume: Resume },
    Close { producer: u8, stale: bool },
    Publish { queue: usize, producer: u8, twist: Twist, back: u64, count: usize, acks: u64 },
    Attach { session: u8, queue: usize, credit: u32 },
    Credit { consumer: usize, credit: u32, stale: bool },
    Detach { consumer: usize, stale: bool },
    Settle { consumer: usize, picks: Vec<Pick> },
    Tick,
    GiveNodeIds { above: u64, count: u64 },
}

#[derive(Clone, Copy, Debug)]
pub enum Resume {
    No,
    Yes,
    Another,
}

#[derive(Clone, Copy, Debug)]
pub enum Twist {
    Next,
    NoSession,
    Repeat,
    Forgotten,
    Gap,
    OldEpoch,
    AcksAhead,
    LengthsOff,
}

#[derive(Clone, Debug)]
pub struct Pick {
    /// Which of the held messages, as a share of 256 of them.
    start: u8,
    count: u64,
    outcome: i32,
    delay_ms: u64,
    position_off: u64,
    token_off: u64,
    /// Settle one by one, not as a range.
    singly: bool,
}

fn pick() -> impl Strategy<Value = Pick> {
    let outcome = prop_oneof![8 => Just(1), 3 => Just(2), 3 => Just(3), 2 => Just(4), 1 => Just(9)];
    let delay_ms = prop_oneof![9 => Just(0u64), 3 => 100u64..600, 1 => 1u64..100];
    let off = || prop_oneof![30 => Just(0u64), 1 => 1u64..9];
    let count = prop_oneof![1 => Just(0u64), 20 => 1u64..7, 20 => Just(1)];
    (any::<u8>(), count, outcome, delay_ms, off(), off(), any::<bool>()).prop_map(
        |(start, count, outcome, delay_ms, position_off, token_off, singly)| Pick {
            start,
            count,
            outcome,
            delay_ms,
            position_off,
            token_off,
            singly,
        },
    )
}

pub fn op() -> impl Strategy<Value = Op> {
    let queue = || prop_oneof![5 => 0usize..2, 1 => 2usize..4];
    let twist = prop_oneof![
        20 => Just(Twist::Next),
        5 => Just(Twist::NoSession),
        8 => Just(Twist::Repeat),
        1 => Just(Twist::Forgotten),
        1 => Just(Twist::Gap),
        1 => Just(Twist::OldEpoch),
        1 => Just(Twist::AcksAhead),
        1 => Just(Twist::LengthsOff),
    ];
    let acks = prop_oneof![4 => Just(0u64), 1 => 1u64..5];
    let ttl_ms = prop_oneof![Just(0u64), 1000u64..3000];
    let resume = prop_oneof![3 => Just(Resume::No), 3 => Just(Resume::Yes), 1 => Just(Resume::Another)];
    prop_oneof![
        4 => (queue(), prop::bool::weighted(0.2)).prop_map(|(queue, other_settings)| Op::Create { queue, other_settings }),
        1 => queue().prop_map(|queue| Op::Delete { queue }),
        3 => (0u8..3, ttl_ms, 0u8..2, resume)
            .prop_map(|(producer, ttl_ms, holder, resume)| Op::Open { producer, ttl_ms, holder, resume }),
        1 => (0u8..3, any::<bool>()).prop_map(|(producer, stale)| Op::Close { producer, stale }),
        40 => (queue(), 0u8..3, twist, 0u64..8, 1usize..7, acks).prop_map(
            |(queue, producer, twist, back, count, acks)| Op::Publish { queue, producer, twist, back, count, acks }
        ),
        10 => (0u8..6, queue(), 0u32..14).prop_map(|(session, queue, credit)| Op::Attach { session, queue, credit }),
        5 => (0usize..6, 0u32..14, prop::bool::weighted(0.1))
            .prop_map(|(consumer, credit, stale)| Op::Credit { consumer, credit, stale }),
        2 => (0usize..6, prop::bool::weighted(0.3)).prop_map(|(consumer, stale)| Op::Detach { consumer, stale }),
        50 => (0usize..6, prop::collection::vec(pick(), 1..5))
            .prop_map(|(consumer, picks)| Op::Settle { consumer, picks }),
        6 => Just(Op::Tick),
        2 => prop_oneof![2 => 0u64..20, 1 => (1u64 << 32) - 3..1 << 32]
            .prop_map(|above| Op::GiveNodeIds { above, count: above % 3 }),
    ]
}

pub fn setup() -> Vec<Op> {
    let create = |queue| Op::Create { queue, other_settings: false };
    let open = Op::Open { producer: 0, ttl_ms: 0, holder: 0, resume: Resume::No };
    let attach = |session, queue, credit| Op::Attach { session, queue, credit };
    vec![create(0), create(1), open, attach(0, 0, 5), attach(1, 1, 9), attach(2, 0, 3), attach(3, 1, 9)]
}

fn session(name: u8) -> Bytes {
    Bytes::from(vec![name; 16])
}

impl Op {
    pub fn resolve(&self, naive: &Naive) -> Verb {
        let namespace = "default".to_string();
        let consumer = |at: usize| {
            let found = naive.consumers.iter().nth(at % naive.consumers.len().max(1));
            found.map_or((999, 1), |(id, row)| (*id, row.generation))
        };
        match self {
            Op::Create { queue, other_settings } => {
                let order = if queue % 2 == 0 { Order::None } else { Order::Total };
                let settings = Settings {
                    order: order.into(),
                    lease_ms: if *other_settings { 301 } else { 300 },
                    backoff_first_ms: 40,
                    backoff_last_ms: 150,
                };
                Verb::CreateQueue(CreateQueue { namespace, name: QUEUES[*queue].into(), settings })
            }
            Op::Delete { queue } => Verb::DeleteQueue(DeleteQueue { namespace, name: QUEUES[*queue].into() }),
            Op::Open { producer, ttl_ms, holder, resume } => {
                let session = format!("producer-{producer}");
                let resume = match resume {
                    Resume::No => 0,
                    Resume::Yes => known_producer(naive, *producer).0,
                    Resume::Another => known_producer(naive, producer + 1).0,
                };
                let (ttl_ms, holder) = (*ttl_ms, Bytes::from(vec![*holder; 16]));
                Verb::OpenProducer(OpenProducer { namespace, session, ttl_ms, holder, resume })
            }
            Op::Close { producer, stale } => {
                let (producer, epoch, ..) = known_producer(naive, *producer);
                Verb::CloseProducer(CloseProducer { producer, epoch: epoch + u64::from(*stale) })
            }
            Op::Publish { .. } => self.publish(naive),
            Op::Attach { session: name, queue, credit } => Verb::Attach(Attach {
                namespace,
                queue: QUEUES[*queue].into(),
                subscription: if credit % 2 == 0 { String::new() } else { "default".into() },
                session: session(*name),
                credit: *credit,
                session_timeout_ms: 5000,
                name: format!("worker {name}"),
            }),
            Op::Credit { consumer: at, credit, stale } => {
                let (consumer, generation) = consumer(*at);
                Verb::Credit(Credit { consumer, generation: generation + u64::from(*stale), credit: *credit })
            }
            Op::Detach { consumer: at, stale } => {
                let (consumer, generation) = consumer(*at);
                Verb::Detach(Detach { consumer, generation: generation + u64::from(*stale) })
            }
            Op::Settle { consumer: at, picks } => {
                // Mostly one that holds something.
                let holders: Vec<u64> = naive
                    .queues
                    .values()
                    .flat_map(|queue| &queue.messages)
                    .filter_map(|row| match row.at {
                        At::Leased { consumer, .. } => Some(consumer),
                        _ => None,
                    })
                    .collect();
                let holder = holders.get(*at * holders.len() / 6).filter(|_| *at > 0);
                let consumer = holder.map_or_else(|| consumer(*at).0, |holder| *holder);
                let ranges = picks.iter().flat_map(|pick| pick.ranges(naive, consumer)).collect();
                Verb::Settle(Settle { consumer, ranges })
            }
            Op::Tick => Verb::Tick(Tick {}),
            Op::GiveNodeIds { above, count } => {
                Verb::GiveNodeIds(GiveNodeIds { above: *above, count: *count })
            }
        }
    }

    fn publish(&self, naive: &Naive) -> Verb {
        let Op::Publish { queue, producer, twist, back, count, acks } = self else { panic!("not a publish") };
        let (mut producer, mut epoch, last_seq, acked_seq) = known_producer(naive, *producer);
        let mut first_seq = last_seq + 1;
        let mut acked = (acked_seq + acks).min(last_seq);
        let salt = naive.queues.values().map(|queue| queue.messages.len()).sum::<usize>();
        let body = |at: usize| Bytes::from(vec![at as u8; (salt * 7 + at * 3) % 40]);
        let messages: Vec<Vec<u8>> = (0..*count)
            .map(|at| {
                Message { id: format!("{salt}-{at}"), body: body(at), ..Message::default() }.encode_to_vec()
            })
            .collect();
        let (mut lengths, packed) = Publish::pack(&messages);
        match twist {
            Twist::Next => {}
            Twist::NoSession => (producer, epoch, first_seq, acked) = (0, 0, 0, 0),
            Twist::Repeat => (first_seq, acked) = ((last_seq + 1).saturating_sub(*back).max(1), acked_seq),
            Twist::Forgotten => (first_seq, acked) = (acked_seq.max(1), acked_seq),
            Twist::Gap => first_seq += 1 + back,
            Twist::OldEpoch => epoch = epoch.saturating_sub(1).max(u64::from(epoch == 1) * 7),
            Twist::AcksAhead => acked = last_seq + 1 + back,
            Twist::LengthsOff => lengths[0] += 1,
        }
        Verb::Publish(Publish {
            namespace: String::new(),
            queue: QUEUES[*queue].into(),
            producer,
            epoch,
            first_seq,
            acked_seq: acked,
            lengths,
            messages: packed,
        })
    }
}

/// Id, epoch, last and acknowledged sequence number.
fn known_producer(naive: &Naive, name: u8) -> (u64, u64, u64, u64) {
    let name = format!("producer-{name}");
    let named = naive.producers.iter().find(|(_, row)| row.name == name);
    let found = named.or_else(|| naive.producers.iter().next());
    found.map_or((777, 1, 0, 0), |(id, row)| (*id, row.epoch, row.last_seq, row.acked_seq))
}

impl Pick {
    fn ranges(&self, naive: &Naive, consumer: u64) -> Vec<SettleRange> {
        let queue = naive.consumers.get(&consumer).map(|row| row.queue);
        let queue = naive.queues.values().find(|row| Some(row.id) == queue);
        let (mut first_position, mut first_token) = (1, 1);
        if let Some(queue) = queue {
            let held = queue.held(consumer);
            if !held.is_empty() {
                first_position = held[usize::from(self.start) * held.len() / 256];
                if let At::Leased { token, .. } = queue.messages[first_position as usize - 1].at {
                    first_token = token;
                }
            }
        }
        let range = SettleRange {
            first_position: first_position + self.position_off,
            count: self.count as u32,
            first_token: (first_token + self.token_off / 2).saturating_sub(self.token_off % 2 * 3),
            outcome: self.outcome,
            delay_ms: self.delay_ms,
        };
        if !self.singly {
            return vec![range];
        }
        let single = |at| SettleRange {
            first_position: range.first_position + at,
            count: 1,
            first_token: range.first_token + at,
            ..range
        };
        (0..self.count).map(single).collect()
    }
}
