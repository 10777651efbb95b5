//! What the runtime's tests share: running only where there is an adapter, opening devices, made-up numbers.
//!
//! No adapter means every test is ignored and says why; `AFFEKT_REQUIRE=adapter` turns that into failure.

#![allow(
    dead_code,
    reason = "compiled into several test programs, each of which uses a part"
)]

use std::process::ExitCode;

use affekt::{Device, DeviceOptions, wgpu};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test and its name.
pub type Test = (&'static str, fn() -> affekt::Result<()>);

/// Runs the tests, or ignores them all where no adapter is.
pub fn main(tests: &[Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = match Device::open(options()) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    let required = std::env::var("AFFEKT_REQUIRE")
        .is_ok_and(|r| r.split(',').any(|word| word.trim() == "adapter"));
    let trials = tests
        .iter()
        .map(|&(name, test)| match missing.clone() {
            None => Trial::test(name, move || test().map_err(Failed::from)),
            Some(reason) if required => Trial::test(name, move || Err(Failed::from(reason))),
            Some(reason) => Trial::test(name, || Ok(()))
                .with_kind(reason)
                .with_ignored_flag(true),
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The adapter of the environment, without verification: these tests are about the runtime, and count dispatches.
pub fn options() -> DeviceOptions {
    DeviceOptions {
        adapter: std::env::var("AFFEKT_ADAPTER").ok(),
        verify: false,
        ..DeviceOptions::default()
    }
}

pub fn open() -> Device {
    Device::open(options()).expect("there is an adapter, main has opened it")
}

/// A device as an app makes it, with limits the test chooses from those of the adapter.
pub fn app_device(
    choose: impl FnOnce(wgpu::Limits) -> wgpu::Limits,
) -> (wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let adapter = pollster::block_on(instance.enumerate_adapters(backends))
        .into_iter()
        .next()
        .expect("there is an adapter, main has opened it");
    pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("app"),
        required_limits: choose(adapter.limits()),
        ..Default::default()
    }))
    .expect("the adapter gives a device")
}

/// SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in [−1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// The bits of numbers: what "the same result" means.
pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Kilobytes of this process in memory; nothing where the system does not tell.
pub fn resident_kb() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
