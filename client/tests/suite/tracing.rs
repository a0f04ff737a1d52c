//! A trace goes on from publish to handle and on to the next queue, by itself or through OpenTelemetry.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use quorate_client::{Client, Job, Message, Outcome, RawQueue, TRACEPARENT, TraceContext};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::fake::Fake;
use crate::otel::Otel;

const PATIENCE: Duration = Duration::from_secs(10);
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Publishes one message to `from`, has a worker pass it on to `to`, and returns what arrived there.
async fn passed_on(fake: &Fake, from: &RawQueue, to: &Fake, target: RawQueue) -> Vec<TraceContext> {
    let sent = from.producer().open().await.unwrap();
    sent.send(Bytes::from_static(b"a")).await.unwrap().await.unwrap();
    {
        let mut state = fake.state.lock();
        assert_eq!(state.whole.len(), 1);
        state.leases.insert(101, 1);
    }
    let (done, mut finished) = mpsc::channel(1);
    let worker =
        from.worker().run_until(async move { finished.recv().await.unwrap() }, move |job: Job<Bytes>| {
            let (target, done) = (target.clone(), done.clone());
            async move {
                let next = target.producer().open().await?;
                next.send(job.value.clone()).await?.await?;
                let _ = done.send(()).await;
                Ok::<_, quorate_client::Error>(Outcome::Ack)
            }
        });
    tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap();
    let carried = |fake: &Fake| {
        let whole = fake.state.lock().whole.clone();
        let header = whole[0].headers.iter().find(|header| header.name == TRACEPARENT)?.value.clone();
        std::str::from_utf8(&header).ok()?.parse().ok()
    };
    [carried(fake), carried(to)].into_iter().flatten().collect()
}

#[tokio::test]
async fn what_a_handler_publishes_belongs_to_the_trace_of_its_message() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    let queues = [&first, &second].map(|fake| fake.client(PATIENCE).raw_queue("q"));
    let [from, to] = queues.clone();
    assert!(passed_on(&first, &from, &second, to).await.is_empty(), "where no trace was begun there is none");

    let (first, second) = (Fake::start().await, Fake::start().await);
    let [from, to] = [&first, &second].map(|fake| fake.client(PATIENCE).raw_queue("q"));
    let context: TraceContext = PARENT.parse().unwrap();
    let carried = context.clone().scope(passed_on(&first, &from, &second, to)).await;
    assert_eq!(carried[0], context);
    assert_eq!((carried[1].trace_id, carried[1].flags), (context.trace_id, 1), "the same trace");
    assert_ne!(carried[1].span_id, context.span_id, "another span");
}

#[tokio::test]
async fn spans_of_opentelemetry_go_on_from_queue_to_queue() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let (first, second) = (Fake::start().await, Fake::start().await);
    let client = |fake: &Fake| {
        let builder = Client::builder().endpoints([format!("http://{}", fake.address)]);
        builder.timeout(PATIENCE).tracer(Otel).build().unwrap()
    };
    let [from, to] = [&first, &second].map(|fake| client(fake).raw_queue("q"));
    let root = tracing::info_span!("request");
    let carried = passed_on(&first, &from, &second, to).instrument(root).await;
    let spans = exporter.get_finished_spans().unwrap();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let trace = named("request").next().expect("the root").span_context.trace_id();
    assert_eq!(named("publish").count(), 2);
    let handled = named("handle").next().expect("the handler's span");
    let published = named("publish").next().expect("the first publish");
    assert_eq!(handled.span_context.trace_id(), trace);
    assert_eq!(handled.parent_span_id, published.span_context.span_id());
    let ids: Vec<u128> = carried.iter().map(|context| context.trace_id).collect();
    assert_eq!(ids, [u128::from_be_bytes(trace.to_bytes()); 2]);
    let own = Message::new(()).header(TRACEPARENT, PARENT).meta;
    assert_eq!(TraceContext::of(&own).map(|context| context.to_string()), Some(PARENT.to_owned()));
}
