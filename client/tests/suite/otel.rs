use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use quorate_client::{TraceContext, Tracer};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The bridge that an application with OpenTelemetry gives to its clients.
pub struct Otel;

impl Tracer for Otel {
    fn current(&self) -> Option<TraceContext> {
        let context = tracing::Span::current().context();
        let span = context.span().span_context().clone();
        span.is_valid().then(|| TraceContext {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            flags: span.trace_flags().to_u8(),
            state: span.trace_state().header().into(),
        })
    }

    fn follow(&self, span: &tracing::Span, context: &TraceContext) {
        let parent = SpanContext::new(
            TraceId::from(context.trace_id),
            SpanId::from(context.span_id),
            TraceFlags::new(context.flags),
            true,
            context.state.parse().unwrap_or(TraceState::NONE),
        );
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}
