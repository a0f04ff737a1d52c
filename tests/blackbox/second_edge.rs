//! A second edge is possible: the service of a node, driven in one process without any socket or wire.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use prost::Message as _;
use quorate_machine::command::{Attach, CreateQueue, OpenProducer, Outcome, Put};
use quorate_machine::message::Message;
use quorate_machine::reply::Refusal;
use quorate_node::service::consume::{Event, Request};
use quorate_node::service::error::CommandError;
use quorate_node::service::produce::Batch;
use quorate_node::service::read::Wanted;
use quorate_node::service::settle::Range;
use quorate_node::service::transactions::Transaction;
use quorate_node::service::{Context, Ended, Principal, Service};
use quorate_node::{Components, Config, Node};
use quorate_raft::transport::{BoxedIo, Listener, Transport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::harness::s;

/// A network that carries nothing: whoever listens waits for ever.
struct Nowhere;

impl Transport for Nowhere {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<BoxedIo>> {
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::ConnectionRefused, addr)) })
    }

    fn listen(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Ok(Box::new(Nowhere) as Box<dyn Listener>) })
    }
}

impl Listener for Nowhere {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(std::future::pending())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }
}

/// What this edge finds wrong with its own requests.
#[derive(Debug, PartialEq)]
struct Garbled;

fn message(body: &'static str) -> Bytes {
    Message { body: Bytes::from_static(body.as_bytes()), ..Message::default() }.encode_to_vec().into()
}

async fn start(dir: &std::path::Path) -> Node {
    let config = Config {
        bootstrap: vec![("n1".into(), "127.0.0.1:1".into())],
        peer_addr: "127.0.0.1:1".into(),
        disk_reserve_bytes: 16 << 20,
        ..Config::new("n1", dir)
    };
    Node::start(config, Components { transport: Arc::new(Nowhere), ..Components::system() })
        .await
        .expect("a node that needs no others")
}

/// Publishes two batches, of which the second is to a queue that does not exist, and then says something garbled.
async fn publish(service: &Service, context: &Context) {
    let open =
        OpenProducer { session: "orders".into(), holder: vec![7; 16].into(), ..OpenProducer::default() };
    let batch = |queue: &str, first_seq, bodies: &[&'static str]| {
        let messages = bodies.iter().map(|body| message(body)).collect();
        Ok(Batch { queue: queue.into(), first_seq, messages, ..Batch::default() })
    };
    let batches = stream::iter([batch("jobs", 1, &["a", "b"]), batch("nowhere", 3, &["c"]), Err(Garbled)]);
    let (opened, mut answers) = service.produce(context, open, batches).await.expect("a session");
    assert_eq!(opened.last_seq, 0);
    let first = answers.next().await.expect("an answer").expect("it goes on");
    let positions = first.outcome.expect("positions");
    assert_eq!((first.first_seq, positions[0].first_position, positions[0].count), (1, 1, 2));
    let second = answers.next().await.expect("an answer").expect("it goes on");
    let nowhere = CommandError::Refused(Refusal::UnknownQueue("nowhere".into()));
    assert_eq!((second.first_seq, second.outcome), (3, Err(nowhere)));
    let last = answers.next().await.expect("an end").expect_err("no answer");
    assert_eq!(last, Ended::Requests(Garbled), "an edge gets its own error back, in its turn");
    assert!(answers.next().await.is_none());
}

/// Receives both messages, acknowledges the first, and takes the second into a transaction.
async fn consume(service: &Service, context: &Context) {
    let (ask, requests) = mpsc::unbounded_channel::<Result<Request, Garbled>>();
    let attach = Attach { queue: "jobs".into(), session: vec![9; 16].into(), credit: 8, ..Attach::default() };
    let events = service.consume(context, attach, UnboundedReceiverStream::new(requests)).await;
    let mut events = events.expect("a session");
    let attached = events.next().await.expect("an event");
    assert!(matches!(attached, Ok(Event::Attached { resumed: false, .. })), "{attached:?}");
    let Some(Ok(Event::Deliveries { deliveries, .. })) = events.next().await else { panic!("nothing comes") };
    let places: Vec<u64> = deliveries.iter().map(|delivery| delivery.position).collect();
    assert_eq!(places, [1, 2]);
    let range = |at: usize| Range {
        first_position: deliveries[at].position,
        count: 1,
        first_token: deliveries[at].token,
        outcome: Outcome::Ack,
        ..Range::default()
    };
    ask.send(Ok(Request::Settle { id: 4, ranges: vec![range(0)] })).expect("it listens");
    let Some(Ok(Event::Settled { id: 4, settled, .. })) = events.next().await else { panic!("no answer") };
    assert!(settled.refused.is_empty(), "{settled:?}");

    let open =
        OpenProducer { session: "steps".into(), holder: vec![8; 16].into(), ..OpenProducer::default() };
    let opened = service.open_producer(context, open).await.expect("a session");
    let step = Transaction {
        producer: opened.producer,
        epoch: opened.epoch,
        seq: 1,
        settle: vec![("jobs".into(), String::new(), range(1))],
        publish: vec![("jobs".into(), vec![message("next")])],
        put: vec![Put { key: "order/7".into(), value: "charged".into(), ..Put::default() }],
        ..Transaction::default()
    };
    let done = service.transact(context, step.clone()).await.expect("it is carried out");
    assert_eq!((done.versions.len(), done.duplicate), (1, false));
    assert!(service.transact(context, step).await.expect("the same answer").duplicate);
    ask.send(Ok(Request::Detach)).expect("it listens");
    let rest: Vec<_> = events.collect().await;
    assert!(matches!(rest.last(), Some(Ok(Event::Detached))), "{rest:?}");
}

#[test]
fn a_service_without_any_wire_publishes_delivers_settles_transacts_and_reads() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let all = async {
        let node = start(dir.path()).await;
        let service = node.service().clone();
        let context = service.admit(Principal::Anyone, String::new()).expect("it is a member");
        assert_eq!((context.namespace(), context.principal()), ("default", Principal::Anyone));
        let queue = || CreateQueue { name: "jobs".into(), ..CreateQueue::default() };
        let created = loop {
            match service.create_queue(&context, queue()).await {
                Err(CommandError::Unavailable(_)) => {} // nobody leads yet
                done => break done,
            }
        };
        assert!(created.expect("a queue").1);
        publish(&service, &context).await;
        consume(&service, &context).await;
        let (found, applied) = service.keys(&context, &["order/7".into()]).await.expect("a state");
        assert_eq!((found[0].value.as_ref(), applied > 0), (&b"charged"[..], true));
        let wanted = Wanted { queue: "jobs".into(), ..Wanted::default() };
        let pages: Vec<_> = service.read(&context, wanted).await.expect("pages").collect().await;
        let read: usize = pages.iter().map(|page| page.as_ref().expect("a page").messages.len()).sum();
        assert_eq!(read, 1, "what is left");
        let account = service.accounts(&context).await.expect("its own");
        assert_eq!(account[0].replicas.as_ref().map(Vec::len), Some(1));
        node.shutdown().await;
        assert!(service.admit(Principal::Anyone, String::new()).is_err(), "it is shutting down");
    };
    let in_time = async { tokio::time::timeout(s(60), all).await.expect("it does not stand still") };
    crate::harness::runtime().block_on(in_time);
}
