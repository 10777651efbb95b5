//! `affekt adapters`: what there is to run on.

use std::io::{self, Write as _};

use affekt::Device;
use affekt::gpu::{AdapterInfo, adapter};
use affekt::wgpu::{Features, Limits};
use clap::Args;
use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::print;
use crate::session::Session;

/// List adapters with their drivers, features and limits; say what to install if there is none
#[derive(Args)]
#[command(after_help = "Example:\n  affekt adapters --json")]
pub struct Adapters {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Adapters {
    pub fn run(&self, session: &Session) -> Outcome {
        let wanted = session.adapter.as_deref();
        let gl = wanted.is_some_and(|w| w.to_ascii_lowercase().starts_with("gl"));
        let found = Device::adapters(gl);
        let infos: Vec<AdapterInfo> = found.iter().map(|(info, _, _)| info.clone()).collect();
        let picked = adapter::pick(&infos, wanted);
        let chosen = picked.as_ref().ok().copied();
        let mut out = io::stdout().lock();
        if self.json {
            let list: Vec<Value> = found
                .iter()
                .enumerate()
                .map(|(i, (info, limits, features))| {
                    as_json(i, info, limits, *features, chosen == Some(i))
                })
                .collect();
            print::json(&mut out, &json!({ "adapters": list }))?;
        } else {
            for (i, (info, limits, features)) in found.iter().enumerate() {
                if i > 0 {
                    writeln!(out)?;
                }
                let mark = if chosen == Some(i) { "  (chosen)" } else { "" };
                writeln!(out, "{}  {}{mark}", index(i, info), info.label())?;
                for (what, text) in describe(info, limits, *features) {
                    writeln!(out, "   {what:<10} {text}")?;
                }
            }
        }
        out.flush()?;
        picked?;
        Ok(())
    }
}

/// The number that `--adapter` takes. Adapters of OpenGL are looked for only when their name is given.
fn index(i: usize, info: &AdapterInfo) -> String {
    match info.backend.as_str() {
        "gl" => "-".to_string(),
        _ => i.to_string(),
    }
}

fn describe(
    info: &AdapterInfo,
    limits: &Limits,
    features: Features,
) -> Vec<(&'static str, String)> {
    let driver = [&info.driver, &info.driver_info]
        .into_iter()
        .filter(|s| !s.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let mut has = Vec::new();
    if features.contains(Features::SHADER_F16) {
        has.push("f16".to_string());
    }
    if features.contains(Features::SUBGROUP) {
        has.push(match info.subgroup_sizes {
            (a, b) if a == b => format!("subgroups of {a}"),
            (a, b) => format!("subgroups of {a} to {b}"),
        });
    }
    if features.contains(Features::TIMESTAMP_QUERY) {
        has.push("timestamps".to_string());
    }
    if features.contains(Features::PIPELINE_CACHE) {
        has.push("pipeline cache".to_string());
    }
    if has.is_empty() {
        has.push("none".to_string());
    }
    vec![
        ("kind", info.kind.clone()),
        (
            "driver",
            if driver.is_empty() {
                "unnamed".to_string()
            } else {
                driver
            },
        ),
        ("features", has.join(", ")),
        (
            "memory",
            format!(
                "buffers up to {}, bindings up to {}, {} storage buffers in a kernel",
                print::bytes(limits.max_buffer_size),
                print::bytes(limits.max_storage_buffer_binding_size),
                limits.max_storage_buffers_per_shader_stage
            ),
        ),
        (
            "workgroup",
            format!(
                "{} invocations, {} of shared memory, {} workgroups per axis",
                limits.max_compute_invocations_per_workgroup,
                print::bytes(u64::from(limits.max_compute_workgroup_storage_size)),
                limits.max_compute_workgroups_per_dimension
            ),
        ),
    ]
}

fn as_json(
    i: usize,
    info: &AdapterInfo,
    limits: &Limits,
    features: Features,
    chosen: bool,
) -> Value {
    json!({
        "index": (info.backend != "gl").then_some(i),
        "label": info.label(),
        "chosen": chosen,
        "name": info.name,
        "backend": info.backend,
        "kind": info.kind,
        "driver": info.driver,
        "driver_info": info.driver_info,
        "features": {
            "f16": features.contains(Features::SHADER_F16),
            "subgroups": features.contains(Features::SUBGROUP),
            "subgroup_min_size": info.subgroup_sizes.0,
            "subgroup_max_size": info.subgroup_sizes.1,
            "timestamps": features.contains(Features::TIMESTAMP_QUERY),
            "pipeline_cache": features.contains(Features::PIPELINE_CACHE),
        },
        "limits": {
            "max_buffer_bytes": limits.max_buffer_size,
            "max_binding_bytes": limits.max_storage_buffer_binding_size,
            "max_storage_buffers": limits.max_storage_buffers_per_shader_stage,
            "max_workgroup_bytes": limits.max_compute_workgroup_storage_size,
            "max_invocations": limits.max_compute_invocations_per_workgroup,
            "max_workgroups_per_axis": limits.max_compute_workgroups_per_dimension,
        },
    })
}
