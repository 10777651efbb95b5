//! What ran where: the head of every file of results, of checks and of benches alike.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::gpu::{AdapterInfo, Device, DeviceClass, Limits, WGPU_VERSION};
use crate::ops::plan_table;

/// What ran where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// `affekt 0.1.0`, or the engine beside it: `burn 0.22.0`.
    pub engine: String,
    /// `vulkan:llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub adapter: String,
    /// `discrete`, `integrated` or `cpu`.
    pub class: String,
    pub backend: String,
    pub driver: String,
    pub driver_info: String,
    /// `full` or `default`: what was asked of the adapter.
    pub limits: String,
    pub wgpu: String,
    pub os: String,
    pub n_host_threads: usize,
    /// Seconds since 1970 at the start.
    pub started: u64,
    /// Of the plan table that `affekt tune` made, in hexadecimal; empty where the built-in plans ran.
    pub plan_table: String,
    /// Features of the device in use: `f16`, `subgroups of 8`, `timestamps`, …
    pub features: Vec<String>,
    /// Names and values of the device's limits.
    pub device_limits: Vec<(String, u64)>,
}

impl Environment {
    /// Whether both are of one adapter and one engine, whatever the version of the engine.
    pub fn is_of(&self, other: &Environment) -> bool {
        let same_engine = self.engine.split(' ').next() == other.engine.split(' ').next();
        self.adapter == other.adapter && same_engine
    }

    /// This engine on that device, which was opened with those limits; it starts now.
    pub fn of(device: &Device, limits: Limits) -> Self {
        let caps = device.caps();
        let mut features = Vec::new();
        let mut has = |there: bool, name: &str| {
            if there {
                features.push(name.to_string());
            }
        };
        has(caps.f16, "f16");
        if let Some(n) = caps.subgroup {
            has(true, &format!("subgroups of {n}"));
        }
        has(caps.timestamps, "timestamps");
        has(caps.pipeline_cache, "pipeline cache");
        let device_limits = [
            ("max_buffer_bytes", caps.max_buffer_bytes),
            ("max_binding_bytes", caps.max_binding_bytes),
            ("max_storage_buffers", caps.max_storage_buffers.into()),
            ("max_workgroup_bytes", caps.max_workgroup_bytes.into()),
            ("max_invocations", caps.max_invocations.into()),
            (
                "max_workgroups_per_axis",
                caps.max_workgroups_per_axis.into(),
            ),
            ("binding_align", caps.binding_align),
        ];
        Environment {
            class: match caps.class {
                DeviceClass::Discrete => "discrete",
                DeviceClass::Integrated => "integrated",
                DeviceClass::Cpu => "cpu",
            }
            .to_string(),
            plan_table: plan_table::fingerprint(device),
            features,
            device_limits: device_limits
                .map(|(name, value)| (name.to_string(), value))
                .into(),
            ..Self::of_adapter(device.adapter(), limits)
        }
    }

    /// The same of an adapter that could not be opened: without what only a device tells.
    pub fn of_adapter(adapter: &AdapterInfo, limits: Limits) -> Self {
        Environment {
            engine: concat!("affekt ", env!("CARGO_PKG_VERSION")).to_string(),
            adapter: adapter.label(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            driver_info: adapter.driver_info.clone(),
            limits: limits.name().to_string(),
            wgpu: WGPU_VERSION.to_string(),
            os: os(),
            n_host_threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            started: now(),
            ..Self::default()
        }
    }
}

/// Seconds since 1970; 0 on a machine whose clock stands before that.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// `linux x86_64, Debian GNU/Linux 12 (bookworm)`.
fn os() -> String {
    let plain = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let release = match cfg!(target_os = "linux") {
        true => std::fs::read_to_string("/etc/os-release").ok(),
        false => None,
    };
    match release.as_deref().and_then(pretty_name) {
        Some(name) => format!("{plain}, {name}"),
        None => plain,
    }
}

/// `PRETTY_NAME` of an os-release file, without its quotes.
fn pretty_name(release: &str) -> Option<String> {
    let value = release
        .lines()
        .find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    let name = value.trim_matches(['"', '\'']).trim();
    (!name.is_empty()).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_distribution_is_read_from_its_file() {
        let name = |text: &str| pretty_name(text);
        assert_eq!(
            name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(name("PRETTY_NAME='Void'").as_deref(), Some("Void"));
        assert_eq!(name("PRETTY_NAME=Alpine").as_deref(), Some("Alpine"));
        assert_eq!(name("PRETTY_NAME=\"\"\n"), None);
        assert_eq!(name("NAME=\"Debian\"\n"), None);
        assert!(os().starts_with(std::env::consts::OS));
    }
}
