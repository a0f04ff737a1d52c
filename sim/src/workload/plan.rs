//! What the clients of a run do, all of it from the seed.

use std::time::Duration;

use crate::seed::Rng;

/// The longest that a producer session may be remembered: no clock that jumps lets it be forgotten.
pub(crate) const TTL_LONG_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Messages that fall due together, at most.
const CROWD_MAX: u64 = 900;

/// A queue that lasts for the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuePlan {
    pub(crate) name: String,
    pub(crate) total: bool,
    /// 0 means the default, here and in the backoff.
    pub(crate) lease_ms: u64,
    /// First and longest.
    pub(crate) backoff_ms: (u64, u64),
}

/// A client process: when it dies, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPlan {
    /// Least and greatest time that it lives; `None` if nobody kills it.
    pub(crate) lives_ms: Option<(u64, u64)>,
    /// Least and greatest time that it is gone; 0 restarts it in the same tick.
    pub(crate) down_ms: (u64, u64),
}

/// A stretch without work, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quiet {
    pub(crate) period_ms: u64,
    pub(crate) quiet_ms: u64,
}

/// One actor and where it lives.
#[derive(Debug, Clone)]
pub(crate) struct ActorPlan {
    pub(crate) host: usize,
    /// Of its client.
    pub(crate) timeout: Duration,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) role: Role,
}

/// What an actor does.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    Producer(ProducerPlan),
    Consumer(ConsumerPlan),
    Reader(ReaderPlan),
    Admin(AdminPlan),
    Everything(EverythingPlan),
    Again(AgainPlan),
    Crowd(CrowdPlan),
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct ProducerPlan {
    /// Place among the queues.
    pub(crate) queue: usize,
    /// `None` takes the client's random name.
    pub(crate) session: Option<String>,
    /// Another actor holds a session of the same name: neither can tell what the other's messages became of.
    pub(crate) shared_session: bool,
    pub(crate) ttl_ms: u64,
    pub(crate) window: u32,
    pub(crate) batch_messages: usize,
    /// Length of the bodies.
    pub(crate) bytes: (u64, u64),
    /// Messages in a burst.
    pub(crate) burst: (u64, u64),
    /// Between two bursts.
    pub(crate) every_ms: (u64, u64),
    /// After a burst it waits for all receipts in so many of 100 cases.
    pub(crate) flush_percent: u64,
    /// After a burst it ends the session, or lets go of it, in so many of 100 cases.
    pub(crate) reopen_percent: u64,
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct ConsumerPlan {
    /// Place among the queues.
    pub(crate) queue: usize,
    pub(crate) credit: u64,
    pub(crate) session_timeout_ms: u64,
    /// How long it works on what it has in hand.
    pub(crate) think_ms: (u64, u64),
    /// How many messages it takes in hand at once.
    pub(crate) hand: u64,
    pub(crate) mix: Mix,
    /// How many handfuls it takes before it leaves its session.
    pub(crate) stay: (u64, u64),
    /// It leaves without a word in so many of 100 cases.
    pub(crate) abandon_percent: u64,
    /// It changes its credit after a handful in so many of 100 cases.
    pub(crate) credit_percent: u64,
    /// Pause between two sessions.
    pub(crate) away_ms: (u64, u64),
}

/// How often, of 100 deliveries, something else happens than an acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) retry: u64,
    pub(crate) release: u64,
    pub(crate) extend: u64,
    /// Acknowledged after the lease has ended.
    pub(crate) late: u64,
    pub(crate) never: u64,
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct ReaderPlan {
    pub(crate) every_ms: (u64, u64),
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct AdminPlan {
    pub(crate) every_ms: (u64, u64),
    /// How many names of scratch queues there are: few, so that names are used again.
    pub(crate) scratch: u64,
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct EverythingPlan {
    /// Its queue, which nobody else uses.
    pub(crate) queue: String,
    pub(crate) every_ms: (u64, u64),
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct AgainPlan {
    pub(crate) every_ms: (u64, u64),
    /// Of 100 acts, how many delete a queue.
    pub(crate) delete_percent: u64,
    /// How many deliveries it keeps in hand at most, to settle them late.
    pub(crate) keep: u64,
}

/// See [`Role`].
#[derive(Debug, Clone)]
pub(crate) struct CrowdPlan {
    pub(crate) every_ms: (u64, u64),
    /// That have something in common.
    pub(crate) messages: u64,
    /// It sends long requests instead in so many of 100 cases.
    pub(crate) long_percent: u64,
    /// Most of those at once, and most long parts in each.
    pub(crate) long_max: u64,
}

/// All parameters of a run's clients.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadPlan {
    /// For choices made while it runs.
    pub(crate) seed: u64,
    pub(crate) queues: Vec<QueuePlan>,
    pub(crate) hosts: Vec<HostPlan>,
    pub(crate) actors: Vec<ActorPlan>,
}

impl WorkloadPlan {
    /// A plan. Each part draws from a stream of its own.
    pub(crate) fn from_seed(rng: &mut Rng) -> Self {
        let seed = rng.next();
        let [mut sizes, mut queues, mut hosts, mut actors] = std::array::from_fn(|_| rng.fork());
        let large = sizes.percent(30);
        let count = |rng: &mut Rng, small: (u64, u64), big: (u64, u64)| match large {
            true => rng.between(big.0, big.1),
            false => rng.between(small.0, small.1),
        };
        let (producers, consumers) = (count(&mut sizes, (1, 2), (3, 6)), count(&mut sizes, (1, 3), (3, 6)));
        let queues: Vec<QueuePlan> = some_queues(&mut queues, count(&mut sizes, (1, 2), (2, 4)));
        let hosts = some_hosts(&mut hosts, count(&mut sizes, (1, 3), (2, 4)));
        let mut roles = some_producers(&mut actors, producers, queues.len());
        for n in 0..consumers {
            roles.push(Role::Consumer(ConsumerPlan::sample(&mut actors, n as usize % queues.len())));
        }
        for _ in 0..sizes.below(3) {
            roles.push(Role::Reader(ReaderPlan { every_ms: spread(&mut actors, 100, 3000) }));
        }
        if sizes.percent(70) {
            let every_ms = spread(&mut actors, 300, 4000);
            roles.push(Role::Admin(AdminPlan { every_ms, scratch: actors.between(1, 3) }));
        }
        for n in 0..sizes.below(3) {
            let (queue, every_ms) = (format!("model-{}", n + 1), spread(&mut actors, 50, 1000));
            roles.push(Role::Everything(EverythingPlan { queue, every_ms }));
        }
        let place = |role| ActorPlan {
            host: actors.below(hosts.len() as u64) as usize,
            timeout: Duration::from_millis(actors.between(2000, 10_000)),
            quiet: actors.percent(25).then(|| some_quiet(&mut actors)),
            role,
        };
        let mut actors: Vec<ActorPlan> = roles.into_iter().map(place).collect();
        // From streams of their own behind all others: whoever else there is in a seed does what it did.
        actors.extend(some_again(&mut rng.fork(), hosts.len() as u64));
        actors.extend(some_crowd(&mut rng.fork(), hosts.len()));
        WorkloadPlan { seed, queues, hosts, actors }
    }
}

/// In some runs, a few that delete queues under each other's hands and make them again.
fn some_again(rng: &mut Rng, hosts: u64) -> Vec<ActorPlan> {
    let count = if rng.percent(40) { rng.between(2, 3) } else { 0 };
    let actor = |_| ActorPlan {
        host: rng.below(hosts) as usize,
        timeout: Duration::from_millis(rng.between(2000, 10_000)),
        quiet: None,
        role: Role::Again(AgainPlan {
            every_ms: spread(rng, 50, 500),
            delete_percent: rng.between(2, 8),
            keep: rng.between(1, 8),
        }),
    };
    (0..count).map(actor).collect()
}

fn some_crowd(rng: &mut Rng, hosts: usize) -> Option<ActorPlan> {
    let crowd = CrowdPlan {
        every_ms: spread(rng, 500, 6000),
        messages: rng.magnitude(20, CROWD_MAX),
        long_percent: *rng.pick(&[0, 0, 30, 100]),
        long_max: rng.between(2, 8),
    };
    let (host, timeout) =
        (rng.below(hosts as u64) as usize, Duration::from_millis(rng.between(4000, 10_000)));
    rng.percent(50).then_some(ActorPlan { host, timeout, quiet: None, role: Role::Crowd(crowd) })
}

fn some_quiet(rng: &mut Rng) -> Quiet {
    let period_ms = rng.between(5000, 30_000);
    Quiet { period_ms, quiet_ms: period_ms * rng.between(10, 60) / 100 }
}

/// Two bounds around a value of any magnitude.
fn spread(rng: &mut Rng, low: u64, high: u64) -> (u64, u64) {
    let middle = rng.magnitude(low, high);
    (middle / 2, middle * 3 / 2)
}

/// Usually at least one of each order.
fn some_queues(rng: &mut Rng, count: u64) -> Vec<QueuePlan> {
    let both = rng.percent(90);
    let queue = |n: u64| {
        let any = rng.percent(50);
        let first = rng.magnitude(10, 2000);
        QueuePlan {
            name: format!("q{}", n + 1),
            total: if n < 2 && count > 1 && both { n == 0 } else { any },
            lease_ms: rng.magnitude(100, 30_000),
            backoff_ms: (first, first * rng.between(1, 5)),
        }
    };
    (0..count).map(queue).collect()
}

fn some_hosts(rng: &mut Rng, count: u64) -> Vec<HostPlan> {
    let host = |_| {
        let lives = rng.percent(60).then(|| spread(rng, 3000, 30_000));
        let down_ms = if rng.percent(40) { (0, 0) } else { spread(rng, 100, 8000) };
        HostPlan { lives_ms: lives, down_ms }
    };
    (0..count).map(host).collect()
}

fn some_producers(rng: &mut Rng, count: u64, queues: usize) -> Vec<Role> {
    // Messages in ten seconds, by all of them: the volume of a run.
    let volume = rng.magnitude(60, 160);
    let mut made: Vec<ProducerPlan> = Vec::new();
    for n in 0..count {
        let queue = n as usize % queues;
        let mut plan = ProducerPlan::sample(rng, n, queue, volume / count);
        let twin = made.last_mut().filter(|other| other.session.is_some() && !other.shared_session);
        if let Some(other) = twin
            && rng.percent(20)
        {
            (other.shared_session, plan.shared_session) = (true, true);
            plan.session.clone_from(&other.session);
        }
        made.push(plan);
    }
    made.into_iter().map(Role::Producer).collect()
}

impl ProducerPlan {
    fn sample(rng: &mut Rng, n: u64, queue: usize, in_ten_seconds: u64) -> Self {
        let burst = match rng.below(10) {
            0..=3 => (1, 1),
            4..=7 => (1, rng.between(2, 8)),
            _ => (rng.between(5, 20), rng.between(20, 60)),
        };
        let pause_ms = 10_000 * (burst.0 + burst.1) / 2 / in_ten_seconds.max(1);
        let short_ttl = rng.percent(15);
        ProducerPlan {
            queue,
            session: rng.percent(70).then(|| format!("producer-{}", n + 1)),
            shared_session: false,
            ttl_ms: if short_ttl { rng.magnitude(1000, 8000) } else { TTL_LONG_MS },
            window: *rng.pick(&[1, 2, 16, 1024]),
            batch_messages: *rng.pick(&[1, 3, 16, 256]),
            bytes: if rng.percent(75) {
                (16, rng.magnitude(16, 400))
            } else {
                (16, rng.magnitude(1024, 65_536))
            },
            burst,
            every_ms: (pause_ms / 2, pause_ms * 3 / 2),
            flush_percent: *rng.pick(&[0, 20, 100]),
            reopen_percent: *rng.pick(&[0, 2, 10]),
        }
    }
}

impl ConsumerPlan {
    fn sample(rng: &mut Rng, queue: usize) -> Self {
        let slow = rng.percent(20);
        ConsumerPlan {
            queue,
            credit: rng.magnitude(1, 500),
            session_timeout_ms: rng.magnitude(1000, 12_000),
            think_ms: if slow { spread(rng, 200, 2000) } else { (0, rng.magnitude(1, 100)) },
            hand: rng.magnitude(1, 20),
            mix: Mix::sample(rng),
            stay: spread(rng, 5, 200),
            abandon_percent: *rng.pick(&[0, 30, 100]),
            credit_percent: *rng.pick(&[0, 2, 10]),
            away_ms: spread(rng, 10, 2000),
        }
    }
}

impl Mix {
    /// Each sort is there or not.
    fn sample(rng: &mut Rng) -> Self {
        let mut share = |most| if rng.percent(60) { rng.between(1, most) } else { 0 };
        Mix { retry: share(20), release: share(15), extend: share(20), late: share(8), never: share(8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> impl Iterator<Item = WorkloadPlan> {
        (0..2000).map(|seed| WorkloadPlan::from_seed(&mut Rng::new(seed, "workload")))
    }

    #[test]
    fn a_plan_follows_from_its_seed() {
        let made = |seed| format!("{:?}", WorkloadPlan::from_seed(&mut Rng::new(seed, "workload")));
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn plans_stay_within_what_the_product_takes() {
        for plan in plans() {
            assert!((1..=4).contains(&plan.queues.len()) && (1..=4).contains(&plan.hosts.len()));
            assert!(plan.queues.iter().all(|q| (100..=30_000).contains(&q.lease_ms)));
            assert!(plan.queues.iter().all(|q| q.backoff_ms.0 <= q.backoff_ms.1 && q.backoff_ms.1 <= 10_000));
            for actor in &plan.actors {
                assert!(actor.host < plan.hosts.len());
                match &actor.role {
                    Role::Producer(p) => assert!(p.queue < plan.queues.len() && p.ttl_ms >= 1000),
                    Role::Consumer(c) => {
                        assert!(c.queue < plan.queues.len() && (1..=500).contains(&c.credit))
                    }
                    Role::Again(again) => assert!(again.delete_percent < 50 && again.keep > 0),
                    Role::Reader(_) | Role::Admin(_) | Role::Everything(_) | Role::Crowd(_) => {}
                }
            }
        }
    }

    #[test]
    fn every_sort_of_plan_comes_up() {
        let any = |is: &dyn Fn(&WorkloadPlan) -> bool| plans().any(|plan| is(&plan));
        let producer = |is: &dyn Fn(&ProducerPlan) -> bool| {
            any(&|plan| plan.actors.iter().any(|a| matches!(&a.role, Role::Producer(p) if is(p))))
        };
        assert!(producer(&|p| p.shared_session) && producer(&|p| p.session.is_none()));
        assert!(producer(&|p| p.window == 1) && producer(&|p| p.bytes.1 > 30_000));
        assert!(producer(&|p| p.ttl_ms < 5000));
        assert!(any(&|plan| plan.queues.iter().any(|q| q.total) && plan.queues.iter().any(|q| !q.total)));
        assert!(any(&|plan| plan.hosts.iter().all(|host| host.lives_ms.is_none())));
        assert!(any(&|plan| plan.actors.iter().any(|a| matches!(a.role, Role::Admin(_)))));
        let again = |plan: &WorkloadPlan| plan.actors.iter().any(|a| matches!(a.role, Role::Again(_)));
        assert!(any(&again) && any(&|plan| !again(plan)));
        let crowd = |is: &dyn Fn(&CrowdPlan) -> bool| {
            any(&|plan| plan.actors.iter().any(|a| matches!(&a.role, Role::Crowd(c) if is(c))))
        };
        assert!(crowd(&|c| c.messages > CROWD_MAX / 2) && crowd(&|c| c.long_percent == 100));
    }
}
