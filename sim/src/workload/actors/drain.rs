//! The end of a run: acknowledges everything that is left, until every queue says that it is empty.

use std::time::Duration;

use futures::future::join_all;

use super::everything::is_everything;
use super::{Without, fill, next};
use crate::workload::cx::Cx;
use crate::workload::settle::settled;
use crate::workload::verbs::{ack, attach, delete_queue, detach, list_queues, stat};

const CREDIT: u32 = 200;
const SESSION_TIMEOUT_MS: u64 = 10_000;
const HANDFUL: usize = 100;
const WAIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(200);

/// Ends when all is empty.
pub(crate) async fn run(cx: Cx) {
    loop {
        if let Ok(queues) = list_queues::call(&cx).await {
            let names = queues.into_iter().map(|queue| queue.name);
            // Delayed, parked and paused messages have nobody to wait for.
            let (others, names): (Vec<String>, Vec<String>) = names.partition(|name| is_everything(name));
            join_all(others.iter().map(|name| delete_queue::call(&cx, name))).await;
            join_all(names.iter().map(|name| empty(&cx, name))).await;
            if all_empty(&cx, &names).await {
                cx.shared.set_drained();
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Acknowledges until nothing is left, or the session must be begun again. What others still hold comes when their
/// leases end.
async fn empty(cx: &Cx, queue: &str) {
    let Ok(mut consumer) = attach::call(cx, queue, CREDIT, SESSION_TIMEOUT_MS).await else { return };
    loop {
        match next(cx, queue, &mut consumer, WAIT).await {
            Ok(delivery) => {
                let mut hand = vec![delivery];
                fill(cx, queue, &mut consumer, &mut hand, HANDFUL);
                let laters = hand.into_iter().map(|delivery| ack::later(cx, queue, delivery)).collect();
                if !settled(cx, &consumer, laters).await {
                    return;
                }
            }
            Err(Without::Nothing) => match stat::call(cx, queue).await {
                Ok(stat) if stat.length == 0 => break,
                Ok(_) => {}
                Err(_) => return,
            },
            Err(Without::Over) => return,
        }
    }
    let _ = detach::call(cx, queue, consumer).await; // the history has it
}

async fn all_empty(cx: &Cx, queues: &[String]) -> bool {
    for queue in queues {
        if !stat::call(cx, queue).await.is_ok_and(|stat| stat.length == 0) {
            return false;
        }
    }
    true
}
