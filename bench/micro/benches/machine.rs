//! The machine alone, over a store in memory: what an entry costs before any disk or network.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use quorate_bench_micro::{MESSAGES, ack, apply, entry, memory, publish};
use quorate_machine::command::Batch;

fn applying(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(u64::from(MESSAGES)));
    for body_bytes in [100, 1024] {
        group.bench_function(format!("publish {body_bytes} B"), |b| {
            let (mut store, mut n) = (memory(false), 0);
            b.iter_batched(
                || {
                    n += 1;
                    entry(n, vec![publish(n - 1, body_bytes)])
                },
                |entry| apply(&mut store, &entry),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("publish, lease and acknowledge {body_bytes} B"), |b| {
            let (mut store, mut n) = (memory(true), 0);
            b.iter_batched(
                || {
                    n += 1;
                    [entry(n, vec![publish(n - 1, body_bytes)]), entry(n, vec![ack(n - 1)])]
                },
                |entries| entries.iter().for_each(|entry| apply(&mut store, entry)),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for body_bytes in [100, 1024] {
        let batch = Batch::new(1, vec![publish(0, body_bytes).into()]);
        let encoded = batch.encode();
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        group.bench_function(format!("encode an entry, {body_bytes} B"), |b| b.iter(|| batch.encode()));
        group.bench_function(format!("decode an entry, {body_bytes} B"), |b| {
            b.iter(|| Batch::decode(black_box(encoded.clone())).expect("it was encoded"));
        });
    }
    group.finish();
}

criterion_group!(benches, applying, codec);
criterion_main!(benches);
