//! A reader: looks at queues without changing them, those that it has heard of and some that are not there.

use std::collections::BTreeMap;

use quorate_client::wire::StatResponse;

use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::plan::ReaderPlan;
use crate::workload::verbs::{list_queues, members, peek, show_queue, stat, status};

pub(super) async fn run(cx: Cx, plan: ReaderPlan, mut rng: Rng) {
    let mut names: Vec<String> = cx.shared.plan.queues.iter().map(|queue| queue.name.clone()).collect();
    let mut seen: BTreeMap<String, StatResponse> = BTreeMap::new();
    while !cx.stopping() {
        let queue = match rng.percent(3) {
            true => "not-there".to_owned(),
            false => rng.pick(&names).clone(),
        };
        // What a call answers stands in the history; only what the next one builds on is kept.
        match rng.below(20) {
            0..=7 => {
                if let Ok(stat) = stat::call(&cx, &queue).await {
                    seen.insert(queue, stat);
                }
            }
            8..=13 => {
                let what = peek::sample(&mut rng, seen.get(&queue));
                let _ = peek::call(&cx, &queue, what).await;
            }
            14 | 15 => {
                let _ = show_queue::call(&cx, &queue).await;
            }
            16 => {
                let _ = members::call(&cx).await;
            }
            17 => {
                let _ = status::call(&cx).await;
            }
            _ => {
                if let Ok(queues) = list_queues::call(&cx).await
                    && !queues.is_empty()
                {
                    names = queues.into_iter().map(|queue| queue.name).collect();
                }
            }
        }
        cx.think(&mut rng, plan.every_ms).await;
    }
}
