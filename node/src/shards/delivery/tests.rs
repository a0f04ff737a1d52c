//! What the hub knows of sessions, without a replica.

use std::time::Duration;

use quorate_machine::effect::{Effect, Lease};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

use super::{Hub, News};

const TIMEOUT: Duration = Duration::from_secs(5);

fn attached(consumer: u64, generation: u64) -> Effect {
    Effect::Attached { consumer, generation, session_timeout_ms: TIMEOUT.as_millis() as u64 }
}

fn lease() -> Lease {
    Lease { namespace: 1, queue: 1, first_position: 1, count: 1, first_token: 1, attempt: 1, deadline_ms: 1 }
}

fn overdue_after(hub: &Hub, waited: Duration) -> Vec<(u64, u64)> {
    hub.overdue(Instant::now() + waited)
}

/// The client was gone before its stream opened, or the answer to its attach was.
#[test]
fn a_session_whose_stream_never_opens_is_overdue_in_time() {
    let hub = Hub::default();
    hub.tell(attached(1, 1), true);
    assert_eq!(overdue_after(&hub, Duration::from_secs(4)), []);
    assert_eq!(overdue_after(&hub, TIMEOUT), [(1, 1)]);
    let _stream = hub.open(1, 1, TIMEOUT);
    assert_eq!(overdue_after(&hub, TIMEOUT), []);
}

#[test]
fn the_news_of_an_attach_that_comes_late_leaves_its_stream_alone() {
    let hub = Hub::default();
    let mut stream = hub.open(1, 1, TIMEOUT);
    hub.tell(attached(1, 1), true);
    hub.tell(Effect::Assigned { consumer: 1, lease: lease() }, true);
    assert_eq!(stream.try_recv(), Ok(News::Assigned(lease())));
    assert_eq!(overdue_after(&hub, TIMEOUT), []);
}

#[test]
fn a_later_attach_ends_the_stream_before_it_and_no_earlier_stream_replaces_it() {
    let hub = Hub::default();
    let mut first = hub.open(1, 1, TIMEOUT);
    hub.tell(attached(1, 2), true);
    assert_eq!(first.try_recv(), Err(TryRecvError::Disconnected));
    assert!(!hub.is_current(1, 1) && hub.is_current(1, 2));
    let mut late = hub.open(1, 1, TIMEOUT);
    assert_eq!(late.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(overdue_after(&hub, TIMEOUT), [(1, 2)]);
    let mut second = hub.open(1, 2, TIMEOUT);
    assert_eq!(second.try_recv(), Err(TryRecvError::Empty));
    hub.tell(Effect::Ended { consumer: 1 }, true);
    assert_eq!(second.try_recv(), Ok(News::Ended));
    assert_eq!(overdue_after(&hub, TIMEOUT), []);
}

#[test]
fn who_does_not_lead_keeps_no_sessions() {
    let hub = Hub::default();
    hub.tell(attached(1, 1), false);
    assert_eq!(overdue_after(&hub, TIMEOUT), []);
}
