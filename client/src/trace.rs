//! Which trace a message belongs to: W3C trace context, carried in two headers from publish to handle.
//!
//! The format is that of <https://www.w3.org/TR/trace-context/>, level 1: `traceparent` is `00-<trace id>-<parent id>-<flags>` in lower-case
//! hexadecimal, `tracestate` is passed on as it is.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use crate::message::Meta;
use crate::random::Random;

/// Header that says which trace a message belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// Header with what vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// Longest `tracestate` that is passed on, in bytes; what is longer is left out, as the recommendation allows.
const STATE_BYTES_MAX: usize = 512;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A place in a trace: the trace, and the span that what happens next is part of.
///
/// What is published while a context is [current](TraceContext::scope) carries it; a [`crate::Worker`] makes the one of a message current for its
/// handler. So a trace goes on from queue to queue by itself once it was begun:
///
/// ```no_run
/// # use quorate_client::{Client, Error, TraceContext};
/// # async fn example(client: Client, traceparent_of_a_request: &str) -> Result<(), Error> {
/// let context: TraceContext = traceparent_of_a_request.parse()?;
/// let orders = client.queue::<u64>("orders").producer().open().await?;
/// context.scope(async { orders.send(7).await?.await }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the whole trace; not 0.
    pub trace_id: u128,
    /// The span that what happens next is part of; not 0.
    pub span_id: u64,
    /// Bit 0: the trace is recorded.
    pub flags: u8,
    /// What vendors add, passed on as it is; empty means nothing. At most 512 bytes.
    pub state: Arc<str>,
}

impl TraceContext {
    /// The one that is current in this task.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future with this context as the current one.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The context that a message carries; `None` if it carries none that can be read.
    pub fn of(meta: &Meta) -> Option<Self> {
        let header = |wanted: &str| {
            let (_, value) = meta.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            std::str::from_utf8(value).ok()
        };
        let context: Self = header(TRACEPARENT)?.parse().ok()?;
        let state = header(TRACESTATE).filter(|state| state.len() <= STATE_BYTES_MAX).unwrap_or_default();
        Some(Self { state: state.into(), ..context })
    }

    /// Has a message carry it, unless it carries one already.
    pub fn put_into(&self, meta: &mut Meta) {
        if meta.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT)) {
            return;
        }
        meta.headers.push((TRACEPARENT.to_owned(), self.to_string().into()));
        if !self.state.is_empty() {
            meta.headers.push((TRACESTATE.to_owned(), self.state.as_bytes().to_vec().into()));
        }
    }

    /// A span of its own in the same trace.
    pub(crate) fn child(&self, random: &dyn Random) -> Self {
        Self { span_id: random.next_u64().max(1), ..self.clone() }
    }
}

/// As `traceparent` has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// Reads a `traceparent`, of any version from 00 to fe.
impl FromStr for TraceContext {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| crate::Error::Config(format!("{text:?} is no traceparent")))
    }
}

fn parse(text: &str) -> Option<TraceContext> {
    let mut parts = text.trim().split('-');
    let mut field = |digits: usize| {
        let part = parts.next()?;
        let lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == digits && lower).then_some(part)
    };
    let version = field(2)?;
    let trace_id = u128::from_str_radix(field(32)?, 16).ok()?;
    let span_id = u64::from_str_radix(field(16)?, 16).ok()?;
    let flags = u8::from_str_radix(field(2)?, 16).ok()?;
    // Later versions may have more fields.
    let ends = version != "00" || parts.next().is_none();
    let valid = version != "ff" && ends && trace_id != 0 && span_id != 0;
    valid.then(|| TraceContext { trace_id, span_id, flags, state: "".into() })
}

/// Where the client learns which trace is current, and tells which one a message belongs to. The default knows the contexts that are
/// [`TraceContext::scope`]d; a bridge to another library is given to [`crate::ClientBuilder::tracer`]. This is the one to OpenTelemetry, for
/// applications that use `tracing-opentelemetry`:
///
#[doc = concat!("```\n", include_str!("../tests/suite/otel.rs"), "```")]
pub trait Tracer: Send + Sync + 'static {
    /// What is published now belongs to this.
    fn current(&self) -> Option<TraceContext> {
        TraceContext::current()
    }

    /// A message that carries this context is about to be handled in this span, which was not entered yet.
    fn follow(&self, span: &tracing::Span, context: &TraceContext) {
        let _ = (span, context);
    }
}

/// Knows the contexts that are [`TraceContext::scope`]d.
///
/// ```no_run
/// # use quorate_client::{Client, Error, ScopeTracer};
/// # async fn example() -> Result<(), Error> {
/// let client = Client::builder().tracer(ScopeTracer).build()?; // the default
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ScopeTracer;

impl Tracer for ScopeTracer {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_survives_the_way_through_the_headers() {
        let context = TraceContext { state: "vendor=1".into(), ..PARENT.parse().expect("a traceparent") };
        let mut meta = Message::new(()).header("tenant", "a").meta;
        context.put_into(&mut meta);
        assert_eq!(meta.headers[1].1, PARENT.as_bytes());
        assert_eq!(TraceContext::of(&meta), Some(context.clone()));
        let other = TraceContext { span_id: 9, ..context };
        other.put_into(&mut meta);
        assert_eq!(meta.headers.len(), 3, "what it carries already stays");
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(parse(later).is_some());
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
