//! Random settings and filters: those that mean something, and those that contradict themselves.

use proptest::prelude::*;
use quorate_machine::command::{Filter, OnExhausted, OnFull, Order, QueueSettings, Settings};
use quorate_machine::message::Header;

/// What is wrong with settings, a filter or a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spoilt {
    No,
    Settings(usize),
    Filter(usize),
    Name,
    Namespace,
    /// A zero where a default is meant: nothing is wrong, but it is said in another way.
    Defaults,
}

/// What a subscription takes.
#[derive(Clone, Copy, Debug)]
pub enum Filtered {
    No,
    /// One without a condition.
    Empty,
    Some(usize),
}

pub fn spoilt() -> impl Strategy<Value = Spoilt> {
    prop_oneof![
        14 => Just(Spoilt::No),
        2 => (0usize..14).prop_map(Spoilt::Settings),
        1 => (0usize..7).prop_map(Spoilt::Filter),
        1 => prop_oneof![Just(Spoilt::Name), Just(Spoilt::Namespace)],
        1 => Just(Spoilt::Defaults),
    ]
}

pub fn filtered() -> impl Strategy<Value = Filtered> {
    prop_oneof![8 => Just(Filtered::No), 1 => Just(Filtered::Empty), 3 => (0usize..6).prop_map(Filtered::Some)]
}

fn of(order: Order, per_key_inflight: u32, max_attempts: u32, on_exhausted: OnExhausted) -> Settings {
    Settings {
        order: order.into(),
        lease_ms: 300,
        backoff_first_ms: 40,
        backoff_last_ms: 150,
        jitter_percent: Some(50),
        max_attempts,
        on_exhausted: on_exhausted.into(),
        per_key_inflight,
        auto_ack: false,
        max_lag: 0,
        on_lag: 0,
    }
}

/// All the kinds of subscriptions there are. The first four have order `none`, the next four `total`, the rest `key`.
fn shapes() -> Vec<Settings> {
    use OnExhausted::{Block, Discard, Park, ParkKey, Unspecified};
    vec![
        Settings { jitter_percent: None, ..of(Order::Unspecified, 0, 0, Unspecified) },
        of(Order::None, 1, 2, Discard),
        of(Order::None, 0, 3, Park),
        Settings { jitter_percent: Some(100), lease_ms: 200, ..of(Order::None, 0, 0, Unspecified) },
        Settings { jitter_percent: Some(0), ..of(Order::Total, 0, 0, Unspecified) },
        of(Order::Total, 0, 2, Block),
        of(Order::Total, 0, 2, Unspecified),
        of(Order::Total, 1, 1, Discard),
        of(Order::Key, 3, 2, ParkKey),
        of(Order::Key, 1, 2, Block),
        of(Order::Key, 0, 0, Unspecified),
        of(Order::Key, 3, 3, Block),
        of(Order::Key, 1, 1, ParkKey),
        Settings { jitter_percent: Some(7), ..of(Order::Key, 3, 2, Park) },
        of(Order::Key, 3, 2, Discard),
        Settings { lease_ms: 150, auto_ack: true, ..of(Order::Key, 3, 0, Unspecified) },
        Settings { max_lag: 4, ..of(Order::None, 0, 3, Park) },
        Settings { max_lag: 6, on_lag: OnFull::DropOldest.into(), ..of(Order::Key, 3, 2, ParkKey) },
        Settings { max_lag: 5, on_lag: OnFull::DropOldest.into(), ..of(Order::Total, 0, 2, Block) },
        Settings { max_lag: 3, on_lag: OnFull::Reject.into(), ..of(Order::Key, 1, 2, Block) },
    ]
}

pub fn shape(at: usize) -> Settings {
    let shapes = shapes();
    shapes[at % shapes.len()]
}

/// One of the shapes of an order, so that an update is not refused for that.
pub fn shape_of(order: Order, at: usize) -> Settings {
    let is_same = |shape: &Settings| shape.order() == order || (shape.order == 0 && order == Order::None);
    let shapes: Vec<Settings> = shapes().into_iter().filter(is_same).collect();
    shapes[at % shapes.len()]
}

/// What a subscription has if nothing else is said.
pub fn usual(queue: usize, sub: usize) -> Settings {
    let shape = match queue % 3 {
        0 => [0, 1, 2, 3],
        1 => [4, 5, 6, 2],
        _ => [8, 13, 12, 15],
    };
    self::shape(shape[sub])
}

pub fn queue_settings(queue: usize) -> QueueSettings {
    QueueSettings {
        ttl_ms: if queue == 3 { 900 } else { 0 },
        priorities: queue == 0,
        ..QueueSettings::default()
    }
}

impl Filtered {
    pub fn filter(self) -> Option<Filter> {
        let header = |value: &'static str| Header { name: "kind".into(), value: value.into() };
        let of = |subject: &str, headers: Vec<Header>| Some(Filter { subject: subject.into(), headers });
        match self {
            Filtered::No => None,
            Filtered::Empty => of("", vec![]),
            Filtered::Some(0) => of("orders.>", vec![]),
            Filtered::Some(1) => of("*.eu", vec![]),
            Filtered::Some(2) => of("", vec![header("a")]),
            Filtered::Some(3) => of("orders.*.new", vec![]),
            Filtered::Some(4) => of(">", vec![header("b"), header("a")]),
            Filtered::Some(_) => of("bills.eu", vec![]),
        }
    }
}

impl Spoilt {
    pub fn settings(self, good: Settings) -> Settings {
        let max_attempts = 2;
        let on_exhausted = |one: OnExhausted| one.into();
        match self {
            Spoilt::Settings(0) => Settings { order: 9, ..good },
            Spoilt::Settings(12) => Settings { on_lag: OnFull::Reject.into(), max_lag: 0, ..good },
            Spoilt::Settings(13) => Settings { on_lag: 3, max_lag: 1, ..good },
            Spoilt::Settings(1) => Settings { lease_ms: 99, ..good },
            Spoilt::Settings(2) => Settings { backoff_first_ms: u64::MAX, ..good },
            Spoilt::Settings(3) => Settings { backoff_first_ms: 151, ..good },
            Spoilt::Settings(4) => Settings { jitter_percent: Some(101), ..good },
            Spoilt::Settings(5) => {
                Settings { on_exhausted: on_exhausted(OnExhausted::Park), max_attempts: 0, ..good }
            }
            Spoilt::Settings(6) => Settings { on_exhausted: 77, max_attempts, ..good },
            Spoilt::Settings(7) => Settings {
                order: Order::Total.into(),
                per_key_inflight: 0,
                max_attempts,
                on_exhausted: on_exhausted(OnExhausted::ParkKey),
                ..good
            },
            Spoilt::Settings(8) => Settings {
                order: Order::None.into(),
                per_key_inflight: 0,
                max_attempts,
                on_exhausted: on_exhausted(OnExhausted::Block),
                ..good
            },
            Spoilt::Settings(9) => Settings { per_key_inflight: 257, ..good },
            Spoilt::Settings(10) => Settings {
                order: Order::Total.into(),
                per_key_inflight: 2,
                max_attempts: 0,
                on_exhausted: 0,
                ..good
            },
            Spoilt::Settings(_) => Settings { lease_ms: 301, ..good },
            Spoilt::Defaults if good.max_attempts > 0 && good.on_exhausted() == OnExhausted::Park => {
                Settings { on_exhausted: 0, ..good }
            }
            _ => good,
        }
    }

    pub fn filter(self, good: Option<Filter>) -> Option<Filter> {
        let subject = |subject: &str| Some(Filter { subject: subject.into(), headers: Vec::new() });
        let header = |name: &str| Header { name: name.into(), value: Default::default() };
        match self {
            Spoilt::Filter(0) => subject("orders..new"),
            Spoilt::Filter(1) => subject(">.new"),
            Spoilt::Filter(2) => subject("orders*"),
            Spoilt::Filter(3) => subject(&"o".repeat(257)),
            Spoilt::Filter(4) => Some(Filter { subject: String::new(), headers: vec![header("kind"); 17] }),
            Spoilt::Filter(5) => Some(Filter { subject: String::new(), headers: vec![header("")] }),
            Spoilt::Filter(_) => subject("orders."),
            _ => good,
        }
    }

    pub fn routes(self, good: Vec<String>) -> Vec<String> {
        match self {
            Spoilt::Filter(0) => vec!["orders..eu".into()],
            Spoilt::Filter(1) => vec![String::new()],
            Spoilt::Filter(2) => (0..17).map(|at| format!("orders.{at}")).collect(),
            _ => good,
        }
    }

    pub fn name(self, good: &str) -> String {
        if self == Spoilt::Name { "-".into() } else { good.into() }
    }

    pub fn namespace(self) -> String {
        if self == Spoilt::Namespace { "elsewhere".into() } else { "default".into() }
    }
}
