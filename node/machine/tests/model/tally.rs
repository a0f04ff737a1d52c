//! What a search comes across.

use std::collections::BTreeMap;

use quorate_machine::command::{Action, Order, Start, StartKind, Verb};
use quorate_machine::effect::Effect;
use quorate_machine::reply::{LeftHow, Outcome, Refusal, Reply};
use quorate_model::naive::{At, Naive, Queue, Row, Sub};

use crate::Tally;
use crate::retain::{self, Was};
use crate::settle::sub_of;
use crate::transact;

/// What a search has to come across.
pub const CASES: [&str; 137] = [
    "a queue goes on under its name",
    "a subscription goes on with the tokens",
    "left by age",
    "left by number",
    "left by size",
    "left by an update",
    "superseded",
    "superseded, and to be done",
    "stored and not read",
    "kept although done",
    "beyond the bounds and not done",
    "dropped while leased",
    "replayed",
    "invalid key",
    "invalid retain",
    "latest per key cannot be changed",
    "full of messages",
    "full of bytes",
    "a subscription is full",
    "dropped",
    "a key goes on with its holder",
    "a key waits for its holder",
    "a message without a key beside keys",
    "key discarded",
    "key expired",
    "all of a selector",
    "another tail",
    "another version",
    "batch gone before others",
    "begun at a position",
    "begun at a time",
    "begun at the earliest",
    "begun at the latest",
    "blocked",
    "cancelled",
    "delayed and due",
    "delayed in a parked key",
    "delayed",
    "discarded by hand",
    "discarded when exhausted",
    "ended",
    "expired as it went back",
    "expired before a new subscription looked",
    "expired",
    "failure without a reason",
    "fenced consumer",
    "first settle not possible",
    "fenced producer",
    "filtered out",
    "first delivery",
    "forgotten receipt",
    "gap",
    "invalid action",
    "invalid filter",
    "invalid id",
    "invalid name",
    "invalid on_exhausted",
    "invalid order",
    "invalid per_key_inflight",
    "invalid priorities",
    "invalid priority",
    "invalid range",
    "invalid routes",
    "invalid selector",
    "invalid start",
    "invalid ttl_ms",
    "kept from expiring",
    "key parked",
    "key redriven by one of its messages",
    "key redriven",
    "key stays parked after a discard",
    "id given again after its message was done",
    "id unknown",
    "known by an id",
    "known messages",
    "last subscription",
    "later delivery",
    "lease not held",
    "lease before a parked key's message",
    "lease expired and exhausted",
    "leased past its expiry",
    "left as discarded",
    "left as expired",
    "left as parked",
    "message unknown",
    "messages known in part",
    "moved to another time",
    "never leased",
    "new messages",
    "no node id left",
    "node id",
    "not below a length",
    "not delayed",
    "out of range",
    "parked on demand",
    "parked when exhausted",
    "parked with its key",
    "paused with something ready",
    "priority overtakes",
    "publish taken back",
    "purged",
    "queue created again",
    "queue exists with other settings",
    "queue updated",
    "rescheduled at once",
    "rescheduled by id",
    "reasons forgotten",
    "redriven and past its time",
    "resumed with leases",
    "retrying",
    "revision changed",
    "revoked behind a lease that ended",
    "revoked by key",
    "revoked by total",
    "revoked",
    "settle taken back",
    "settled whole",
    "routed",
    "routed to several queues",
    "several reasons",
    "sought with leases",
    "sought",
    "stale lease",
    "subscription created again",
    "subscription created",
    "subscription exists with other settings",
    "subscription updated",
    "taken back for a full queue",
    "taken producer",
    "transaction",
    "transaction known",
    "transaction of all kinds",
    "transaction refused",
    "transaction without a session",
    "unknown producer",
    "unroutable",
    "updated with nothing new",
];

pub fn add(tally: &mut Tally, case: &'static str, times: u64) {
    *tally.entry(case).or_default() += times;
}

fn of_refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::LimitReached { what: "ids of nodes", .. } => "no node id left",
        Refusal::QueueExists(_) => "queue exists with other settings",
        Refusal::SubscriptionExists(_) => "subscription exists with other settings",
        Refusal::RevisionChanged { .. } => "revision changed",
        Refusal::LastSubscription => "last subscription",
        Refusal::QueueFull { what: "messages", .. } => "full of messages",
        Refusal::QueueFull { .. } => "full of bytes",
        Refusal::LagReached { .. } => "a subscription is full",
        Refusal::OutOfRange { .. } => "out of range",
        Refusal::UnknownMessage(_) => "message unknown",
        Refusal::UnknownId(_) => "id unknown",
        Refusal::NotDelayed(_) => "not delayed",
        Refusal::ProducerFenced { .. } => "fenced producer",
        Refusal::ProducerTaken { .. } => "taken producer",
        Refusal::ConsumerFenced { .. } => "fenced consumer",
        Refusal::SequenceGap { .. } => "gap",
        Refusal::ReceiptForgotten { .. } => "forgotten receipt",
        Refusal::UnknownProducer => "unknown producer",
        Refusal::StaleLease => "stale lease",
        Refusal::NeverLeased => "never leased",
        Refusal::Invalid { field, .. } => match *field {
            "action" => "invalid action",
            "filter" => "invalid filter",
            "id" => "invalid id",
            "key" => "invalid key",
            "name" => "invalid name",
            "on_exhausted" => "invalid on_exhausted",
            "order" => "invalid order",
            "per_key_inflight" => "invalid per_key_inflight",
            "priorities" => "invalid priorities",
            "priority" => "invalid priority",
            "retain" => "invalid retain",
            "routes" => "invalid routes",
            "selector" => "invalid selector",
            "start" => "invalid start",
            "ttl_ms" => "invalid ttl_ms",
            _ => "another invalid field",
        },
        _ => "other refusal",
    }
}

fn of_reply(reply: &Reply) -> &'static str {
    match reply {
        Reply::QueueCreated { created: false, .. } => "queue created again",
        Reply::SubCreated { created: false, .. } => "subscription created again",
        Reply::SubCreated { created: true, .. } => "subscription created",
        Reply::Published { positions } => {
            let is_duplicate: Vec<bool> = positions.iter().map(|run| run.duplicate).collect();
            match (is_duplicate.contains(&true), is_duplicate.contains(&false)) {
                (false, _) => "new messages",
                (true, false) => "known messages",
                // Sequence numbers are known from the front, so this one must have been known by its id.
                _ if is_duplicate.windows(2).any(|pair| !pair[0] && pair[1]) => "known by an id",
                _ => "messages known in part",
            }
        }
        Reply::Attached(attached) if attached.resumed && !attached.leases.is_empty() => "resumed with leases",
        Reply::Settled(settled) => match settled.refused.first().map(|part| &part.refusal) {
            None => "settled whole",
            Some(Refusal::Invalid { .. }) => "invalid range",
            Some(refusal) => of_refusal(refusal),
        },
        Reply::NodeIdsGiven(_) => "node id",
        Reply::Sought { .. } => "sought",
        _ => "other reply",
    }
}

/// The last message, if an earlier one had its id.
fn id_again(queue: &Queue) -> Option<u64> {
    let (last, earlier) = queue.messages.split_last()?;
    let id = &last.content.id;
    let has_it = !id.is_empty() && earlier.iter().any(|message| message.content.id == *id);
    has_it.then(|| queue.next_position() - 1)
}

/// Everything about subscriptions, by the ids of queue and subscription.
type Subs = BTreeMap<(u64, u32), Sub>;

fn subs(naive: &Naive) -> Subs {
    let all = naive.queues.values().flat_map(|queue| queue.subs.values());
    all.map(|sub| ((sub.queue, sub.id), sub.clone())).collect()
}

/// How it was before a command.
pub struct Before {
    subs: Subs,
    revisions: BTreeMap<u64, u64>,
    queues: BTreeMap<u64, Was>,
    effects: usize,
    now_ms: u64,
}

impl Before {
    pub fn of(naive: &Naive) -> Self {
        let revisions = naive.queues.values().map(|queue| (queue.id, queue.revision)).collect();
        let queues = naive.queues.values().map(|queue| (queue.id, Was::of(queue))).collect();
        Self { subs: subs(naive), revisions, queues, effects: naive.effects.len(), now_ms: naive.now_ms }
    }

    /// Counts what a command brought about.
    pub fn count(&self, naive: &Naive, verb: &Verb, answer: &Outcome, tally: &mut Tally) {
        match answer {
            Ok(reply) => add(tally, of_reply(reply), 1),
            Err(refusal) => add(tally, of_refusal(refusal), 1),
        }
        if let Ok(Reply::Settled(settled)) = answer {
            for left in &settled.left {
                let case = match left.how {
                    LeftHow::Parked => "left as parked",
                    LeftHow::Discarded => "left as discarded",
                    LeftHow::Expired => "left as expired",
                };
                add(tally, case, left.count.into());
            }
        }
        for queue in naive.queues.values() {
            if self.revisions.get(&queue.id).is_some_and(|revision| *revision < queue.revision) {
                add(tally, "queue updated", 1);
            }
            let is_hole = |pair: &[quorate_model::naive::Together]| pair[0].end < pair[1].first;
            add(tally, "batch gone before others", queue.batches.windows(2).any(is_hole).into());
            if let Verb::Publish(command) = verb {
                let again = id_again(queue)
                    .filter(|_| naive.queues.get(&command.queue).is_some_and(|one| one.id == queue.id));
                add(tally, "id given again after its message was done", again.is_some().into());
            }
        }
        self.retained(naive, verb, answer, tally);
        for (id, sub) in subs(naive) {
            match self.subs.get(&id) {
                Some(before) => self.sub(before, &sub, verb, tally),
                None => add(tally, "expired before a new subscription looked", sub.expired),
            }
        }
        let revoked = self.effects(naive, verb, tally);
        let case = match (verb, answer) {
            (Verb::Purge(_), Ok(_)) => "purged",
            (Verb::Transact(command), answer) => transact::case(command, answer),
            (Verb::Reschedule(command), Ok(_)) if !command.id.is_empty() => "rescheduled by id",
            (Verb::Reschedule(command), Ok(_)) if command.deliver_at_ms == 0 => "cancelled",
            (Verb::Reschedule(command), Ok(_)) if command.deliver_at_ms <= self.now_ms => {
                "rescheduled at once"
            }
            (Verb::Reschedule(_), Ok(_)) => "moved to another time",
            (Verb::Unpark(command), Ok(Reply::Unparked { messages: 2.., .. })) => {
                if command.selector == Default::default() {
                    "all of a selector"
                } else {
                    "some of a selector"
                }
            }
            (Verb::UpdateQueue(_) | Verb::UpdateSub(_), Ok(_)) if !self.changes(naive) => {
                "updated with nothing new"
            }
            (Verb::Seek(command), Ok(_)) => begun(&command.to),
            (Verb::CreateSub(command), Ok(Reply::SubCreated { created: true, .. })) => begun(&command.start),
            _ => "another command",
        };
        add(tally, case, 1);
        add(tally, "sought with leases", (revoked && matches!(verb, Verb::Seek(_))).into());
    }

    /// Counts what a command's effects say. Whether a lease was revoked.
    fn effects(&self, naive: &Naive, verb: &Verb, tally: &mut Tally) -> bool {
        let mut revoked = false;
        for effect in &naive.effects[self.effects..] {
            let is_expiry = matches!((verb, effect), (Verb::Tick(_), Effect::StateChanged { .. }));
            add(tally, "key expired", is_expiry.into());
            let Effect::Revoked { consumer, lease } = effect else { continue };
            revoked = true;
            let order = sub_of(naive, *consumer).map(Sub::order);
            let case = match verb {
                Verb::Settle(_) if order == Some(Order::Key) => "revoked by key",
                Verb::Settle(_) => "revoked by total",
                Verb::Tick(_) if lease.deadline_ms > self.now_ms => "revoked behind a lease that ended",
                _ => "revoked otherwise",
            };
            add(tally, case, 1);
        }
        revoked
    }

    fn retained(&self, naive: &Naive, verb: &Verb, answer: &Outcome, tally: &mut Tally) {
        for (name, queue) in &naive.queues {
            let Some(was) = self.queues.get(&queue.id) else { continue };
            was.count(naive, queue, verb, &naive.effects[self.effects..], tally);
            if let Verb::Seek(command) = verb
                && command.queue == *name
            {
                was.sought(queue, &command.name, answer, tally);
            }
            let Verb::UpdateQueue(command) = verb else { continue };
            let differs = command.queue.retain.latest_per_key != queue.settings.retain.latest_per_key;
            let is_refused = matches!(answer, Err(Refusal::Invalid { field: "retain", .. }));
            let case = "latest per key cannot be changed";
            add(tally, case, (command.name == *name && differs && is_refused).into());
        }
    }

    /// Whether any settings did.
    fn changes(&self, naive: &Naive) -> bool {
        let queues = naive.queues.values().map(|queue| (queue.id, queue.revision)).collect();
        let before = self.subs.values().map(|sub| sub.revision);
        self.revisions != queues || before.ne(subs(naive).values().map(|sub| sub.revision))
    }

    fn sub(&self, before: &Sub, sub: &Sub, verb: &Verb, tally: &mut Tally) {
        if matches!(verb, Verb::UpdateSub(_)) && before.revision < sub.revision {
            add(tally, "subscription updated", 1);
        }
        if matches!(verb, Verb::Seek(_)) {
            return;
        }
        let case = if matches!(verb, Verb::Tick(_)) { "expired" } else { "expired as it went back" };
        add(tally, case, sub.expired - before.expired);
        let by_hand = matches!(verb, Verb::Unpark(_));
        let case = if by_hand { "discarded by hand" } else { "discarded when exhausted" };
        add(tally, case, sub.discarded - before.discarded);
        add(tally, "dropped", sub.dropped - before.dropped);
        let mut keys_left =
            before.parked_keys.iter().filter(|key| !sub.parked_keys.contains(*key)).peekable();
        let ended = keys_left.peek().is_some();
        let case = match verb {
            Verb::Unpark(command) if command.action() == Action::Redrive && ended => {
                let by_one = command.selector.from_position > 0 || command.selector.filter.is_some();
                if by_one { "key redriven by one of its messages" } else { "key redriven" }
            }
            Verb::Unpark(_) if ended => "key discarded",
            Verb::Unpark(_) if sub.discarded > before.discarded && !sub.parked_keys.is_empty() => {
                "key stays parked after a discard"
            }
            _ => "nothing of a key",
        };
        add(tally, case, 1);
        let new_keys = sub.parked_keys.iter().filter(|key| !before.parked_keys.contains(*key)).count();
        add(tally, "key parked", new_keys as u64);
        for row in &sub.rows {
            match before.find(row.position) {
                Some(old) if old.at != row.at => changed(old, row, sub, tally),
                Some(_) => {}
                None => match row.at {
                    At::Delayed => add(tally, "delayed", 1),
                    At::Done => add(tally, "filtered out", 1),
                    _ if sub.is_parked(row) => add(tally, "parked with its key", 1),
                    _ => {}
                },
            }
        }
    }
}

fn begun(start: &Start) -> &'static str {
    match start.kind() {
        StartKind::Unspecified | StartKind::Earliest => "begun at the earliest",
        StartKind::Latest => "begun at the latest",
        StartKind::Position => "begun at a position",
        StartKind::Time => "begun at a time",
    }
}

/// Counts a message that stands elsewhere now.
fn changed(old: &Row, row: &Row, sub: &Sub, tally: &mut Tally) {
    let noted = row.failures.len() > old.failures.len();
    let said = row.failures.last().map(|failure| failure.reason.as_str());
    match row.at {
        At::Ready if old.at == At::Delayed => add(tally, "delayed and due", 1),
        At::Retrying { .. } => {
            add(tally, "retrying", 1);
            add(tally, if noted { "failure with a reason" } else { "failure without a reason" }, 1);
        }
        At::Parked { blocks: true } => add(tally, "blocked", 1),
        At::Parked { .. } => {
            let is_last = sub.settings.max_attempts > 0 && row.attempt >= sub.settings.max_attempts;
            add(tally, if is_last { "parked when exhausted" } else { "parked on demand" }, 1);
        }
        _ => {}
    }
    add(tally, "lease expired and exhausted", (noted && said == Some("lease expired")).into());
    let is_full = old.failures.len() == 8 && row.failures != old.failures;
    add(tally, "reasons forgotten", is_full.into());
    add(tally, "several reasons", (noted && row.failures.len() > 1).into());
}

/// Counts what an entry left behind.
pub fn count(naive: &Naive, tally: &mut Tally) {
    for effect in &naive.effects {
        let case = match effect {
            Effect::Assigned { lease, .. } if lease.attempt > 1 => "later delivery",
            Effect::Assigned { .. } => "first delivery",
            Effect::Revoked { .. } => "revoked",
            Effect::Attached { .. } => "session attached",
            Effect::Ended { .. } => "ended",
            Effect::StateChanged { .. } => "state changed",
        };
        add(tally, case, 1);
    }
    naive.queues.values().for_each(|queue| retain::standing(queue, tally));
    for sub in naive.queues.values().flat_map(|queue| queue.subs.values()) {
        standing(naive, sub, tally);
    }
}

fn standing(naive: &Naive, sub: &Sub, tally: &mut Tally) {
    let is_leased = |row: &Row| matches!(row.at, At::Leased { .. });
    let mut seen = |case, times| add(tally, case, times);
    let ready = || sub.open().filter(|row| row.at == At::Ready);
    seen("paused with something ready", (sub.is_paused && ready().next().is_some()).into());
    let overtaken =
        |row: &Row| ready().any(|other| other.position < row.position && other.priority < row.priority);
    let has_order = sub.order() != Order::None;
    seen("priority overtakes", (!has_order && sub.open().any(|row| is_leased(row) && overtaken(row))).into());
    for row in sub.open() {
        let has_expired = row.expires_ms.is_some_and(|expires_ms| expires_ms <= naive.now_ms);
        let is_back = row.is_kept && has_expired && !sub.is_parked(row) && row.at != At::Done;
        seen("redriven and past its time", is_back.into());
        let in_parked_key = sub.parked_keys.contains(&row.key);
        seen("leased past its expiry", (is_leased(row) && has_expired).into());
        seen("kept from expiring", (row.is_kept && has_expired && row.at != At::Done).into());
        seen("lease before a parked key's message", (in_parked_key && is_leased(row)).into());
        seen("delayed in a parked key", (in_parked_key && row.at == At::Delayed).into());
    }
    if sub.order() != Order::Key {
        return;
    }
    let of_key = |row: &Row| sub.open().filter(|other| is_leased(other) && other.key == row.key).count();
    let keyed = |row: &&Row| !row.key.is_empty();
    seen("a key goes on with its holder", sub.open().filter(keyed).any(|row| of_key(row) > 1).into());
    seen("a key waits for its holder", ready().filter(keyed).any(|row| of_key(row) > 0).into());
    let alone = sub.open().any(|row| row.key.is_empty() && is_leased(row));
    seen("a message without a key beside keys", (alone && sub.open().any(|row| !row.key.is_empty())).into());
}
