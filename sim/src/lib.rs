//! Deterministic simulation of Quorate: real nodes and real clients in one thread, with their network, disks and clocks
//! under one seed.

#[cfg(not(tokio_unstable))]
compile_error!(
    "quorate-sim needs `--cfg tokio_unstable`, which .cargo/config.toml sets: a RUSTFLAGS variable overrides it"
);

mod disk;
pub mod interpose;
mod seed;
mod world;

pub use seed::Rng;

/// Spike.
pub fn spike(seed: u64, dir: std::path::PathBuf) {
    use std::time::Duration;
    interpose::arm(seed).unwrap();
    let start = interpose::real_now();
    struct SimTime;
    impl tracing_subscriber::fmt::time::FormatTime for SimTime {
        fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            write!(w, "[{:?}]", interpose::elapsed())
        }
    }
    tracing_subscriber::fmt()
        .with_timer(SimTime)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let options = world::WorldOptions {
        seed,
        nodes: 3,
        clients: 2,
        dir,
        latency: (Duration::from_millis(1), Duration::from_millis(5)),
        disk: world::DiskSpeed { latency: (Duration::ZERO, Duration::from_millis(3)) },
        raft: quorate_raft::Settings::default(),
        map_bytes_max: 1 << 26,
    };
    let mut world = world::World::new(&options);
    for id in 0..3 {
        world.start(id);
    }
    let host = world.clients[0].clone();
    let h2 = host.clone();
    host.assign(move || {
        let h = h2.clone();
        async move {
            let client = h.connect(Duration::from_secs(20)).unwrap();
            let q = client.queues().create("q", quorate_client::QueueSettings::default()).await;
            println!("create {:?} {q:?}", interpose::elapsed());
            let queue = client.raw_queue("q");
            let producer = queue.producer().open().await.unwrap();
            for i in 0..200 {
                let p = producer.send(bytes::Bytes::from(format!("m{i}"))).await.unwrap();
                let r = p.await;
                println!("{:?} sent {i}: {r:?}", interpose::elapsed());
            }
        }
    });
    world.start_client(0);
    let host = world.clients[1].clone();
    let h2 = host.clone();
    host.assign(move || {
        let h = h2.clone();
        async move {
            let client = h.connect(Duration::from_secs(20)).unwrap();
            client.queues().create("q", quorate_client::QueueSettings::default()).await.unwrap();
            let queue = client.raw_queue("q");
            let mut consumer = queue.consumer().attach().await.unwrap();
            while let Some(d) = consumer.next().await {
                match d {
                    Ok(d) => {
                        println!("{:?} got {}", interpose::elapsed(), d.position);
                        println!("ack {:?}", d.ack().await);
                    }
                    Err(e) => println!("{:?} err {e}", interpose::elapsed()),
                }
            }
        }
    });
    world.start_client(1);
    let mut rng = Rng::new(seed, "spike");
    for tick in 0..20_000 {
        world.step().unwrap();
        if tick % 3000 == 2999 {
            let id = rng.below(3) as usize;
            let loss = *rng.pick(&[disk::Loss::Nothing, disk::Loss::Torn]);
            println!("{:?} crash {id} {loss:?}", world.elapsed());
            world.crash(id, loss);
        }
        if tick % 3000 == 999 {
            for id in 0..3 {
                println!("{:?} n{id} {:?}", world.elapsed(), world.nodes[id].phase());
                world.start(id);
            }
        }
    }
    eprintln!("{:?} real", interpose::real_now() - start);
}
