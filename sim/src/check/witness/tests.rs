//! A small day with its log; each test changes one answer, one entry or one event of it.

use std::time::Duration;

use prost::Message as _;
use quorate_machine::command::{
    Attach, CloseProducer, CreateQueue, DeleteQueue, OpenProducer, Order, Outcome as Settling, Publish,
    Settings, Settle, SettleRange, Verb,
};
use quorate_machine::read;
use quorate_machine::reply::{Outcome, Reply};
use quorate_proto::v1 as wire;

use crate::check::past::Past;
use crate::check::replay::Replay;
use crate::check::report::Report;
use crate::check::story::{BYTES, Story, Written, message};
use crate::history::{Answer, Call, How, OpId, What};

const DEFAULT: &str = "default";
const BACKOFF_MS: (u64, u64) = (40, 150);

#[derive(Default)]
struct Day {
    story: Story,
    written: Written,
}

impl Day {
    fn now(&self) -> Duration {
        Duration::from_millis(self.story.events.len() as u64)
    }

    /// Begins a call, commits its entry, and lets it be over.
    fn carry_out(&mut self, actor: u32, call: Call, verb: Verb, answer: impl Fn(&Outcome) -> Answer) {
        let op = self.story.invoke(actor, call);
        let at = self.now();
        let answers = self.written.entry(at, vec![verb]);
        self.story.answer(actor, op, answer(&answers[0]));
    }

    fn publish(&mut self, body: u64, first_seq: u64) {
        let (lengths, messages) = Publish::pack(&[message(body).encode_to_vec()]);
        let publish = Publish {
            namespace: DEFAULT.into(),
            queue: "q".into(),
            producer: 1,
            epoch: 1,
            first_seq,
            acked_seq: 0,
            lengths,
            messages,
            attributes: 0,
        };
        let call = Call::Publish { session: "s".into(), queue: "q".into(), body, bytes: BYTES };
        self.carry_out(1, call, Verb::Publish(publish), |outcome| match outcome {
            Ok(Reply::Published { positions }) => {
                Answer::Receipt { position: positions[0].first_position, duplicate: positions[0].duplicate }
            }
            other => panic!("{other:?}"),
        });
    }

    fn settle(&mut self, position: u64, token: u64, how: How, outcome: Settling) {
        let range = SettleRange {
            first_position: position,
            count: 1,
            first_token: token,
            outcome: outcome.into(),
            delay_ms: 0,
            reason: 0,
        };
        let call = Call::Settle { queue: "q".into(), position, token, how };
        let verb = Verb::Settle(Settle { consumer: 1, ranges: vec![range], reasons: Vec::new() });
        self.carry_out(5, call, verb, |outcome| match outcome {
            Ok(Reply::Settled(settled)) if settled.refused.is_empty() => Answer::Done,
            Ok(Reply::Settled(_)) => Answer::Refused("STALE_LEASE".into()),
            other => panic!("{other:?}"),
        });
    }

    fn index(&self) -> u64 {
        self.written.log.end() - 1
    }

    fn stat(&self) -> wire::StatResponse {
        let stat = read::stat(&self.written.store, DEFAULT, "q", "").expect("it exists");
        wire::StatResponse {
            length: stat.length,
            ready: stat.ready,
            leased: stat.leased,
            retrying: stat.retrying,
            bytes: stat.bytes,
            first_position: stat.first_position,
            last_position: stat.last_position,
            oldest_age_ms: stat.oldest_age_ms,
            consumers: stat.consumers,
            applied_index: self.index(),
            ..Default::default()
        }
    }

    fn peek(&self) -> wire::PeekResponse {
        let (rows, next_position) =
            read::peek(&self.written.store, DEFAULT, "q", "", 0, 1, None).expect("it exists");
        let messages = rows.into_iter().map(|row| wire::PeekedMessage {
            position: row.position,
            state: match row.state {
                read::State::Ready => wire::MessageState::Ready.into(),
                other => panic!("{other:?}"),
            },
            attempt: row.attempt,
            published_at_ms: row.published_at_ms,
            token: row.token,
            due_at_ms: row.due_at_ms,
            message: Some(wire::Message { body: message(2).body, ..Default::default() }),
            failures: Vec::new(),
        });
        wire::PeekResponse { messages: messages.collect(), next_position, applied_index: self.index() }
    }

    fn queue(&self, created_at_ms: u64) -> wire::Queue {
        let settings = wire::SubscriptionSettings {
            order: wire::Order::Total.into(),
            lease_ms: 300,
            backoff_first_ms: BACKOFF_MS.0,
            backoff_last_ms: BACKOFF_MS.1,
            jitter_percent: Some(20),
            ..Default::default()
        };
        wire::Queue {
            name: "q".into(),
            default_subscription: Some(settings),
            created_at_ms,
            ..Default::default()
        }
    }

    fn create(&mut self) {
        let (lease_ms, backoff_ms) = (300, BACKOFF_MS);
        let call = Call::CreateQueue { queue: "q".into(), total: true, lease_ms, backoff_ms };
        let settings = Settings {
            order: Order::Total.into(),
            lease_ms,
            backoff_first_ms: backoff_ms.0,
            backoff_last_ms: backoff_ms.1,
            ..Default::default()
        };
        let verb =
            CreateQueue { namespace: DEFAULT.into(), name: "q".into(), settings, ..Default::default() };
        let queue = self.queue(1_000_001);
        self.carry_out(0, call, Verb::CreateQueue(verb), |_| {
            let answer = wire::CreateQueueResponse { queue: Some(queue.clone()), created: true };
            Answer::Created(Box::new(answer))
        });
    }

    fn deliver(&mut self, position: u64, token: u64, body: u64) {
        self.story.delivered(5, position, token, 1, body);
    }

    fn violations(&mut self) -> Vec<String> {
        let (mut report, mut replay) = (Report::default(), Replay::default());
        replay.advance(&self.written.log, &mut report);
        assert_eq!(report.violations(), [], "the log itself is good");
        let past = Past::of(&self.story.events);
        let (asked, _) = super::check(&past, &self.written.log, &replay.facts, &mut report);
        super::compare_reads(&self.written.log, &replay.facts, asked, &mut report);
        report.violations().iter().map(ToString::to_string).collect()
    }

    fn answer_of(&mut self, op: u64) -> &mut Answer {
        let returns = self.story.events.iter_mut().find_map(|event| match &mut event.what {
            What::Return(id, answer) if *id == OpId(op) => Some(answer),
            _ => None,
        });
        returns.expect("it returned")
    }
}

/// Operations: 0 create, 1 open, 2 publish 1, 3 publish 2, 4 attach, 5 ack, 6 release, 7 stat, 8 peek, 9 show, 10 list, 11 close,
/// 12 delete.
fn day() -> Day {
    let mut day = Day::default();
    day.create();
    let open = OpenProducer {
        namespace: DEFAULT.into(),
        session: "s".into(),
        holder: bytes::Bytes::from_static(&[1; 16]),
        ..OpenProducer::default()
    };
    let call = Call::OpenProducer { session: "s".into(), ttl_ms: 0 };
    day.carry_out(1, call, Verb::OpenProducer(open), |_| Answer::Opened { last_seq: 0 });
    day.publish(1, 1);
    day.publish(2, 2);
    let attach = Attach {
        namespace: DEFAULT.into(),
        queue: "q".into(),
        subscription: String::new(),
        session: vec![5; 16].into(),
        credit: 2,
        session_timeout_ms: 0,
        name: String::new(),
    };
    let call = Call::Attach { queue: "q".into(), credit: 2, session_timeout_ms: 0 };
    day.carry_out(5, call, Verb::Attach(attach), |_| Answer::Done);
    day.deliver(1, 1, 1);
    day.deliver(2, 2, 2);
    day.settle(1, 1, How::Ack, Settling::Ack);
    let credit = quorate_machine::command::Credit { consumer: 1, generation: 1, credit: 0 };
    let at = day.now();
    day.written.entry(at, vec![Verb::Credit(credit)]);
    day.settle(2, 2, How::Release, Settling::Release);
    let (stat, peek, shown) = (day.stat(), day.peek(), day.queue(1_000_001));
    day.story.stat(stat);
    day.story.did(9, Call::Peek { queue: "q".into(), from: 0, count: 1, state: None }, Answer::Peeked(peek));
    let show = wire::ShowQueueResponse { queue: Some(shown.clone()), stat: Some(stat) };
    day.story.did(9, Call::ShowQueue { queue: "q".into() }, Answer::Shown(Box::new(show)));
    day.story.did(9, Call::ListQueues, Answer::Listed(vec![shown]));
    let close = Verb::CloseProducer(CloseProducer { producer: 1, epoch: 1 });
    day.carry_out(1, Call::CloseProducer { session: "s".into() }, close, |_| Answer::Done);
    let delete = DeleteQueue { namespace: DEFAULT.into(), name: "q".into() };
    let call = Call::DeleteQueue { queue: "q".into() };
    day.carry_out(0, call, Verb::DeleteQueue(delete), |_| Answer::Done);
    day
}

#[test]
fn a_good_day_is_accepted() {
    assert_eq!(day().violations(), Vec::<String>::new());
}

#[test]
fn an_answer_that_is_not_the_log_s_is_seen() {
    type Change = fn(&mut Answer);
    let cases: [(u64, Change); 13] = [
        (0, |answer| *answer = Answer::Created(Box::default())),
        (0, |answer| *answer = Answer::Refused("QUEUE_EXISTS".into())),
        (1, |answer| *answer = Answer::Opened { last_seq: 4 }),
        (2, |answer| *answer = Answer::Receipt { position: 2, duplicate: false }),
        (2, |answer| *answer = Answer::NotDone("…".into())),
        (2, |answer| *answer = Answer::Refused("NO_SPACE".into())),
        (5, |answer| *answer = Answer::Refused("STALE_LEASE".into())),
        (6, |answer| *answer = Answer::NotDone("…".into())),
        (7, |answer| {
            if let Answer::Stat(stat) = answer {
                stat.bytes += 1;
            }
        }),
        (7, |answer| {
            if let Answer::Stat(stat) = answer {
                stat.applied_index += 100;
            }
        }),
        (8, |answer| {
            if let Answer::Peeked(peeked) = answer {
                peeked.messages[0].attempt += 1;
            }
        }),
        (9, |answer| {
            if let Answer::Shown(shown) = answer
                && let Some(queue) = &mut shown.queue
            {
                queue.created_at_ms += 1;
            }
        }),
        (10, |answer| *answer = Answer::Listed(Vec::new())),
    ];
    for (op, change) in cases {
        let mut day = day();
        change(day.answer_of(op));
        let found = day.violations();
        assert!(!found.is_empty() && found[0].contains(&format!("#{op}")), "#{op}: {found:?}");
    }
}

#[test]
fn unknown_outcomes_accuse_nobody() {
    for op in [0, 1, 2, 5, 6, 11, 12] {
        let mut day = day();
        *day.answer_of(op) = Answer::Unknown("…".into());
        assert_eq!(day.violations(), Vec::<String>::new(), "#{op}");
    }
}

#[test]
fn a_stale_read_is_seen() {
    let mut day = day();
    if let Answer::Stat(stat) = day.answer_of(7) {
        stat.applied_index -= 1; // the state before the release, which was over
    }
    let found = day.violations();
    assert!(found.iter().any(|found| found.contains("[read-order]")), "{found:?}");
}

#[test]
fn a_read_that_misses_what_nobody_was_told_of_is_seen() {
    let mut day = day();
    *day.answer_of(6) = Answer::Unknown("…".into());
    if let Answer::Stat(stat) = day.answer_of(7) {
        stat.applied_index -= 1;
    }
    let found = day.violations();
    assert!(found.iter().any(|found| found.contains("[read-barrier]")), "{found:?}");
    assert!(!found.iter().any(|found| found.contains("[read-order]")), "{found:?}");
}

#[test]
fn a_write_that_was_not_asked_for_is_seen() {
    let mut day = day();
    day.story
        .events
        .retain(|event| !matches!(event.what, What::Invoke(OpId(2), _) | What::Return(OpId(2), _)));
    assert!(day.violations()[0].contains("nobody sent body 1"));
}

#[test]
fn an_entry_before_its_call_is_seen() {
    let mut day = day();
    for event in &mut day.story.events {
        if matches!(event.what, What::Invoke(OpId(3), _) | What::Return(OpId(3), _)) {
            event.at += Duration::from_secs(1);
        }
    }
    assert!(day.violations()[0].contains("at another time"));
}

#[test]
fn a_message_that_entered_twice_is_seen() {
    let mut day = day();
    day.create();
    day.publish_again();
    let found = day.violations();
    assert!(found.iter().any(|found| found.contains("[once]")), "{found:?}");
}

impl Day {
    /// The same message under another session: nothing tells the machine that it is the same.
    fn publish_again(&mut self) {
        let (lengths, messages) = Publish::pack(&[message(1).encode_to_vec()]);
        let publish = Publish { queue: "q".into(), lengths, messages, ..Publish::default() };
        let at = self.now();
        self.written.entry(at, vec![Verb::Publish(publish)]);
    }
}

#[test]
fn a_delivery_that_the_log_does_not_give_is_seen() {
    type Change = fn(&mut Day);
    let cases: [(Change, &str); 4] = [
        (|day| day.deliver(2, 9, 2), "the log has []"),
        (|day| day.deliver(1, 2, 1), "the log has [Leased"),
        (|day| day.deliver(2, 2, 1), "the log has [Leased"),
        (|day| day.story.delivered(6, 2, 2, 1, 2), "came to"),
    ];
    for (change, expected) in cases {
        let mut day = day();
        change(&mut day);
        let found = day.violations();
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn real_time_order_is_kept() {
    // The entry of an operation that began after another was over stands before it: the clocks agree, the order does not.
    let mut day = Day::default();
    day.create();
    let late = day.story.invoke(
        2,
        Call::CreateQueue { queue: "r".into(), total: false, lease_ms: 300, backoff_ms: BACKOFF_MS },
    );
    let settings = Settings {
        order: Order::None.into(),
        lease_ms: 300,
        backoff_first_ms: BACKOFF_MS.0,
        backoff_last_ms: BACKOFF_MS.1,
        ..Default::default()
    };
    let at = day.now();
    let verb = CreateQueue { namespace: DEFAULT.into(), name: "r".into(), settings, ..Default::default() };
    day.written.entry(at, vec![Verb::CreateQueue(verb)]);
    let stat = wire::StatResponse { applied_index: day.index() + 1, ..day.stat() };
    day.written.entry(at, vec![Verb::Tick(quorate_machine::command::Tick {})]);
    let mut queue = day.queue(1_000_000 + at.as_millis() as u64);
    queue.name = "r".into();
    if let Some(settings) = &mut queue.default_subscription {
        settings.order = wire::Order::None.into();
    }
    let created = wire::CreateQueueResponse { queue: Some(queue), created: true };
    day.story.answer(2, late, Answer::Created(Box::new(created)));
    assert_eq!(day.violations(), Vec::<String>::new());

    // A read of a later state, over before the call began.
    let call = Call::Stat { queue: "q".into() };
    let read = [
        crate::history::Event {
            at,
            who: Some(crate::check::story::who(9)),
            what: What::Invoke(OpId(50), call),
        },
        crate::history::Event {
            at,
            who: Some(crate::check::story::who(9)),
            what: What::Return(OpId(50), Answer::Stat(stat)),
        },
    ];
    let events = &mut day.story.events;
    let place = events.iter().position(|event| matches!(event.what, What::Invoke(id, _) if id == late));
    events.splice(place.unwrap_or(0)..place.unwrap_or(0), read);
    let found = day.violations();
    assert!(found.iter().any(|found| found.contains("[real-time-order]")), "{found:?}");
}
