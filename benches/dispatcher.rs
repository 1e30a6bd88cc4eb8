//! From an event to the offer it leads to (target: p99 <= 1 ms with 5000 agents and 10 000 waiting calls).

use std::time::Duration;

use callkit_benches::routing::Centre;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatcher");
    for (agents, waiting) in [(100, 100), (5000, 10_000)] {
        let size = format!("{agents} agents, {waiting} waiting");
        let mut centre = Centre::busy(agents, waiting);
        group.bench_function(BenchmarkId::new("agent_freed", &size), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| centre.free_an_agent()).sum::<Duration>());
        });
        let mut centre = Centre::idle(agents, waiting);
        group.bench_function(BenchmarkId::new("call_taken", &size), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| centre.take_a_call()).sum::<Duration>());
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
