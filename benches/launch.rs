//! What an operator costs beside its work: 10,000 one-element operators against a bare loop of wgpu that records the same
//! number of dispatches in batches of the same size. `cargo bench --bench launch`.
//!
//! Medians of several rounds, taken in turn. The recording thread's own time is what the system has accounted to it
//! (Linux); elsewhere wall clock alone is printed.

use std::time::Instant;

use affekt::{Device, DeviceOptions, Result, Tensor, wgpu};

const N: usize = 10_000;
const ROUNDS: usize = 9;
/// Dispatches of a submission, as the stream has.
const BATCH: usize = 64;

/// Microseconds per operator: wall clock, and the time of this thread where the system tells it.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    thread: f64,
}

/// Nanoseconds that this thread has run.
fn thread_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

fn measure(work: impl FnOnce()) -> Cost {
    let (wall, thread) = (Instant::now(), thread_ns());
    work();
    Cost {
        wall: wall.elapsed().as_secs_f64() * 1e6 / N as f64,
        thread: (thread_ns() - thread) / 1e3 / N as f64,
    }
}

/// The median of each column.
fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut all: Vec<f64> = costs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Cost {
        wall: middle(|c| c.wall),
        thread: middle(|c| c.thread),
    }
}

/// One element plus one, as often as the loop says, with nothing around it.
struct Bare {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Bare {
    fn new(device: &Device) -> Self {
        let (device, queue) = device.wgpu();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
                 @compute @workgroup_size(1) fn main() { x[0] = x[0] + 1.0; }"
                    .into(),
            ),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer.as_entire_binding(),
            }],
        });
        Bare {
            device: device.clone(),
            queue: queue.clone(),
            pipeline,
            group,
        }
    }

    fn run(&self) {
        for _ in 0..N.div_ceil(BATCH) {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for _ in 0..BATCH {
                    pass.set_pipeline(&self.pipeline);
                    pass.set_bind_group(0, &self.group, &[]);
                    pass.dispatch_workgroups(1, 1, 1);
                }
            }
            self.queue.submit([encoder.finish()]);
        }
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device is there");
    }
}

/// Every operator depends on the one before; nothing is fused, so each is a dispatch.
fn chain(device: &Device, x: &Tensor) -> Result<()> {
    let mut y = x.clone();
    for _ in 0..N {
        y = y.add(1.0)?;
    }
    y.force()?;
    device.wait()
}

fn main() -> Result<()> {
    let device = Device::open(DeviceOptions {
        fuse: false,
        ..DeviceOptions::default()
    })?;
    let bare = Bare::new(&device);
    let x = Tensor::from_slice(&device, &[0.0f32], [1])?;
    let leaf = x.requires_grad()?;
    println!("adapter  {}", device.adapter().label());
    chain(&device, &x)?;
    bare.run();
    let (mut bares, mut plain, mut taped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(measure(|| bare.run()));
        let mut ended = Ok(());
        plain.push(measure(|| ended = chain(&device, &x)));
        ended?;
        let mut ended = Ok(());
        taped.push(measure(|| ended = chain(&device, &leaf)));
        ended?;
    }
    let base = median(&bares);
    println!("\n{:<22}  wall µs  thread µs  more µs  wall ratio", "");
    for (name, costs) in [
        ("bare loop", &bares),
        ("operator", &plain),
        ("operator with a tape", &taped),
    ] {
        let cost = median(costs);
        println!(
            "{name:<22}  {:>7.2}  {:>9.2}  {:>7.2}  {:>10.2}",
            cost.wall,
            cost.thread,
            cost.thread - base.thread,
            cost.wall / base.wall
        );
    }
    Ok(())
}
