//! The JSON of every verb: which keys its objects have and of what type, since programs rely on both.
//!
//! A shape names its keys with their types. A key that ends in `?` may be missing, and has to be there once among the
//! objects of its verb; a type that ends in `|null` may be null.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_client::Message;
use serde_json::Value;

use crate::harness::{Cluster, Command, QUORATE, pages_with, runtime, s};
use crate::scene;

/// The settings of a subscription.
const SETTINGS: &str = "order:text lease_ms:number backoff_first_ms:number backoff_last_ms:number jitter_percent:number \
                        max_attempts:number auto_ack:bool on_exhausted?:text max_lag?:number on_lag?:text \
                        per_key_inflight?:number filter?:text filter_headers?:texts";
/// What a queue adds to those of its default subscription.
const QUEUE: &str = "name:text ttl_ms:number priorities:bool max_length:number max_bytes:number on_full:text retain:@retain \
                     routes:list-text created_at:time";
const RETAIN: &str = "until_done:bool for_ms:number bytes:number count:number latest_per_key:bool";
const STAT: &str = "length:number ready:number leased:number delayed:number retrying:number parked:number bytes:number \
                    first_position:number last_position:number oldest_age_ms:number";
/// A message as it is handed out or read.
const MESSAGE: &str = "position:number key?:text|null key_base64?:text body?:text body_base64?:text headers:texts \
                       published_at:time id?:text subject?:text";
const FAILURE: &str = "at:time attempt:number reason:text";
const RANGE: &str = "first:number last:number";
const BENCH: &str = "work:text messages:number seconds:number msgs_per_second:number mb_per_second:number errors:number \
                     verified:bool";
const PERCENTILES: &str = "p50:number p99:number p999:number max:number";
const ENTRY: &str = "key:text version:number value?:text value_base64?:text expires_at?:time";

/// A verb, the shape of its objects, and commands that show all of it.
type Pinned = (&'static str, String, &'static [&'static str]);

fn verbs() -> Vec<Pinned> {
    [of_queues(), of_subscriptions(), of_messages(), of_some_messages(), of_the_rest()].concat()
}

fn text(parts: &[&str]) -> String {
    parts.join(" ")
}

fn of_queues() -> Vec<Pinned> {
    vec![
        (
            "queue create",
            text(&[SETTINGS, QUEUE, "created:bool"]),
            &[
                "queue create plain",
                "queue create full --order key --max-attempts 3 --max-lag 9 --filter a.> --filter-header a=b",
            ],
        ),
        ("queue list", text(&[SETTINGS, QUEUE]), &["queue list"]),
        (
            "queue show",
            text(&[SETTINGS, QUEUE, "stat:@stat consumers:number"]),
            &["queue show orders", "queue show full"],
        ),
        ("queue update", "name:text updated:bool".into(), &["queue update orders --ttl 1h"]),
        ("queue purge", "name:text purged:bool".into(), &["queue purge payments"]),
        ("queue delete", "name:text deleted:bool".into(), &["queue delete shipping"]),
    ]
}

fn of_subscriptions() -> Vec<Pinned> {
    vec![
        (
            "sub create",
            text(&[SETTINGS, "queue:text name:text created:bool"]),
            &[
                "sub create orders plain",
                "sub create orders full --order key --max-attempts 3 --max-lag 9 --filter a.> --filter-header a=b",
            ],
        ),
        ("sub list", text(&[SETTINGS, "name:text paused:bool revision:number"]), &["sub list orders"]),
        (
            "sub show",
            text(&[
                SETTINGS,
                "name:text paused:bool revision:number stat:@stat consumers:number expired:number discarded:number dropped:number",
            ]),
            &["sub show orders billing", "sub show orders full"],
        ),
        (
            "sub update",
            "queue:text name:text revision:number".into(),
            &["sub update orders plain --lease 1m"],
        ),
        ("sub pause", "queue:text name:text paused:bool".into(), &["sub pause orders plain"]),
        ("sub resume", "queue:text name:text resumed:bool".into(), &["sub resume orders plain"]),
        ("sub seek", "queue:text name:text position:number".into(), &["sub seek orders plain --to 3"]),
        ("sub delete", "queue:text name:text deleted:bool".into(), &["sub delete orders plain"]),
    ]
}

fn of_messages() -> Vec<Pinned> {
    vec![
        (
            "publish",
            "published:number duplicates:number first_position:number last_position:number seconds:number"
                .into(),
            &["publish orders hello", "publish ranked first --priority 9"],
        ),
        ("route", "queue:text position:number duplicate:bool".into(), &["route orders.eu.created hello"]),
        (
            "receive",
            text(&[MESSAGE, "attempt:number token:number"]),
            &["receive orders --sub audit --wait 300ms", "receive bytes --sub other --count 1"],
        ),
        (
            "peek",
            text(&[
                MESSAGE,
                "state:text attempt:number token?:number due_at?:time priority?:number failures?:list-@failure",
            ]),
            &[
                "peek orders",
                "peek orders --sub billing",
                "peek bytes",
                "peek ranked",
                "peek held --state leased",
            ],
        ),
        ("read", text(&[MESSAGE, "missing?:list-@range"]), &["read orders", "read bytes", "read gap"]),
        (
            "explain",
            "kind:text position?:number key?:text key_base64?:text consumer?:text until?:time count?:number"
                .into(),
            &["explain orders", "explain held", "explain failed", "explain bytes"],
        ),
        (
            "producers",
            "name:text epoch:number last_seq:number acked_seq:number used_at:time ttl_ms:number".into(),
            &["producers"],
        ),
    ]
}

fn of_some_messages() -> Vec<Pinned> {
    vec![
        (
            "parked list",
            text(&[MESSAGE, "state:text attempt:number failures?:list-@failure priority?:number"]),
            &["parked list orders", "parked list bytes", "parked list ranked"],
        ),
        (
            "parked redrive",
            "messages:number would_be?:text job?:number".into(),
            &["parked redrive bytes --dry-run", "parked redrive many --rate 1"],
        ),
        (
            "parked discard",
            "messages:number would_be?:text job?:number".into(),
            &["parked discard orders --dry-run", "parked discard others --rate 1"],
        ),
        (
            "delayed cancel",
            "queue:text position?:number id?:text cancelled:bool".into(),
            &["delayed cancel orders 7", "delayed cancel orders --id remind-8"],
        ),
        (
            "delayed reschedule",
            "queue:text position?:number id?:text rescheduled:bool".into(),
            &["delayed reschedule later 1 --delay 1h", "delayed reschedule later --id one --delay 2h"],
        ),
    ]
}

fn of_the_rest() -> Vec<Pinned> {
    vec![
        ("transact", "positions:list-number versions:list-number".into(), &["transact --publish orders=m --put order/9=v"]),
        ("state put", "key:text version:number".into(), &["state put order/3 v --ttl 1h"]),
        ("state get", ENTRY.into(), &["state get order/1", "state get order/3", "state get bytes"]),
        ("state list", ENTRY.into(), &["state list"]),
        ("state wait", ENTRY.into(), &["state wait order/1", "state wait order/3", "state wait bytes", "state wait gone --since 1 --for 1s"]),
        ("state delete", "key:text version:number".into(), &["state delete order/2"]),
        ("stat", STAT.into(), &["stat orders"]),
        (
            "cluster status",
            "name:text id:number shard:number role:text term:number|null last:number|null committed:number|null applied:number|null \
             flushed:number|null digest:text|null client_addr:text disk_free:number|null room:number|null reserve:number|null \
             disk:text|null log_stalled_ms:number|null"
                .into(),
            &["cluster status"],
        ),
        (
            "cluster version",
            "name:text id:number reads_from:number reads_to:number writes:number active:number".into(),
            &["cluster version"],
        ),
        ("cluster remove", "removed:text".into(), &["cluster remove n2"]),
        ("bench publish", text(&[BENCH, "confirm_us:@percentiles"]), &["bench publish --seconds 1 --warmup 0 --producers 2"]),
        (
            "bench pipeline",
            text(&[BENCH, "confirm_us:@percentiles end_to_end_us:@percentiles"]),
            &["bench pipeline --seconds 1 --warmup 0 --producers 2 --consumers 2"],
        ),
        ("bench receive", BENCH.into(), &["bench receive --messages 500 --producers 2 --consumers 2"]),
    ]
}

/// A verb whose output is not pinned here is told, and so is a verb that is gone.
#[test]
fn every_verb_with_json_has_a_pinned_shape() {
    let found: BTreeSet<String> = pages_with("output").iter().map(|page| page.verb.join(" ")).collect();
    let pinned: BTreeSet<String> = verbs().iter().map(|(verb, _, _)| (*verb).to_owned()).collect();
    assert_eq!(found, pinned);
}

#[test]
fn objects_have_the_keys_and_types_that_programs_rely_on() {
    let cluster = Cluster::start(3, &[]);
    runtime().block_on(scene::set(&cluster.client(s(30))));
    let _held = more(&cluster);
    let mut wrong = Vec::new();
    for (verb, shape, commands) in verbs() {
        let shape = Shape::read(&shape);
        let mut seen = BTreeSet::new();
        for command in commands {
            let args: Vec<&str> = command.split(' ').chain(["-o", "json"]).collect();
            let lines = cluster.quorate(&args).ok().lines();
            if lines.is_empty() {
                wrong.push(format!("{command}: no object"));
            }
            for line in &lines {
                seen.extend(line.as_object().into_iter().flat_map(|object| object.keys().cloned()));
                wrong.extend(
                    shape.problems(line).into_iter().map(|problem| format!("{command}: {problem}: {line}")),
                );
            }
        }
        let never = shape.keys.keys().filter(|key| !seen.contains(*key));
        wrong.extend(never.map(|key| format!("{verb}: no command shows {key}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the scene lacks: priorities, failures, gaps, many parked messages, a consumer that holds one. The consumer goes when what
/// is returned is dropped.
const MORE: &str = r#"
quorate() { "$QUORATE" "$@" >/dev/null; }
for queue in gap later many others bytes; do quorate queue create $queue; done
quorate sub create bytes other
quorate queue create ranked --priorities
quorate queue create held --order key --lease 1h
quorate queue create failed --order key --backoff 1h..1h
quorate publish ranked first --priority 9
quorate receive ranked --count 1 --park
for queue in many others; do
    seq 1 3 | quorate publish $queue --file -
    quorate receive $queue --count 3 --park
done
quorate publish later m --id one --delay 1h
quorate publish gap first
quorate publish gap cancelled --delay 1h
quorate publish gap last
quorate delayed cancel gap 2
for body in 1 2; do quorate publish held $body --key k; done
"#;

fn more(cluster: &Cluster) -> impl Sized {
    Command::of("sh", &cluster.endpoints(), &["-e", "-c", MORE]).env("QUORATE", QUORATE.as_ref()).run().ok();
    let (client, runtime) = (cluster.client(s(30)), runtime());
    runtime.block_on(async {
        let no_text = || Bytes::from_static(&[0xff, 0xfe]);
        for queue in ["bytes", "failed"] {
            let producer = client.raw_queue(queue).producer().open().await.expect("a producer");
            let message = Message::new(no_text()).key(no_text());
            producer.send(message).await.expect("room in the window").await.expect("a receipt");
        }
        client.transaction().put("bytes", no_text()).commit().await.expect("a key is written");
    });
    cluster.quorate(&["receive", "bytes", "--count", "1", "--park"]).ok();
    cluster.quorate(&["receive", "failed", "--count", "1", "--retry", "--reason", "why"]).ok();
    let held = runtime.block_on(async {
        let consumer = client.raw_queue("held").consumer().name("worker").credit(1);
        let mut consumer = consumer.attach().await.expect("a consumer");
        let delivery = consumer.next().await.expect("no end").expect("a delivery");
        (consumer, delivery)
    });
    (runtime, held)
}

/// Keys with their types.
struct Shape {
    keys: BTreeMap<String, Kind>,
}

/// The type of a key, and whether it may be missing.
struct Kind {
    name: String,
    optional: bool,
}

impl Shape {
    fn read(text: &str) -> Self {
        let keys = text.split_whitespace().map(|word| {
            let (key, kind) = word.split_once(':').expect("a key and its type");
            let kind = Kind { name: kind.to_owned(), optional: key.ends_with('?') };
            (key.trim_end_matches('?').to_owned(), kind)
        });
        Self { keys: keys.collect() }
    }

    fn problems(&self, value: &Value) -> Vec<String> {
        let Some(object) = value.as_object() else { return vec!["no object".into()] };
        let missing = self.keys.iter().filter(|(key, kind)| !kind.optional && !object.contains_key(*key));
        let mut problems: Vec<String> = missing.map(|(key, _)| format!("{key} is missing")).collect();
        for (key, value) in object {
            match self.keys.get(key) {
                None => problems.push(format!("{key} is not pinned")),
                Some(kind) if !is(value, &kind.name) => problems.push(format!("{key} is no {}", kind.name)),
                Some(_) => {}
            }
        }
        problems
    }
}

/// Whether a value is of a type: `text`, `time`, `number`, `bool`, `texts` (an object of texts), `list-…`, or `@` and the name of
/// a shape.
fn is(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix("|null") {
        return value.is_null() || is(value, kind);
    }
    if let Some(kind) = kind.strip_prefix("list-") {
        return value.as_array().is_some_and(|all| all.iter().all(|value| is(value, kind)));
    }
    match kind {
        "text" => value.is_string(),
        "time" => value.as_str().is_some_and(|text| humantime::parse_rfc3339(text).is_ok()),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "texts" => value.as_object().is_some_and(|all| all.values().all(Value::is_string)),
        "@retain" => Shape::read(RETAIN).problems(value).is_empty(),
        "@stat" => Shape::read(STAT).problems(value).is_empty(),
        "@failure" => Shape::read(FAILURE).problems(value).is_empty(),
        "@range" => Shape::read(RANGE).problems(value).is_empty(),
        "@percentiles" => Shape::read(PERCENTILES).problems(value).is_empty(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn shapes_tell_what_does_not_fit() {
    let shape = Shape::read("a:number b?:text|null c?:list-time");
    let problems = |text: &str| shape.problems(&serde_json::from_str(text).expect("JSON")).len();
    assert_eq!(problems(r#"{"a":1}"#), 0);
    assert_eq!(problems(r#"{"a":1.5,"b":null,"c":["2026-01-01T00:00:00Z"]}"#), 0);
    for (text, count) in [("1", 1), ("{}", 1), (r#"{"a":"1"}"#, 1), (r#"{"a":1,"b":2,"c":["x"],"d":1}"#, 3)] {
        assert_eq!(problems(text), count, "{text}");
    }
}
