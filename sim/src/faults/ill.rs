//! Shows, each on a world of its own, what becomes of one disk that hangs or runs full while a client publishes; and that it would be seen if
//! what the product does about it were not done.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{OnFull, QueueSettings};
use quorate_simpoint::Bug;

use super::astray::until;
use super::leader;
use crate::interpose;
use crate::plan::{Kind, Plan};
use crate::probe::Points;
use crate::world::{ClientHost, World};

const MIB: u64 = 1 << 20;
/// Length of a body.
const BYTES: usize = 64 << 10;
/// The log's bound.
const LOG_BYTES_MAX: u64 = MIB;
/// From when a log stands still, and a tenth of it later another has to lead if it takes no more, with what handing over takes.
const STALL: Duration = Duration::from_secs(5);
const BLOCKED_MAX: Duration = Duration::from_millis(1500);
/// How long the disk is ill.
const ILL: Duration = Duration::from_secs(20);

/// What is wrong with the disk of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    /// The leader's hangs: another node leads.
    LeaderHangs,
    /// The leader's hangs, and all that may wait for it does: another node leads at once.
    LeaderBlocked,
    /// A follower's hangs: the leader's log stays within its bounds.
    FollowerHangs,
    /// A follower's has no more than its reserve: it is not filled up.
    FollowerFull,
    /// Those of both have little more than their reserves: the leader refuses in time.
    FollowersFull,
}

impl Ill {
    /// By its name.
    pub fn named(name: &str) -> Option<Ill> {
        [
            ("leader-hangs", Ill::LeaderHangs),
            ("leader-blocked", Ill::LeaderBlocked),
            ("follower-hangs", Ill::FollowerHangs),
            ("follower-full", Ill::FollowerFull),
            ("followers-full", Ill::FollowersFull),
        ]
        .into_iter()
        .find_map(|(known, ill)| (known == name).then_some(ill))
    }

    /// How many messages the queue keeps: where a log is not to grow, so few that what is in it is of no use soon.
    fn kept(self) -> Option<u64> {
        matches!(self, Ill::LeaderHangs | Ill::LeaderBlocked | Ill::FollowerHangs).then_some(4)
    }

    /// Leaves out what the product does about it.
    fn bug(self) -> Bug {
        match self {
            Ill::LeaderHangs => Bug::StalledLeaderStays,
            Ill::LeaderBlocked => Bug::BlockedLeaderStays,
            Ill::FollowerHangs => Bug::LaggardHoldsLog,
            Ill::FollowerFull => Bug::FullFollowerFed,
            Ill::FollowersFull => Bug::RoomOfFollowersIgnored,
        }
    }

    /// Why all is not well.
    fn problem(self, world: &World, seen: &Seen) -> Option<String> {
        let Seen { led, most, left, .. } = *seen;
        match self {
            Ill::LeaderBlocked if seen.led_for.is_none_or(|led_for| led_for > BLOCKED_MAX) => {
                Some(format!("it led for {:?}", seen.led_for))
            }
            Ill::LeaderHangs if leader(world).is_none_or(|now| now == led) => {
                Some("nobody else leads".into())
            }
            Ill::FollowerHangs if most > 24 * LOG_BYTES_MAX => Some(format!("a log of {} MiB", most / MIB)),
            Ill::FollowerFull | Ill::FollowersFull if left < MIB => {
                Some(format!("room for {} KiB is left", left >> 10))
            }
            _ => None,
        }
    }
}

/// What was seen while the disk was ill.
struct Seen {
    /// Who led.
    led: usize,
    /// How long it went on leading.
    led_for: Option<Duration>,
    /// Bytes of its log, at most.
    most: u64,
    /// Bytes of room that a follower has left.
    left: u64,
}

/// Publishes to a queue that keeps `most` messages.
async fn publish(host: Rc<ClientHost>, most: Option<u64>) {
    let Ok(client) = host.connect(Duration::from_secs(2)) else { return };
    let on_full = most.map(|_| OnFull::DropOldest);
    let settings = QueueSettings { max_length: most, on_full, ..QueueSettings::default() };
    while client.queues().create("q", settings.clone()).await.is_err() {}
    loop {
        // Leaders come and go; what is sent in vain is sent again.
        let Ok(producer) = client.queue::<String>("q").producer().open().await else { continue };
        while let Ok(pending) = producer.send("x".repeat(BYTES)).await {
            if pending.await.is_err() {
                break;
            }
        }
    }
}

/// Three nodes, one of whose disks is ill; `unseen`: nothing is done about it.
///
/// # Errors
/// If all is not well.
pub fn run(ill: Ill, unseen: bool, dir: &Path) -> Result<String, String> {
    interpose::arm(1).map_err(|e| e.to_string())?;
    let mut plan = Plan::of_kinds(1, 3, &[] as &[Kind], Duration::ZERO);
    plan.raft.log_bytes_max = LOG_BYTES_MAX;
    plan.raft.log_stall_after = STALL;
    let mut world = World::new(&plan.world(dir, 1));
    let bugs = unseen.then(|| ill.bug()).into_iter().collect();
    let points = Points::with_bugs(1, false, bugs, || 1, |_, _| {});
    let _scope = quorate_simpoint::install(points as Rc<dyn quorate_simpoint::Probe>);
    let client = Rc::clone(&world.clients[0]);
    world.clients[0].assign(move || publish(Rc::clone(&client), ill.kept()));
    (0..3).for_each(|node| world.start(node));
    world.start_client(0);
    until(&mut world, "a leader", |world| leader(world).is_some())?;
    // A new leader is not asked to leave at once.
    let began = world.elapsed() + STALL + Duration::from_secs(2);
    until(&mut world, "some work", |world| world.elapsed() >= began && leader(world).is_some())?;
    let led = leader(&world).ok_or("no leader")?;
    let follower = (led + 1) % 3;
    match ill {
        Ill::LeaderHangs | Ill::LeaderBlocked => world.nodes[led].stall_disk(true),
        Ill::FollowerHangs => world.nodes[follower].stall_disk(true),
        Ill::FollowerFull => world.nodes[follower].space.leave(16 * MIB),
        Ill::FollowersFull => {
            let followers = world.nodes.iter().enumerate().filter(|(node, _)| *node != led);
            followers.for_each(|(_, node)| node.space.leave(24 * MIB));
        }
    }
    let (ill_from, most, led_for) = (world.elapsed(), Cell::new(0), Cell::new(None));
    until(&mut world, "the time is over", |world| {
        if led_for.get().is_none() && leader(world).is_some_and(|now| now != led) {
            led_for.set(Some(world.elapsed() - ill_from));
        }
        if let Some(shard) = world.nodes[led].shard() {
            most.set(most.get().max(shard.replica.log().bytes()));
        }
        world.elapsed() >= ill_from + ILL
    })?;
    let left = world.nodes[follower].shard().map_or(0, |shard| shard.replica.log().room().free_bytes);
    let seen = Seen { led, led_for: led_for.get(), most: most.get(), left };
    let told = format!(
        "the leader led for {:?}, and its log had {} KiB at most; a follower has room for {} KiB",
        seen.led_for,
        seen.most >> 10,
        left >> 10
    );
    ill.problem(&world, &seen).map_or(Ok(told), Err)
}
