//! One packet through the SFU without sockets (target: <= 1.0 us for 1200 bytes to one receiver).

use callkit_benches::forwarding::Pipeline;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn forwarding(c: &mut Criterion) {
    let mut group = c.benchmark_group("forwarding");
    group.throughput(Throughput::Elements(1));
    for receivers in [1, 2] {
        for size in [120, 1200] {
            let mut pipeline = Pipeline::new(receivers, size);
            let id = BenchmarkId::new(format!("to {receivers}"), format!("{size} B"));
            group.bench_function(id, |bench| bench.iter_custom(|packets| pipeline.time(packets)));
        }
    }
    group.finish();
}

criterion_group!(benches, forwarding);
criterion_main!(benches);
