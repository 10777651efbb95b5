//! Window attention forward and backward at the sizes of the small model: `cargo bench --features check --bench attention`.
//!
//! Medians of GPU timestamps around one call, after warm-up, and GFLOP/s by the flops of the definition: two products
//! per pair of tokens forward, five backward (one of them to find the softmax again).

use affekt::ops;
use affekt::ops::op::{Meta, Role};
use affekt::ops::probe::{inputs_of, upload};
use affekt::{Device, Result, Tensor};

const SAMPLES: usize = 15;

fn median(mut sample: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut times = (0..SAMPLES)
        .map(|_| sample())
        .collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[SAMPLES / 2])
}

fn main() -> Result<()> {
    let device = Device::open_default()?;
    println!("adapter: {}", device.adapter().label());
    let op = ops::find("window_attention")?;
    for case in op.cases().iter().filter(|c| c.bench) {
        let attrs = case.attrs.complete(op.signature())?;
        let metas: Vec<Option<Meta>> = case.metas();
        let flops = ops::cost(op, Role::Forward, &metas, &attrs)?.flops as f64;
        let leaves = case
            .inputs
            .iter()
            .zip(inputs_of(case, 1))
            .map(|(spec, array)| match (spec, array) {
                (Some(spec), Some(array)) => upload(&device, &array, spec.dtype)?
                    .requires_grad()
                    .map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<Option<Tensor>>>>()?;
        let references: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
        let shape = op.infer(&metas, &attrs)?.remove(0).shape;
        let dy = upload(
            &device,
            &affekt::ops::op::Array::from_fn(shape, |at| {
                (at.iter().sum::<usize>() % 7) as f64 - 3.0
            }),
            affekt::DType::F32,
        )?;
        let call = || op.run(&references, &attrs).map(|mut y| y.remove(0));
        // Compiles and verifies.
        call()?.backward_from(&dy)?;
        device.wait()?;
        let forward = median(|| device.time_on_device(|| call().map(drop)))?;
        let backward = median(|| {
            let y = call()?;
            device.wait()?;
            device.time_on_device(|| y.backward_from(&dy).map(drop))
        })?;
        println!(
            "{:8} forward {:7.3} ms {:5.1} GFLOP/s   backward {:7.3} ms {:5.1} GFLOP/s   ratio {:.2}",
            case.label,
            forward / 1e6,
            flops / forward,
            backward / 1e6,
            2.5 * flops / backward,
            backward / forward
        );
    }
    Ok(())
}
