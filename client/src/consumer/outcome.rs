//! What becomes of a message that was worked on.

use std::time::Duration;

use quorate_proto::v1;

/// Longest reason that is kept with a message, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// What becomes of a leased message. Reasons are kept with the message ([`crate::Queues::peek`] shows them); what is longer than 256 bytes is cut.
///
/// ```
/// use std::time::Duration;
/// use quorate_client::Outcome;
///
/// let busy = Outcome::retry_after(Duration::from_secs(5)).because("the bank is closed");
/// let hopeless = Outcome::park("no such customer");
/// # let _ = (busy, hopeless);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// The work failed: counts an attempt; ready again after `after`, or the subscription's backoff if `None`.
    Retry {
        /// In whole milliseconds, at least 1.
        after: Option<Duration>,
        /// Why; empty means none.
        reason: String,
    },
    /// It is given back: counts no attempt, ready again at once.
    Release,
    /// It is set aside, until somebody redrives or discards it. In a subscription that parks whole keys ([`crate::OnExhausted::ParkKey`]), with
    /// whatever follows it under its key.
    Park {
        /// Why; empty means none.
        reason: String,
    },
}

impl Outcome {
    /// [`Outcome::Retry`] after the subscription's backoff.
    pub fn retry() -> Self {
        Self::Retry { after: None, reason: String::new() }
    }

    /// [`Outcome::Retry`] after a time of one's own.
    pub fn retry_after(after: Duration) -> Self {
        Self::Retry { after: Some(after), reason: String::new() }
    }

    /// [`Outcome::Park`].
    pub fn park(reason: impl Into<String>) -> Self {
        Self::Park { reason: reason.into() }
    }

    /// Gives the reason of a [`Outcome::Retry`] or [`Outcome::Park`]; the others have none.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Self {
        match self {
            Self::Retry { after, .. } => Self::Retry { after, reason: why.into() },
            Self::Park { .. } => Self::Park { reason: why.into() },
            other => other,
        }
    }
}

/// What a settle says on the wire.
pub(super) struct How {
    pub(super) outcome: v1::Outcome,
    pub(super) delay_ms: u64,
    pub(super) reason: String,
}

impl How {
    /// The lease ends `by` from now, or after the subscription's lease.
    pub(super) fn extend(by: Option<Duration>) -> Self {
        Self { outcome: v1::Outcome::Extend, delay_ms: delay_ms(by), reason: String::new() }
    }
}

impl From<Outcome> for How {
    fn from(outcome: Outcome) -> Self {
        let plain = |outcome| Self { outcome, delay_ms: 0, reason: String::new() };
        match outcome {
            Outcome::Ack => plain(v1::Outcome::Ack),
            Outcome::Release => plain(v1::Outcome::Release),
            Outcome::Retry { after, reason } => {
                Self { outcome: v1::Outcome::Retry, delay_ms: delay_ms(after), reason: cut(reason) }
            }
            Outcome::Park { reason } => Self { outcome: v1::Outcome::Park, delay_ms: 0, reason: cut(reason) },
        }
    }
}

/// Zero means "the subscription's own" on the wire; the smallest delay that was asked for is 1 ms.
fn delay_ms(delay: Option<Duration>) -> u64 {
    delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// A reason that is too long to be kept is no reason to leave the message where it is.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let how = How::from(Outcome::park("ä".repeat(200)));
        assert_eq!(how.reason, "ä".repeat(128));
        let how = How::from(Outcome::retry().because(format!("x{}", "ä".repeat(200))));
        assert_eq!(how.reason.len(), 255);
    }

    #[test]
    fn the_shortest_delay_is_not_the_default() {
        assert_eq!(How::from(Outcome::retry_after(Duration::from_micros(3))).delay_ms, 1);
        assert_eq!(How::from(Outcome::retry()).delay_ms, 0);
    }
}
