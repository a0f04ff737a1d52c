//! Shows that a node can die between a commit and its answer.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::leader;
use crate::disk::{Failure, Loss};
use crate::interpose;
use crate::plan::Plan;
use crate::world::{ClientHost, World};

const TRIES: u64 = 40;

/// What the client was asked to do, and what it got.
#[derive(Default)]
struct Desk {
    create: Option<String>,
    answered: Vec<String>,
    list: bool,
    listed: Option<Vec<String>>,
}

async fn serve(host: Rc<ClientHost>, desk: Rc<RefCell<Desk>>) {
    let Ok(client) = host.connect(Duration::from_secs(1)) else { return };
    loop {
        let create = desk.borrow_mut().create.take();
        if let Some(name) = create
            && client.queues().create(&name, quorate_client::QueueSettings::default()).await.is_ok()
        {
            desk.borrow_mut().answered.push(name);
        }
        if std::mem::take(&mut desk.borrow_mut().list) {
            let listed = client.queues().list().await;
            desk.borrow_mut().listed = listed.ok().map(|all| all.into_iter().map(|q| q.name).collect());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn until(world: &mut World, what: &str, is_done: impl Fn(&World) -> bool) -> Result<(), String> {
    let end = world.elapsed() + Duration::from_secs(20);
    while !is_done(world) {
        world.step()?;
        if world.elapsed() > end {
            return Err(format!("not within 20 s: {what}"));
        }
    }
    Ok(())
}

/// One node; a queue is made while the power fails after the first, the second, … disk operation. How many of the
/// queues were there afterwards although nobody was answered, and how many were not.
///
/// # Errors
/// An answer from a node that was dead, or what else went wrong.
pub fn run(dir: &Path) -> Result<(u64, u64), String> {
    interpose::arm(1).map_err(|e| e.to_string())?;
    let plan = (0..).map(|seed| Plan::from_seed(seed, 1)).find(|plan| plan.nodes == 1).ok_or("no plan")?;
    let mut world = World::new(&plan.world(dir, 1));
    let desk = Rc::new(RefCell::new(Desk::default()));
    let (client, at) = (Rc::clone(&world.clients[0]), Rc::clone(&desk));
    world.clients[0].assign(move || serve(Rc::clone(&client), Rc::clone(&at)));
    world.start_client(0);
    let (mut there, mut gone) = (0, 0);
    for ops in 0..TRIES {
        world.start(0);
        until(&mut world, "a leader", |world| leader(world).is_some())?;
        let name = format!("queue-{ops}");
        desk.borrow_mut().create = Some(name.clone());
        let medium = world.nodes[0].medium();
        let op = medium.borrow().ops() + ops % 8;
        medium.borrow_mut().trouble.failure = Some(Failure { op, after: true, loss: Loss::Unsynced });
        until(&mut world, "the power fails", |world| !world.nodes[0].is_up())?;
        let answered = desk.borrow().answered.contains(&name);
        world.start(0);
        until(&mut world, "a leader again", |world| leader(world).is_some())?;
        desk.borrow_mut().create = None;
        desk.borrow_mut().listed = None;
        while desk.borrow().listed.is_none() {
            desk.borrow_mut().list = true;
            let end = world.elapsed() + Duration::from_millis(100);
            until(&mut world, "a moment", |world| world.elapsed() >= end)?;
        }
        let is_there = desk.borrow().listed.as_ref().is_some_and(|all| all.contains(&name));
        match (answered, is_there) {
            (true, false) => return Err(format!("{name} was acknowledged and is lost")),
            (false, true) => there += 1,
            (false, false) => gone += 1,
            (true, true) => {}
        }
        world.crash(0, Loss::Unsynced);
    }
    Ok((there, gone))
}
