//! Every bench case of every operator, timed on the device: `cargo bench --features check --bench operators -- matmul`.
//! `AFFEKT_LIMITS=default` takes the default profile, WebGPU's limits and no features; times are by wall clock then.
//!
//! Times are GPU timestamps around the dispatches of one call, after warm-up, with caches as the call before left them.
//! Throughput is of compulsory bytes (each input read once, each output written once), or of flops where the operator
//! has more than 16 of them per byte.

use std::time::{Duration, Instant};

use affekt::gpu::Limits;
use affekt::ops;
use affekt::ops::op::{Meta, Role};
use affekt::ops::probe::{inputs_of, upload};
use affekt::{Device, DeviceOptions, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn operators(criterion: &mut Criterion) {
    let limits = match std::env::var("AFFEKT_LIMITS").as_deref() {
        Ok("default") => Limits::Default,
        _ => Limits::Full,
    };
    let device = Device::open(DeviceOptions {
        limits,
        ..DeviceOptions::default()
    })
    .expect("benches need an adapter");
    eprintln!("adapter: {}, {limits:?} limits", device.adapter().label());
    for op in ops::all() {
        for case in op.cases().iter().filter(|c| c.bench) {
            let attrs = case
                .attrs
                .complete(op.signature())
                .expect("cases have valid attributes");
            let metas: Vec<Option<Meta>> = case.metas();
            let cost =
                ops::cost(op, Role::Forward, &metas, &attrs).expect("cases have valid inputs");
            let inputs: Vec<Option<Tensor>> = case
                .inputs
                .iter()
                .zip(inputs_of(case, 1))
                .map(|(spec, array)| {
                    let (spec, array) = (spec.as_ref()?, array?);
                    Some(upload(&device, &array, spec.dtype).expect("bench inputs fit"))
                })
                .collect();
            let references: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
            let call = || -> affekt::Result<()> {
                for output in op.run(&references, &attrs)? {
                    output.force()?;
                }
                Ok(())
            };
            // Compiles and verifies.
            call().expect("bench cases run");
            device.wait().expect("the device is there");
            let mut group = criterion.benchmark_group(op.signature().name);
            group
                .sample_size(15)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_secs(1))
                .throughput(if cost.flops > 16 * cost.bytes() {
                    Throughput::Elements(cost.flops)
                } else {
                    Throughput::Bytes(cost.bytes())
                });
            group.bench_function(BenchmarkId::from_parameter(&case.label), |b| {
                b.iter_custom(|n| {
                    if !device.caps().timestamps {
                        let begin = Instant::now();
                        for _ in 0..n {
                            call().expect("bench cases run");
                        }
                        device.wait().expect("the device is there");
                        return begin.elapsed();
                    }
                    let mut total = Duration::ZERO;
                    for _ in 0..n {
                        let ns = device.time_on_device(call).expect("timestamps");
                        total += Duration::from_nanos(ns as u64);
                    }
                    total
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, operators);
criterion_main!(benches);
