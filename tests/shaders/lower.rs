//! One kernel through naga: parsed, checked against the conventions, its overrides put in, written for three targets.

use std::path::{Path, PathBuf};
use std::process::Command;

use affekt::gpu::shader::resolve;
use affekt::gpu::{Caps, Kernel};
use naga::back::{self, pipeline_constants::process_overrides};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Module, ShaderStage, StorageAccess};

type Result<T, E = String> = std::result::Result<T, E>;

/// A kernel with its overrides put in.
pub struct Lowered {
    text: String,
    module: Module,
    info: ModuleInfo,
    entry: &'static str,
}

fn validator() -> Validator {
    Validator::new(ValidationFlags::all(), Capabilities::all())
}

fn say(what: &'static str) -> impl Fn(&dyn std::fmt::Debug) -> String {
    move |e| format!("{what}: {e:?}")
}

/// Parses and validates a kernel for its storage type, with the constants it is dispatched with.
pub fn parse(kernel: &Kernel) -> Result<Lowered> {
    let resolved = resolve(&kernel.source, kernel.elem).map_err(|e| e.to_string())?;
    let reflection = resolved
        .reflect(&kernel.source.name, kernel.entry)
        .map_err(|e| e.to_string())?;
    let text = resolved.text;
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?;
    let info = validator()
        .validate(&module)
        .map_err(|e| e.emit_to_string(&text))?;
    let constants = kernel
        .constants
        .iter()
        .filter(|(name, _)| reflection.overrides.iter().any(|o| o == name))
        .map(|(name, value)| (name.to_string(), *value))
        .collect();
    let stage = Some((ShaderStage::Compute, kernel.entry));
    let (module, info) =
        process_overrides(&module, &info, stage, &constants).map_err(|e| say("overrides")(&e))?;
    Ok(Lowered {
        module: module.into_owned(),
        info: info.into_owned(),
        text,
        entry: kernel.entry,
    })
}

/// Writes a kernel as WGSL, SPIR-V, MSL and HLSL below `target/tmp/shaders`.
pub fn lower(kernel: &Kernel, file: &str, validates: bool) -> Result<Lowered> {
    let lowered = parse(kernel)?;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shaders");
    let path = |ending: &str| root.join(format!("{file}.{ending}"));
    let write = |path: &PathBuf, data: &[u8]| {
        let folder = path.parent().ok_or("no folder")?;
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        std::fs::write(path, data).map_err(|e| format!("{}: {e}", path.display()))
    };
    write(&path("wgsl"), lowered.text.as_bytes())?;
    write(&path("metal"), lowered.msl()?.as_bytes())?;
    write(&path("hlsl"), lowered.hlsl()?.as_bytes())?;
    let words = lowered.spirv()?;
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    write(&path("spv"), &bytes)?;
    if validates {
        let output = Command::new("spirv-val")
            .args(["--target-env", "vulkan1.1"])
            .arg(path("spv"))
            .output()
            .map_err(|e| format!("spirv-val: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("spirv-val: {said}"));
        }
    }
    Ok(lowered)
}

impl Lowered {
    fn spirv(&self) -> Result<Vec<u32>> {
        // As shipped: no checks, and memory that is written before it is read.
        let options = back::spv::Options {
            lang_version: (1, 3),
            flags: back::spv::WriterFlags::empty(),
            zero_initialize_workgroup_memory: back::spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = back::spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.entry.to_string(),
        };
        back::spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|e| say("SPIR-V")(&e))
    }

    fn msl(&self) -> Result<String> {
        let options = back::msl::Options {
            lang_version: (2, 4),
            ..Default::default()
        };
        let pipeline = back::msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, self.entry.to_string())),
            ..Default::default()
        };
        back::msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map(|(text, _)| text)
            .map_err(|e| say("MSL")(&e))
    }

    fn hlsl(&self) -> Result<String> {
        // Direct3D's old compiler serves what needs neither f16 nor subgroups.
        let new = self.text.contains("enable ");
        let options = back::hlsl::Options {
            shader_model: match new {
                true => back::hlsl::ShaderModel::V6_2,
                false => back::hlsl::ShaderModel::V5_1,
            },
            ..Default::default()
        };
        let pipeline = back::hlsl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, self.entry.to_string())),
        };
        let mut text = String::new();
        back::hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|e| say("HLSL")(&e))?;
        Ok(text)
    }

    /// Buffers in group 0, inputs (`read`) before outputs (`read_write`), named; `params` alone in group 1; sizes from
    /// `params` only; no computed index into a local variable, which one compiler unrolls and another refuses.
    pub fn keeps_conventions(&self) -> Result<()> {
        let mut storage = Vec::new();
        for (_, var) in self.module.global_variables.iter() {
            let Some(binding) = &var.binding else {
                continue;
            };
            let name = var.name.as_deref().unwrap_or("");
            match var.space {
                AddressSpace::Storage { access } => {
                    if binding.group != 0 || name.is_empty() {
                        return Err(format!("buffer {name:?} in group {}", binding.group));
                    }
                    storage.push((binding.binding, access.contains(StorageAccess::STORE), name));
                }
                AddressSpace::Uniform => {
                    if (binding.group, binding.binding, name) != (1, 0, "params") {
                        return Err(format!(
                            "uniform {name} is not @group(1) @binding(0) params"
                        ));
                    }
                }
                _ => return Err(format!("{name} is neither a buffer nor params")),
            }
        }
        storage.sort_unstable();
        // One entry point of a file may leave out a binding of another; the file as a whole counts from 0, which the
        // loader checks.
        if storage.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(format!("a binding is used twice: {storage:?}"));
        }
        if storage.windows(2).any(|w| w[0].1 && !w[1].1) {
            return Err(format!("an output stands before an input: {storage:?}"));
        }
        if !storage.iter().any(|s| s.1) {
            return Err("nothing is written".to_string());
        }
        let entry = self.module.entry_points.iter().map(|e| &e.function);
        let functions = self.module.functions.iter().map(|(_, f)| f);
        for function in entry.chain(functions) {
            let name = function.name.as_deref().unwrap_or(self.entry);
            for (_, expression) in function.expressions.iter() {
                match expression {
                    Expression::ArrayLength(_) => {
                        return Err(format!("{name} asks for an arrayLength"));
                    }
                    Expression::Access { base, .. }
                        if matches!(function.expressions[*base], Expression::LocalVariable(_)) =>
                    {
                        return Err(format!("{name} has a computed index into a local variable"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Buffers, invocations and workgroup memory within the limits.
    pub fn fits(&self, caps: &Caps) -> Result<()> {
        let entry = self
            .module
            .entry_points
            .iter()
            .find(|e| e.name == self.entry);
        let size = entry.ok_or("no entry point")?.workgroup_size;
        let invocations: u32 = size.iter().product();
        let mut buffers = 0;
        let mut bytes = 0;
        for (_, var) in self.module.global_variables.iter() {
            match var.space {
                AddressSpace::Storage { .. } => buffers += 1,
                AddressSpace::WorkGroup => {
                    bytes += self.module.types[var.ty].inner.size(self.module.to_ctx());
                }
                _ => {}
            }
        }
        for (what, n, limit) in [
            ("buffers", buffers, caps.max_storage_buffers),
            ("invocations", invocations, caps.max_invocations),
            ("bytes of workgroup memory", bytes, caps.max_workgroup_bytes),
        ] {
            if n > limit {
                return Err(format!("{n} {what}, at most {limit}"));
            }
        }
        Ok(())
    }
}
