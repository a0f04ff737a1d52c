//! Settings of a subscription as flags, and as they are shown.

use std::time::Duration;

use quorate_client::{Filter, OnExhausted, OnFull, Order, SubscriptionSettings, wire};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::units::{duration, duration_range};

/// How a subscription orders what it hands out.
#[derive(clap::ValueEnum, Clone, Copy)]
pub(in crate::cli) enum OrderArg {
    /// Competing consumers.
    None,
    /// The order of each key; keys run in parallel.
    Key,
    /// One active consumer; no message overtakes an earlier one.
    Total,
}

#[derive(clap::ValueEnum, Clone, Copy)]
pub(in crate::cli) enum ExhaustedArg {
    /// Set it aside.
    Park,
    /// Set it aside with whatever follows it under its key; only with --order key.
    ParkKey,
    /// Set it aside where it stands: what follows it in its order waits.
    Block,
    /// Let it go.
    Discard,
}

/// What happens to a publish that there is no room for.
#[derive(clap::ValueEnum, Clone, Copy)]
pub(in crate::cli) enum FullArg {
    /// It is refused.
    Reject,
    /// The oldest messages make room.
    DropOldest,
}

impl FullArg {
    pub(in crate::cli) fn setting(self) -> OnFull {
        match self {
            FullArg::Reject => OnFull::Reject,
            FullArg::DropOldest => OnFull::DropOldest,
        }
    }

    /// What applies after a change: without a limit there is nothing to say about it.
    pub(in crate::cli) fn changed(named: Option<Self>, limited: bool, before: i32) -> i32 {
        match named {
            Some(FullArg::Reject) => wire::OnFull::Reject.into(),
            Some(FullArg::DropOldest) => wire::OnFull::DropOldest.into(),
            None if !limited => wire::OnFull::Unspecified.into(),
            None => before,
        }
    }
}

/// Settings that may be changed later.
#[derive(clap::Args)]
pub(in crate::cli) struct SubFlags {
    /// Length of a lease, 100ms to 12h [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    lease: Option<Duration>,
    /// Backoff of a failed message, from the first to the longest, at most 30d [default: 1s..60s].
    #[arg(long, value_name = "FIRST..LAST", value_parser = duration_range)]
    backoff: Option<(Duration, Duration)>,
    /// By how many percent a backoff may be shorter, at random, 0 to 100 [default: 20].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    jitter: Option<u8>,
    /// Failures after which a message is exhausted; 0: none ever is [default: 0].
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// What becomes of an exhausted message; needs --max-attempts [default: park].
    #[arg(long, value_enum)]
    on_exhausted: Option<ExhaustedArg>,
    /// Messages of one key in flight at once, to one consumer; 1 to 256, only with --order key [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    per_key_inflight: Option<u32>,
    /// Only messages whose subject matches, such as orders.*.created or orders.> [default: all].
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Only messages with this header; may be repeated.
    #[arg(long, value_name = "K=V", value_parser = header)]
    filter_header: Vec<(String, String)>,
    /// Acknowledge messages before they are sent: at most once [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    auto_ack: Option<bool>,
    /// Most messages that it may have, so that a forgotten one cannot fill the disk; 0: no limit [default: 0].
    #[arg(long, value_name = "N")]
    max_lag: Option<u64>,
    /// What happens to a publish that would make it lag further; needs --max-lag [default: reject].
    #[arg(long, value_enum)]
    on_lag: Option<FullArg>,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a header reads name=value".into()),
    }
}

impl SubFlags {
    /// Settings of a new subscription.
    pub(in crate::cli) fn settings(&self, order: OrderArg) -> Result<SubscriptionSettings, Failure> {
        let order = match order {
            OrderArg::None => Order::None,
            OrderArg::Key => Order::Key,
            OrderArg::Total => Order::Total,
        };
        let on_exhausted = self.on_exhausted.map(|given| match given {
            ExhaustedArg::Park => OnExhausted::Park,
            ExhaustedArg::ParkKey => OnExhausted::ParkKey,
            ExhaustedArg::Block => OnExhausted::Block,
            ExhaustedArg::Discard => OnExhausted::Discard,
        });
        let headers = self.filter_header.iter();
        let filter = Filter {
            subject: self.filter.clone().unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.clone(), value.clone().into())).collect(),
        };
        Ok(SubscriptionSettings {
            order,
            lease: self.lease,
            backoff: self.backoff,
            jitter_percent: self.jitter,
            max_attempts: self.max_attempts.filter(|most| *most != 0),
            on_exhausted,
            per_key_inflight: self.per_key_inflight,
            auto_ack: self.auto_ack.unwrap_or(false),
            max_lag: self.max_lag.filter(|most| *most != 0),
            on_lag: self.on_lag.map(FullArg::setting),
            filter: (filter != Filter::default()).then_some(filter),
        })
    }

    /// Whether any was named.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.lease.is_some()
            || self.backoff.is_some()
            || self.jitter.is_some()
            || self.max_attempts.is_some()
            || self.on_exhausted.is_some()
            || self.per_key_inflight.is_some()
            || self.filter.is_some()
            || !self.filter_header.is_empty()
            || self.auto_ack.is_some()
            || self.max_lag.is_some()
            || self.on_lag.is_some()
    }

    /// Replaces in settings what was named.
    pub(in crate::cli) fn change(&self, settings: &mut wire::SubscriptionSettings) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if let Some(lease) = self.lease {
            settings.lease_ms = ms(lease);
        }
        if let Some((first, last)) = self.backoff {
            (settings.backoff_first_ms, settings.backoff_last_ms) = (ms(first), ms(last));
        }
        if let Some(jitter) = self.jitter {
            settings.jitter_percent = Some(jitter.into());
        }
        if let Some(most) = self.max_attempts {
            settings.max_attempts = most;
            if most == 0 {
                settings.on_exhausted = wire::OnExhausted::Unspecified.into();
            }
        }
        if let Some(given) = self.on_exhausted {
            settings.on_exhausted = match given {
                ExhaustedArg::Park => wire::OnExhausted::Park,
                ExhaustedArg::ParkKey => wire::OnExhausted::ParkKey,
                ExhaustedArg::Block => wire::OnExhausted::Block,
                ExhaustedArg::Discard => wire::OnExhausted::Discard,
            }
            .into();
        }
        settings.per_key_inflight = self.per_key_inflight.unwrap_or(settings.per_key_inflight);
        settings.auto_ack = self.auto_ack.unwrap_or(settings.auto_ack);
        settings.max_lag = self.max_lag.unwrap_or(settings.max_lag);
        settings.on_lag = FullArg::changed(self.on_lag, settings.max_lag != 0, settings.on_lag);
        if self.filter.is_some() || !self.filter_header.is_empty() {
            let headers = self.filter_header.iter();
            let header = |(name, value): &(String, String)| wire::Header {
                name: name.clone(),
                value: value.clone().into(),
            };
            let subject = self.filter.clone().unwrap_or_default();
            // An empty one ends the filtering.
            settings.filter = Some(wire::Filter { subject, headers: headers.map(header).collect() });
        }
    }
}

pub(in crate::cli) fn to_json(settings: &wire::SubscriptionSettings) -> Value {
    let mut object = json!({
        "order": order_name(settings.order()),
        "lease_ms": settings.lease_ms,
        "backoff_first_ms": settings.backoff_first_ms,
        "backoff_last_ms": settings.backoff_last_ms,
        "jitter_percent": settings.jitter_percent.unwrap_or(0),
        "max_attempts": settings.max_attempts,
        "auto_ack": settings.auto_ack,
    });
    if settings.max_attempts > 0 {
        object["on_exhausted"] = exhausted_name(settings.on_exhausted()).into();
    }
    if settings.max_lag > 0 {
        object["max_lag"] = settings.max_lag.into();
        object["on_lag"] = full_name(settings.on_lag()).into();
    }
    if settings.order() == wire::Order::Key {
        object["per_key_inflight"] = settings.per_key_inflight.into();
    }
    if let Some(filter) = &settings.filter {
        object["filter"] = filter.subject.clone().into();
        let headers = filter.headers.iter().map(|header| (header.name.as_str(), &header.value[..]));
        object["filter_headers"] = crate::cli::json::headers(headers);
    }
    object
}

pub(in crate::cli) fn full_name(on_full: wire::OnFull) -> &'static str {
    match on_full {
        wire::OnFull::Unspecified | wire::OnFull::Reject => "reject",
        wire::OnFull::DropOldest => "drop-oldest",
    }
}

pub(in crate::cli) fn filter_text(filter: &wire::Filter) -> String {
    let headers = filter
        .headers
        .iter()
        .map(|header| format!("{}={}", header.name, String::from_utf8_lossy(&header.value)));
    std::iter::once(filter.subject.clone())
        .filter(|s| !s.is_empty())
        .chain(headers)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(in crate::cli) fn backoff(settings: &wire::SubscriptionSettings) -> String {
    let write = |ms| humantime::format_duration(Duration::from_millis(ms)).to_string();
    format!("{}..{}", write(settings.backoff_first_ms), write(settings.backoff_last_ms))
}

pub(in crate::cli) fn attempts(settings: &wire::SubscriptionSettings) -> String {
    match settings.max_attempts {
        0 => "unlimited".into(),
        most => format!("{most}, then {}", exhausted_name(settings.on_exhausted())),
    }
}

pub(in crate::cli) fn order_name(order: wire::Order) -> &'static str {
    match order {
        wire::Order::Unspecified | wire::Order::None => "none",
        wire::Order::Total => "total",
        wire::Order::Key => "key",
    }
}

fn exhausted_name(on_exhausted: wire::OnExhausted) -> &'static str {
    match on_exhausted {
        wire::OnExhausted::Unspecified | wire::OnExhausted::Park => "park",
        wire::OnExhausted::ParkKey => "park-key",
        wire::OnExhausted::Block => "block",
        wire::OnExhausted::Discard => "discard",
    }
}
