//! Compiled pipelines by shader, entry point, constants and storage type; kept on disk where the device can.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::write_by_rename;
use crate::error::{Error, Result};
use crate::gpu::device::guarded;
use crate::gpu::shader::{Elem, Source, resolve};

/// One compilable thing: a source, the entry point in it, and the values of its `override` constants.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub source: Source,
    pub entry: &'static str,
    pub constants: Vec<(&'static str, f64)>,
    pub elem: Elem,
}

/// A compiled kernel.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: Arc<BindingLayout>,
    pub(crate) params_size: u32,
    pub(crate) name: String,
    pub(crate) entry: &'static str,
}

/// The shape of bind group 0; pipelines with equal shapes share one.
#[derive(Debug)]
pub(crate) struct BindingLayout {
    pub raw: wgpu::BindGroupLayout,
    pub writes: Vec<bool>,
    pub id: u32,
}

/// Pipelines are looked up by this; the name of a generated source is unique to its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: String,
    entry: &'static str,
    constants: Vec<(&'static str, u64)>,
    elem: Elem,
}

/// The compiled pipelines of one device.
pub(crate) struct Pipelines {
    device: wgpu::Device,
    runtime_checks: bool,
    params_layout: wgpu::BindGroupLayout,
    cache: Option<wgpu::PipelineCache>,
    cache_file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pipelines: HashMap<Key, Arc<Pipeline>>,
    layouts: HashMap<Vec<bool>, Arc<BindingLayout>>,
    n_compiled: u64,
    n_saved: u64,
}

/// Largest `params` a kernel may have, in bytes. Uniform bindings are all of this size.
pub(crate) const MAX_PARAMS: u32 = 2048;

impl Pipelines {
    pub fn new(
        device: &wgpu::Device,
        runtime_checks: bool,
        cache_dir: Option<&Path>,
        adapter: &wgpu::AdapterInfo,
    ) -> Self {
        let params_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("params"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: true,
                    min_binding_size: None,
                },
                count: None,
            }],
        });
        let cache_file = cache_dir
            .filter(|_| device.features().contains(wgpu::Features::PIPELINE_CACHE))
            .and_then(|dir| Some(dir.join(wgpu::util::pipeline_cache_key(adapter)?)));
        let cache = cache_file.as_ref().map(|file| {
            let data = std::fs::read(file).ok();
            // SAFETY: the data came from `PipelineCache::get_data` of this adapter, whose key is in the file name, and
            // was written by rename; with `fallback` the driver starts empty when it does not know the data.
            unsafe {
                device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: None,
                    data: data.as_deref(),
                    fallback: true,
                })
            }
        });
        Pipelines {
            device: device.clone(),
            runtime_checks,
            params_layout,
            cache,
            cache_file,
            state: Mutex::default(),
        }
    }

    pub fn params_layout(&self) -> &wgpu::BindGroupLayout {
        &self.params_layout
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while pipelines are locked")
    }

    pub fn get(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let key = Key {
            source: kernel.source.name.to_string(),
            entry: kernel.entry,
            constants: kernel
                .constants
                .iter()
                .map(|(n, v)| (*n, v.to_bits()))
                .collect(),
            elem: kernel.elem,
        };
        if let Some(pipeline) = self.state().pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(kernel)?);
        let mut state = self.state();
        state.n_compiled += 1;
        Ok(state.pipelines.entry(key).or_insert(pipeline).clone())
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline> {
        let name = format!("{}::{}", kernel.source.name, kernel.entry);
        let resolved = resolve(&kernel.source, kernel.elem)?;
        let reflection = resolved.reflect(&kernel.source.name, kernel.entry)?;
        if reflection.params_size > MAX_PARAMS {
            return Err(Error::Shader {
                name,
                report: format!(
                    "params take {} bytes, at most {MAX_PARAMS} are bound",
                    reflection.params_size
                ),
            });
        }
        // Constants a source does not declare are left out, so one list can serve several files.
        let constants: Vec<(&str, f64)> = kernel
            .constants
            .iter()
            .filter(|(n, _)| reflection.overrides.iter().any(|o| o == n))
            .copied()
            .collect();
        let (layout, raw) = guarded(&self.device, || {
            let layout = self.binding_layout(&reflection.writes);
            let raw = self.create(kernel, &name, &resolved.text, &constants, &layout);
            (layout, raw)
        })
        .map_err(|error| match error {
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
                requested: 0,
                in_use: 0,
            },
            other => Error::Shader {
                name: name.clone(),
                report: other.to_string(),
            },
        })?;
        Ok(Pipeline {
            raw,
            layout,
            params_size: reflection.params_size,
            name,
            entry: kernel.entry,
        })
    }

    fn create(
        &self,
        kernel: &Kernel,
        name: &str,
        text: &str,
        constants: &[(&str, f64)],
        layout: &BindingLayout,
    ) -> wgpu::ComputePipeline {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        };
        let module = if self.runtime_checks {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: kernels guard every access themselves and their loops end; conformance runs each of them with
            // poisoned guard words around every buffer to show it, and entry points are verified before first use.
            unsafe {
                self.device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            }
        };
        let pipeline_layout = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout.raw), Some(&self.params_layout)],
                immediate_size: 0,
            });
        self.device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants,
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.cache.as_ref(),
            })
    }

    fn binding_layout(&self, writes: &[bool]) -> Arc<BindingLayout> {
        let mut state = self.state();
        if let Some(layout) = state.layouts.get(writes) {
            return layout.clone();
        }
        let entries: Vec<_> = writes
            .iter()
            .enumerate()
            .map(|(i, writes)| wgpu::BindGroupLayoutEntry {
                binding: i as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !writes },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = Arc::new(BindingLayout {
            raw: self
                .device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: None,
                    entries: &entries,
                }),
            writes: writes.to_vec(),
            id: state.layouts.len() as u32,
        });
        state.layouts.insert(writes.to_vec(), layout.clone());
        layout
    }

    /// Pipelines compiled by this device so far.
    pub fn n_compiled(&self) -> u64 {
        self.state().n_compiled
    }

    /// Writes the driver's pipeline cache beside the last one and renames it into place. A folder that cannot be
    /// written costs only the compile time of the next start.
    pub fn save(&self) {
        let (Some(cache), Some(file)) = (&self.cache, &self.cache_file) else {
            return;
        };
        {
            let mut state = self.state();
            if state.n_saved == state.n_compiled {
                return;
            }
            state.n_saved = state.n_compiled;
        }
        if let Some(data) = cache.get_data() {
            if let Some(dir) = file.parent() {
                let _ = std::fs::create_dir_all(dir);
            }
            let _ = write_by_rename(file, &data);
        }
    }
}
