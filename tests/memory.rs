//! Memory of a training over a thousand steps. Alone in its program: what other tests hold would count as its own.

mod support_runtime;

use std::process::ExitCode;

use affekt::models::{SpeechSwin, SpeechSwinConfig};
use affekt::optim::Optimizer;
use affekt::{Ctx, Result, Tensor};
use support_runtime::{Numbers, open, resident_kb};

fn main() -> ExitCode {
    support_runtime::main(&[(
        "a_thousand_steps_take_no_more_memory_than_a_hundred",
        a_thousand_steps_take_no_more_memory_than_a_hundred,
    )])
}

fn a_thousand_steps_take_no_more_memory_than_a_hundred() -> Result<()> {
    let device = open();
    let config = SpeechSwinConfig {
        mels: 2,
        frames: 8,
        patch: [1, 1],
        width: 32,
        depths: vec![1, 1],
        heads: vec![4, 4],
        window: 4,
        ..SpeechSwinConfig::small(2)
    };
    let model = SpeechSwin::new(&device, config, 4)?;
    let mut optimizer = Optimizer::adamw(1e-3).clip(1.0);
    let mut at_hundred = None;
    for step in 1..=1000u64 {
        let numbers = Numbers(step).units(4 * 2 * 8);
        let x = Tensor::from_slice(&device, &numbers, [4, 1, 2, 8])?;
        let labels = Tensor::from_slice(&device, &[0, 1, 0, 1], [4])?;
        let loss = model
            .forward(&x, &mut Ctx::train(step))?
            .cross_entropy(&labels)?;
        optimizer.step(&model, &loss.backward()?)?.check()?;
        if step == 100 {
            at_hundred = Some((device.memory(), resident_kb()));
        }
    }
    let (memory, resident) = at_hundred.expect("there was a step 100");
    let now = device.memory();
    assert_eq!(now.pool, memory.pool);
    assert_eq!(now.n_buffers, memory.n_buffers);
    assert_eq!(now.n_bind_groups, memory.n_bind_groups);
    if let (Some(before), Some(after)) = (resident, resident_kb()) {
        assert!(after <= 1.02 * before, "{before} kB, then {after} kB");
    }
    Ok(())
}
