//! Opens a producer session. Found in the log by the session's name, which is known beforehand even if the client
//! chooses it.

use std::time::Duration;

use bytes::Bytes;
use quorate_client::Raw;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;
use crate::workload::plan::ProducerPlan;

/// An open session.
pub(crate) struct Open {
    pub(crate) producer: quorate_client::Producer<Bytes, Raw>,
    pub(crate) queue: String,
}

/// Opens it. A plan without a name leaves it to the client.
pub(crate) async fn call(cx: &Cx, queue: &str, plan: &ProducerPlan) -> Result<Open, Answer> {
    let mut builder = cx.client.raw_queue(queue).producer();
    let session = match &plan.session {
        Some(name) => {
            builder = builder.session(name);
            name.clone()
        }
        None => cx.random.session(),
    };
    let call = Call::OpenProducer { session: session.clone(), ttl_ms: plan.ttl_ms };
    let opening = builder
        .ttl(Duration::from_millis(plan.ttl_ms))
        .window(plan.window)
        .batch_messages(plan.batch_messages)
        .open();
    let producer = cx.call(call, opening, |open| Answer::Opened { last_seq: open.last_seq() }).await?;
    assert_eq!(producer.session(), session, "the client's random name is not the one foretold");
    Ok(Open { producer, queue: queue.to_owned() })
}
