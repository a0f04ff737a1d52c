//! A small run of its own: a plan's faults, one client that asks for the state, and the question whether there is a
//! leader again at the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::{Faults, leader};
use crate::disk::Loss;
use crate::history::History;
use crate::interpose;
use crate::plan::Plan;
use crate::world::{ClientHost, World};

/// The cluster has formed by then.
const FORMS_WITHIN: Duration = Duration::from_secs(20);
/// There is a leader by then after all faults have ended.
const LEADS_WITHIN: Duration = Duration::from_secs(10);
/// Who was damaged has said so by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the plan of a seed, but for the faults of some numbers, with its disks below `dir`, and tells what happened. The program must have said
/// [`interpose!`](crate::interpose!), and the thread must be new.
///
/// # Errors
/// What went wrong, with the plan and the history of the run.
pub fn run(seed: u64, seconds: u64, without: &BTreeSet<usize>, dir: &Path) -> Result<String, String> {
    interpose::arm(seed).map_err(|e| e.to_string())?;
    let plan = Plan::from_seed(seed, seconds).without(without);
    let history = Rc::new(History::default());
    let mut world = World::new(&plan.world(dir, 1));
    let mut faults = Faults::new(&plan);
    let result = phases(&mut world, &mut faults, &plan, &history);
    let nodes: Vec<String> =
        world.nodes.iter().map(|node| format!("{} {:?}", node.name(), node.phase())).collect();
    let disks = disks(&mut world);
    let tell = |faults: &Faults, what: Result<(), String>| {
        let told = format!("{plan}{}\n  {}\n", account(&history, faults, disks), nodes.join("\n  "));
        what.map(|()| told.clone()).map_err(|why| {
            let events = history.look(|events| events.iter().map(|e| format!("{e}\n")).collect::<String>());
            format!("seed {seed}: {why}\n{told}{events}")
        })
    };
    tell(&faults, result)
}

/// Identifies what is on all disks; the nodes are gone afterwards.
fn disks(world: &mut World) -> u64 {
    (0..world.nodes.len()).fold(0u64, |all, node| {
        world.crash(node, Loss::Nothing);
        all.rotate_left(1) ^ world.nodes[node].with_image(|image| image.hash()).unwrap_or_default()
    })
}

fn account(history: &History, faults: &Faults, disks: u64) -> String {
    let counts: Vec<String> = faults.stats().iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    format!("{} calls, disks {disks:016x}; happened: {}", history.calls(), counts.join(", "))
}

fn phases(world: &mut World, faults: &mut Faults, plan: &Plan, history: &Rc<History>) -> Result<(), String> {
    (0..plan.nodes).for_each(|node| world.start(node));
    until(world, FORMS_WITHIN, |world| {
        let formed = world.nodes.iter().all(|node| node.is_running()) && leader(world).is_some();
        world.step()?;
        Ok(formed)
    })?
    .ok_or("the cluster has not formed")?;
    let (client, told) = (Rc::clone(&world.clients[0]), Rc::clone(history));
    world.clients[0].assign(move || ask(Rc::clone(&client), Rc::clone(&told)));
    world.start_client(0);
    until(world, plan.duration, |world| {
        faults.step(world, history);
        world.step()?;
        Ok(false)
    })?;
    if !faults.is_over() {
        return Err("a fault outlasts the plan".into());
    }
    faults.heal(world, history);
    let healed = |world: &World, faults: &Faults| {
        leader(world).is_some()
            && world.nodes.iter().enumerate().all(|(id, node)| node.is_running() || faults.is_out(id))
    };
    until(world, LEADS_WITHIN, |world| {
        faults.step(world, history);
        world.step()?;
        Ok(healed(world, faults))
    })?
    .ok_or("the cluster is not back")?;
    until(world, SETTLES_WITHIN, |world| {
        faults.step(world, history);
        world.step()?;
        Ok(faults.violations(world).is_empty())
    })?;
    match faults.violations(world).first() {
        Some(violation) => Err(violation.to_string()),
        None => Ok(()),
    }
}

/// When it was done, if it was in time.
fn until(
    world: &mut World,
    limit: Duration,
    mut step: impl FnMut(&mut World) -> Result<bool, String>,
) -> Result<Option<Duration>, String> {
    let end = world.elapsed() + limit;
    while world.elapsed() < end {
        if step(world)? {
            return Ok(Some(world.elapsed()));
        }
    }
    Ok(None)
}

/// Makes work for the disks for ever: opens producers and publishes.
async fn ask(host: Rc<ClientHost>, history: Rc<History>) {
    use crate::history::{Answer, Call, Who};
    let who = Who { client: 0, life: host.lives(), actor: 0 };
    let Ok(client) = host.connect(CLIENT_TIMEOUT) else { return };
    let mut made = 0u64;
    loop {
        let queue = format!("smoke-{}", made % 50);
        made += 1;
        let settings = quorate_client::QueueSettings::default();
        let op = history.invoke(who, Call::ShowQueue { queue: queue.clone() });
        let answer = match client.queues().create(&queue, settings).await {
            Ok(_) => Answer::Done,
            Err(e) => Answer::Unknown(e.to_string()),
        };
        history.complete(who, op, answer);
        let op = history.invoke(who, Call::DeleteQueue { queue: queue.clone() });
        let answer = match client.queues().delete(&queue).await {
            Ok(()) => Answer::Done,
            Err(e) => Answer::Unknown(e.to_string()),
        };
        history.complete(who, op, answer);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
