//! Shows that a replica whose state is not that of the others is stopped while they go on, whether it leads or follows.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quorate_simpoint::Bug;

use super::leader;
use crate::interpose;
use crate::plan::{Kind, Plan};
use crate::probe::Points;
use crate::world::{Cause, ClientHost, Phase, World};

/// All that has to happen happens within this.
const PATIENCE: Duration = Duration::from_secs(30);

async fn publish(host: Rc<ClientHost>) {
    let Ok(client) = host.connect(Duration::from_secs(2)) else { return };
    while client.queues().create("q", quorate_client::QueueSettings::default()).await.is_err() {}
    loop {
        // Leaders come and go; what is sent in vain is sent again.
        let Ok(producer) = client.queue::<String>("q").producer().open().await else { continue };
        while let Ok(pending) = producer.send("x".to_owned()).await {
            if pending.await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(super) fn until(world: &mut World, what: &str, is_done: impl Fn(&World) -> bool) -> Result<(), String> {
    let end = world.elapsed() + PATIENCE;
    while !is_done(world) {
        world.step()?;
        if world.elapsed() > end {
            let phases: Vec<Phase> = world.nodes.iter().map(|node| node.phase()).collect();
            return Err(format!("not in time: {what}; {phases:?}"));
        }
    }
    Ok(())
}

fn is_stopped(world: &World, node: usize) -> bool {
    matches!(world.nodes[node].phase(), Phase::Ended(ended) if ended.cause == Cause::Differs)
}

/// Three nodes, of which one begins to apply otherwise than the others: the leader, or one that follows. `unseen`: nobody compares.
///
/// # Errors
/// If another node stops than that one, or none.
pub fn run(leads: bool, unseen: bool, dir: &Path) -> Result<String, String> {
    interpose::arm(1).map_err(|e| e.to_string())?;
    let plan = Plan::of_kinds(1, 3, &[] as &[Kind], Duration::ZERO);
    let mut world = World::new(&plan.world(dir, 1));
    let astray = Rc::new(Cell::new(None));
    let (who, hosts) = (Rc::clone(&astray), world.nodes.clone());
    // What is applied depends on this clock, which is the same everywhere but on one node.
    let clock_ms = move || 1 + u64::from(who.get().is_some_and(|node: usize| hosts[node].is_here()));
    let mut bugs = vec![Bug::NondeterministicApply];
    bugs.extend(unseen.then_some(Bug::DigestsNotCompared));
    let points = Points::with_bugs(1, false, bugs, clock_ms, |_, _| {});
    let _scope = quorate_simpoint::install(points as Rc<dyn quorate_simpoint::Probe>);
    let client = Rc::clone(&world.clients[0]);
    world.clients[0].assign(move || publish(Rc::clone(&client)));
    (0..3).for_each(|node| world.start(node));
    world.start_client(0);
    until(&mut world, "a leader", |world| leader(world).is_some())?;
    let began = world.elapsed() + Duration::from_secs(2);
    until(&mut world, "some work", |world| world.elapsed() >= began && leader(world).is_some())?;
    let first = leader(&world).ok_or("no leader")?;
    let odd = if leads { first } else { (first + 1) % 3 };
    astray.set(Some(odd));
    let since = world.elapsed();
    until(&mut world, "it is stopped", |world| (0..3).any(|node| !world.nodes[node].is_up()))?;
    let took = world.elapsed() - since;
    if !is_stopped(&world, odd) {
        return Err(format!("another one was stopped: {:?}", world.nodes[odd].phase()));
    }
    let end = world.elapsed() + Duration::from_secs(5);
    until(&mut world, "the others go on", |world| world.elapsed() >= end && leader(world).is_some())?;
    match (0..3).filter(|node| *node != odd).all(|node| world.nodes[node].is_running()) {
        true => Ok(format!("n{} was stopped after {} ms", odd + 1, took.as_millis())),
        false => Err("one of the others was stopped, too".into()),
    }
}
