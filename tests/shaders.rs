//! Every entry point of every operator, and generated kernels, lowered to SPIR-V, MSL and HLSL without a device.
//!
//! The resolved text and what became of it lie under `target/tmp/shaders` afterwards, for other tools. `spirv-val` looks
//! at the SPIR-V where it is installed. A few cases run with naga's runtime checks on.

#[path = "shaders/lower.rs"]
mod lower;
mod support;

use std::process::{Command, ExitCode};
use std::sync::Arc;

use affekt::bench::ceilings;
use affekt::check::{Outcome, Property, expressions, trials_of};
use affekt::gpu::shader::Elem;
use affekt::gpu::{Caps, DeviceClass, Kernel, Limits, Source};
use affekt::ops::op::{Entry, Op, Role};
use affekt::{DType, Device, DeviceOptions, Tensor, fuse, ops};
use libtest_mimic::{Failed, Trial};

fn main() -> ExitCode {
    let validates = Command::new("spirv-val").arg("--version").output().is_ok();
    let mut tests = Vec::new();
    for op in ops::all() {
        let name = op.signature().name;
        for entry in op.entries() {
            for elem in elems(op, &entry) {
                tests.push(lowers(name, entry.clone(), elem, validates));
            }
        }
        tests.push(Trial::test(
            format!("shaders/{name}/default_profile"),
            move || has_default_rungs(op),
        ));
    }
    for kernel in ceilings::kernels() {
        let constants: Vec<String> = kernel.constants.iter().map(|c| c.1.to_string()).collect();
        let name = format!("{}.{}.{:?}", kernel.entry, constants.join("_"), kernel.elem);
        tests.push(Trial::test(format!("shaders/ceilings/{name}"), move || {
            let file = format!("ceilings/{name}").to_lowercase();
            let lowered = lower::lower(&kernel, &file, validates)?;
            lowered.keeps_conventions()?;
            lowered.fits(&default_caps())?;
            Ok(())
        }));
    }
    match support::open(Limits::Full) {
        Ok(device) => {
            tests.push(Trial::test("shaders/fused", move || {
                generated_kernels(&device, validates)
            }));
            tests.push(Trial::test("shaders/runtime_checks", with_runtime_checks));
        }
        Err(reason) => {
            tests.push(support::absent("shaders/fused", "adapter", &reason));
            tests.push(support::absent(
                "shaders/runtime_checks",
                "adapter",
                &reason,
            ));
        }
    }
    tests.push(Trial::test("shaders/bad ones are refused", bad_ones));
    if !validates {
        tests.push(support::absent(
            "shaders/spirv-val",
            "spirv-val",
            "spirv-val is not installed",
        ));
    }
    support::run(tests, &["shaders/".to_string()])
}

/// What a kernel may be compiled for: floats always, integers where values of the operator may be.
fn elems(op: &dyn Op, entry: &Entry) -> Vec<Elem> {
    let dtypes = op.signature().inputs[0].dtypes;
    let mut elems = vec![Elem::F32, Elem::F16];
    if entry.role == Role::Forward && dtypes.contains(&DType::I32) && dtypes.contains(&DType::F32) {
        elems.extend([Elem::I32, Elem::U32]);
    }
    elems
}

fn lowers(op: &'static str, entry: Entry, elem: Elem, validates: bool) -> Trial {
    let variant = entry.variant;
    let title = format!("shaders/{op}/{}.{variant}/{elem:?}", entry.name());
    Trial::test(title, move || {
        let kernel = Kernel {
            elem,
            ..entry.kernel
        };
        let file = format!("{op}/{}.{variant}.{elem:?}", kernel.entry).to_lowercase();
        lower::lower(&kernel, &file, validates)?.keeps_conventions()?;
        Ok(())
    })
}

/// What every device has.
fn default_caps() -> Caps {
    Caps {
        class: DeviceClass::Discrete,
        subgroup: None,
        lanes: 1,
        f16: false,
        timestamps: false,
        timestamp_period_ns: 1.0,
        pipeline_cache: false,
        max_binding_bytes: 128 << 20,
        max_buffer_bytes: 256 << 20,
        max_storage_buffers: 8,
        max_workgroup_bytes: 16 << 10,
        max_invocations: 256,
        max_workgroups_per_axis: 65_535,
        binding_align: 256,
    }
}

/// Each role has a rung for default limits, and rungs that claim so keep to them.
fn has_default_rungs(op: &'static dyn Op) -> Result<(), Failed> {
    let caps = default_caps();
    let entries = op.entries();
    for role in [Role::Forward, Role::Vjp] {
        let of_role: Vec<&Entry> = entries.iter().filter(|e| e.role == role).collect();
        let fitting: Vec<&&Entry> = of_role.iter().filter(|e| (e.needs)(&caps)).collect();
        if !of_role.is_empty() && fitting.is_empty() {
            return Err(Failed::from(format!("no rung of {role:?} runs everywhere")));
        }
        for entry in fitting {
            let lowered = lower::parse(&entry.kernel)?;
            lowered
                .fits(&caps)
                .map_err(|e| format!("{}: {e}", entry.name()))?;
        }
    }
    Ok(())
}

/// Each breaks one convention or limit.
fn bad_ones() -> Result<(), Failed> {
    let inputs = "@group(0) @binding(0) var<storage, read> x: array<f32>;";
    let outputs = "@group(0) @binding(1) var<storage, read_write> y: array<f32>;";
    let late = "@group(0) @binding(2) var<storage, read> z: array<f32>;";
    let sizes = "@group(0) @binding(2) var<uniform> sizes: vec4<u32>;";
    let large = "var<workgroup> tile: array<f32, 4097>;";
    let index = "var v = array<f32, 4>(); v[i] = 1.0; y[i] = v[i];";
    for (what, globals, body, size) in [
        ("nothing wrong", "", "y[i] = x[i];", 64),
        (
            "an output stands before an input",
            late,
            "y[i] = x[i] + z[i];",
            64,
        ),
        ("neither a buffer", sizes, "y[i] = x[i];", 64),
        ("arrayLength", "", "y[i] = f32(arrayLength(&x));", 64),
        ("computed index into a local", "", index, 64),
        (
            "bytes of workgroup memory",
            large,
            "tile[i] = x[i]; y[i] = tile[i];",
            64,
        ),
        ("invocations", "", "y[i] = x[i];", 512),
    ] {
        let text = format!(
            "{inputs}\n{outputs}\n{globals}\n@compute @workgroup_size({size})
             fn bad(@builtin(local_invocation_index) i: u32) {{ {body} }}\n"
        );
        let kernel = Kernel {
            source: Source::generated("bad", text),
            entry: "bad",
            constants: Vec::new(),
            elem: Elem::F32,
        };
        let looked_at = lower::parse(&kernel).and_then(|lowered| {
            lowered.keeps_conventions()?;
            lowered.fits(&default_caps())
        });
        let as_wanted = match &looked_at {
            Ok(()) => what == "nothing wrong",
            // The loader itself refuses uniforms in other groups.
            Err(complaint) => complaint.contains(what),
        };
        if !as_wanted {
            return Err(Failed::from(format!("{what}: {looked_at:?}")));
        }
    }
    Ok(())
}

/// Makes the device generate kernels and lowers all of them.
fn generated_kernels(device: &Device, validates: bool) -> Result<(), Failed> {
    let functions: Vec<_> = ops::elementwise::all().collect();
    for seed in 300..316 {
        expressions::check(device, &functions, seed)?;
    }
    chain_with_gradient(device)?;
    let texts = fuse::generated(device);
    if texts.len() < 20 {
        return Err(Failed::from(format!("only {} kernels", texts.len())));
    }
    for (i, text) in texts.iter().enumerate() {
        let kernel = Kernel {
            source: Source::generated(format!("fused/{i}"), text.to_string()),
            entry: "fused",
            constants: Vec::new(),
            elem: Elem::F32,
        };
        let lowered = lower::lower(&kernel, &format!("fused/{i}"), validates)?;
        lowered.keeps_conventions()?;
        // Kernels of the full profile may have more buffers.
        let caps = Caps {
            max_storage_buffers: device.caps().max_storage_buffers,
            ..default_caps()
        };
        lowered.fits(&caps)?;
    }
    Ok(())
}

/// Kernels as training makes them: broadcast, half precision, several outputs.
fn chain_with_gradient(device: &Device) -> affekt::Result<()> {
    for dtype in [DType::F32, DType::F16] {
        let leaf = |n: usize, shape: &[usize]| -> affekt::Result<Tensor> {
            let data: Vec<f32> = (0..n).map(|i| i as f32 / n as f32 - 0.5).collect();
            Tensor::from_slice(device, &data, shape)?
                .cast(dtype)?
                .requires_grad()
        };
        let x = leaf(12, &[3, 4])?;
        let scale = leaf(4, &[4])?;
        let bias = leaf(3, &[3, 1])?;
        let y = x
            .mul(&scale)?
            .add(&bias)?
            .gelu()?
            .mul(&x.transpose()?.transpose()?)?;
        let gradients = y.sum(&[], false)?.backward()?;
        assert_eq!(gradients.len(), 3);
    }
    Ok(())
}

/// Values of each operator's first cases on a device whose kernels naga guards.
fn with_runtime_checks() -> Result<(), Failed> {
    let device = Arc::new(Device::open(DeviceOptions {
        runtime_checks: true,
        ..support::options(Limits::Full)
    })?);
    let mut n = 0;
    for op in ops::all() {
        let cases: Vec<String> = op.cases().into_iter().take(3).map(|c| c.label).collect();
        let wanted = [Property::Value, Property::Gradient, Property::Strided];
        for trial in trials_of(op) {
            if !wanted.contains(&trial.property) || !cases.contains(&trial.case.label) {
                continue;
            }
            n += 1;
            if let Outcome::Wrong(detail) = trial.run(&device)? {
                return Err(Failed::from(format!("{}: {detail}", trial.name())));
            }
        }
    }
    match n {
        0 => Err(Failed::from("no case ran")),
        _ => Ok(()),
    }
}
