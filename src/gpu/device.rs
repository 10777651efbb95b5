//! The device: opening one, or taking an app's own; its capabilities, its loss, and the doors to memory and stream.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::error::{Error, Result};
use crate::gpu::adapter::{self, AdapterInfo};
use crate::gpu::dispatch::{Binding, fold};
use crate::gpu::memory::{Buffer, MemoryStats, Pool, Purpose};
use crate::gpu::pipeline::{Kernel, Pipeline, Pipelines};
use crate::gpu::reader::Poller;
use crate::gpu::stream::{Stream, StreamStats};

/// Which limits and features to ask of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limits {
    /// Everything the adapter has.
    #[default]
    Full,
    /// The WebGPU defaults and no features: what any device can do.
    Default,
}

impl Limits {
    /// `full` or `default`.
    pub fn name(self) -> &'static str {
        match self {
            Limits::Full => "full",
            Limits::Default => "default",
        }
    }
}

/// How to open a device.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Name, `backend:name` or index of the adapter; `None` takes the first native one.
    pub adapter: Option<String>,
    pub limits: Limits,
    /// Most bytes the pool may hold.
    pub memory_budget: Option<u64>,
    /// Where verdicts and compiled pipelines are kept between runs; `None` keeps them in memory only.
    pub cache_dir: Option<PathBuf>,
    /// Whether elementwise operators wait to be fused. Off, each runs at once.
    pub fuse: bool,
    /// Whether kernels are verified at first use on this adapter.
    pub verify: bool,
    /// Whether naga adds bounds checks and loop bounds to the kernels. They do not need them.
    pub runtime_checks: bool,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        DeviceOptions {
            adapter: None,
            limits: Limits::Full,
            memory_budget: None,
            cache_dir: None,
            fuse: true,
            verify: true,
            runtime_checks: false,
        }
    }
}

/// The kind of machine behind an adapter; plan tables have a column for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    Discrete,
    Integrated,
    /// A software driver: lavapipe, SwiftShader, WARP.
    Cpu,
}

/// What the opened device can do: its own limits and features, not the adapter's.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    pub class: DeviceClass,
    /// Lanes of a subgroup, if subgroup operations may be used and the size is fixed.
    pub subgroup: Option<u32>,
    /// The smallest subgroup the adapter reports, whether or not kernels may use subgroups: a hint for block sizes.
    pub lanes: u32,
    /// Whether kernels may use `f16` themselves; `F16` tensors work either way.
    pub f16: bool,
    pub timestamps: bool,
    pub timestamp_period_ns: f32,
    pub pipeline_cache: bool,
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    pub max_storage_buffers: u32,
    pub max_workgroup_bytes: u32,
    pub max_invocations: u32,
    pub max_workgroups_per_axis: u32,
    /// Bytes that the start of a partial binding is a multiple of.
    pub binding_align: u64,
}

impl Caps {
    fn of(device: &wgpu::Device, info: &wgpu::AdapterInfo, timestamp_period_ns: f32) -> Self {
        let limits = device.limits();
        let features = device.features();
        let fixed = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size > 1;
        Caps {
            class: match info.device_type {
                wgpu::DeviceType::Cpu => DeviceClass::Cpu,
                wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
                // Virtual and unnamed devices are mostly discrete cards handed through.
                _ => DeviceClass::Discrete,
            },
            subgroup: (features.contains(wgpu::Features::SUBGROUP) && fixed)
                .then_some(info.subgroup_min_size),
            lanes: info.subgroup_min_size,
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            timestamp_period_ns,
            pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroups_per_axis: limits.max_compute_workgroups_per_dimension,
            binding_align: u64::from(limits.min_storage_buffer_offset_alignment),
        }
    }
}

/// How one handle of a device works; a property of the handle, so a probe does not disturb its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Whether elementwise operators wait to be fused.
    pub fuse: bool,
    /// Whether entry points are verified at first use.
    pub verify: bool,
    /// Whether buffers are poisoned and framed by guard words.
    pub guard: bool,
    /// The one entry point (and variant) to use where an operator has it.
    pub only: Option<(&'static str, u32)>,
    /// An entry point whose results are spoiled after each dispatch, as a broken driver would: to prove that nothing
    /// wrong gets through.
    pub corrupt: Option<&'static str>,
}

pub(crate) struct Shared {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub caps: Caps,
    pub adapter: AdapterInfo,
    pub pool: Arc<Pool>,
    pub pipelines: Pipelines,
    stream: Mutex<Stream>,
    lost: Arc<Loss>,
    pub poller: Mutex<Option<Poller>>,
    /// `None` for an app's own device.
    options: Option<DeviceOptions>,
    cooperative: Vec<String>,
    cache_dir: Option<PathBuf>,
    extensions: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    #[expect(
        dead_code,
        reason = "a GL context dies with its instance, so the device keeps it"
    )]
    instance: Option<wgpu::Instance>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pipelines.save();
    }
}

/// Whether the device is lost, and why. Every entry asks, so the answer is one load.
#[derive(Default)]
struct Loss {
    known: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl Loss {
    fn check(&self) -> Result<()> {
        if !self.known.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.reason.lock().expect("the reason is never poisoned");
        Err(Error::DeviceLost {
            reason: reason.clone().unwrap_or_default(),
        })
    }

    /// The first reason stays.
    fn mark(&self, reason: &str) {
        self.reason
            .lock()
            .expect("the reason is never poisoned")
            .get_or_insert_with(|| reason.to_string());
        self.known.store(true, Ordering::Release);
    }
}

impl Shared {
    pub fn check_lost(&self) -> Result<()> {
        self.lost.check()
    }

    pub fn mark_lost(&self, reason: &str) {
        self.lost.mark(reason);
    }

    /// Marks the device lost, unless it is, and says so.
    pub fn lost_error(&self, reason: &str) -> Error {
        self.mark_lost(reason);
        self.check_lost()
            .expect_err("the device was just marked lost")
    }

    pub fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        match self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(index),
            timeout: None,
        }) {
            Ok(_) => self.check_lost(),
            // A lost device takes a submission without complaint and never counts it.
            Err(wgpu::PollError::WrongSubmissionIndex(..)) => {
                Err(self.lost_error("a submission was not taken"))
            }
            Err(error) => Err(self.refused_because(error.to_string())),
        }
    }

    /// What a command that the driver refused means to the caller: a loss, a lack of memory, or a bug.
    pub fn refused(&self, error: wgpu::Error, requested: u64) -> Error {
        match error {
            wgpu::Error::OutOfMemory { .. } => {
                self.check_lost()
                    .err()
                    .unwrap_or_else(|| Error::OutOfMemory {
                        requested,
                        in_use: self.pool.stats().in_use,
                    })
            }
            other => self.refused_because(other.to_string()),
        }
    }

    fn refused_because(&self, message: String) -> Error {
        if let Err(lost) = self.check_lost() {
            return lost;
        }
        // What a lost device made is invalid, and using it is an error of another kind; so the device itself is asked.
        let responds = guarded(&self.device, || {
            let probe = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4,
                usage: wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            });
            probe.slice(..).get_mapped_range().is_ok()
        });
        match responds {
            Ok(true) => Error::Driver { message },
            _ => self.lost_error("the driver's device is gone"),
        }
    }
}

/// Runs `work` so that what the driver refuses comes back as a value, whatever error handler the app has installed.
pub(crate) fn guarded<T>(
    device: &wgpu::Device,
    work: impl FnOnce() -> T,
) -> Result<T, wgpu::Error> {
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let out = work();
    let errors = [validation, memory, internal].map(|scope| pollster::block_on(scope.pop()));
    match errors.into_iter().flatten().next() {
        None => Ok(out),
        Some(error) => Err(error),
    }
}

/// A device and its stream of work. Cloning gives another handle of the same device; it is `Send + Sync`.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
    mode: Mode,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.shared.adapter.label())
    }
}

impl Device {
    /// Opens the adapter named by `AFFEKT_ADAPTER`, or the first native one, with everything it has.
    ///
    /// Errors: [`Error::NoAdapter`], [`Error::UnknownAdapter`].
    pub fn open_default() -> Result<Self> {
        Self::open(DeviceOptions {
            adapter: std::env::var("AFFEKT_ADAPTER").ok(),
            ..DeviceOptions::default()
        })
    }

    /// Opens a device.
    ///
    /// Errors: [`Error::NoAdapter`], [`Error::UnknownAdapter`], [`Error::Driver`] if the adapter refuses.
    pub fn open(options: DeviceOptions) -> Result<Self> {
        let instance = instance();
        let wanted = options.adapter.as_deref();
        let adapters = adapter::enumerate(&instance, wanted);
        let adapter = adapter::choose(&adapters, wanted)?;
        let (features, limits) = match options.limits {
            Limits::Default => (wgpu::Features::empty(), wgpu::Limits::default()),
            Limits::Full => (
                adapter.features()
                    & (wgpu::Features::SHADER_F16
                        | wgpu::Features::SUBGROUP
                        | wgpu::Features::TIMESTAMP_QUERY
                        | wgpu::Features::PIPELINE_CACHE),
                adapter.limits(),
            ),
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("affekt"),
            required_features: features,
            required_limits: limits,
            // Pools serve fresh memory rarely; a large first block would be most of a small program's footprint.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        }))
        .map_err(|e| Error::Driver {
            message: format!("{}: {e}", AdapterInfo::of(&adapter.get_info()).label()),
        })?;
        let lost: Arc<Loss> = Arc::default();
        let flag = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            flag.mark(&format!("{reason:?}: {message}"));
        });
        // Everything that can fail runs inside a scope of its own; what is left comes from a lost device, whose next
        // call says so. wgpu's default handler would end the process.
        device.on_uncaptured_error(Arc::new(|_| {}));
        Ok(Self::build(
            device,
            queue,
            Some(options),
            lost,
            Some((instance, adapter::cooperative_shapes(&adapter))),
        ))
    }

    /// Works on a device that the app already has. Its own limits and features are used; no handler of the app is
    /// replaced, so the app tells of a loss with [`mark_lost`](Self::mark_lost). Kernels are verified only by
    /// `prepare`, since the app's frame may not wait for it.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::build(device, queue, None, Arc::default(), None)
    }

    fn build(
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: Option<DeviceOptions>,
        lost: Arc<Loss>,
        opened: Option<(wgpu::Instance, Vec<String>)>,
    ) -> Self {
        let (instance, cooperative) = opened.unzip();
        let info = device.adapter_info();
        let own = options.clone().unwrap_or(DeviceOptions {
            verify: false,
            ..DeviceOptions::default()
        });
        let caps = Caps::of(&device, &info, queue.get_timestamp_period());
        let pipelines =
            Pipelines::new(&device, own.runtime_checks, own.cache_dir.as_deref(), &info);
        let stream = Mutex::new(Stream::new(&device, pipelines.params_layout()));
        Device {
            mode: Mode {
                fuse: own.fuse,
                verify: own.verify,
                guard: false,
                only: None,
                corrupt: None,
            },
            shared: Arc::new(Shared {
                pool: Pool::new(
                    &device,
                    caps.max_buffer_bytes,
                    caps.max_binding_bytes,
                    own.memory_budget,
                ),
                adapter: AdapterInfo::of(&info),
                pipelines,
                stream,
                caps,
                lost,
                poller: Mutex::new(None),
                options,
                cooperative: cooperative.unwrap_or_default(),
                cache_dir: own.cache_dir,
                extensions: Mutex::default(),
                instance,
                device,
                queue,
            }),
        }
    }

    /// The adapters that can be opened; GL's only if `with_gl`.
    pub fn adapters(with_gl: bool) -> Vec<(AdapterInfo, wgpu::Limits, wgpu::Features)> {
        adapter::enumerate(&instance(), with_gl.then_some("gl"))
            .iter()
            .map(|a| (AdapterInfo::of(&a.get_info()), a.limits(), a.features()))
            .collect()
    }

    /// Opens a new device like this one, after a loss. Tensors of the old one keep answering
    /// [`Error::DeviceLost`]; parameters come back from the last checkpoint.
    ///
    /// Errors: [`Error::Unsupported`] for an app's own device: use [`recover_with`](Self::recover_with).
    pub fn recover(&self) -> Result<Self> {
        match &self.shared.options {
            Some(options) => Self::open(options.clone()),
            None => Err(Error::Unsupported {
                what: "way to reopen a device that belongs to the app".to_string(),
                adapter: self.shared.adapter.name.clone(),
            }),
        }
    }

    /// Goes on with the device that the app opened in place of a lost one.
    pub fn recover_with(&self, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::from_wgpu(device, queue)
    }

    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    pub fn adapter(&self) -> &AdapterInfo {
        &self.shared.adapter
    }

    /// Shapes of matrices that the adapter multiplies in one instruction, `16x16x16 f16 to f32` (rows, columns, inner).
    /// Empty where it has none, and for an app's own device, which does not say.
    pub fn cooperative_shapes(&self) -> Vec<String> {
        self.shared.cooperative.clone()
    }

    /// Where verdicts and pipelines are kept between runs.
    pub fn cache_dir(&self) -> Option<&std::path::Path> {
        self.shared.cache_dir.as_deref()
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Another handle of the same device that works differently.
    pub fn with_mode(&self, mode: Mode) -> Self {
        Device {
            shared: self.shared.clone(),
            mode,
        }
    }

    /// Whether both are handles of one device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Says that the app's device is lost; every later call answers [`Error::DeviceLost`].
    pub fn mark_lost(&self, reason: &str) {
        self.shared.mark_lost(reason);
    }

    /// Errors: [`Error::DeviceLost`].
    pub(crate) fn check_lost(&self) -> Result<()> {
        self.shared.check_lost()
    }

    /// Ends the driver's device on purpose; what still refers to it answers [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.shared.device.destroy();
        self.shared.mark_lost("destroyed on purpose");
    }

    /// Submits what is recorded.
    pub fn flush(&self) -> Result<()> {
        self.shared.check_lost()?;
        self.on_stream(|stream| stream.submit(&self.shared))
            .map(drop)
    }

    /// Submits what is recorded and waits until the device has done it.
    pub fn wait(&self) -> Result<()> {
        self.shared.check_lost()?;
        let index = self.on_stream(|stream| stream.submit(&self.shared))?;
        index.map_or(Ok(()), |index| self.shared.wait(index))
    }

    pub fn memory(&self) -> MemoryStats {
        MemoryStats {
            n_bind_groups: self.stream().n_bind_groups(),
            ..self.shared.pool.stats()
        }
    }

    /// Starts the high-water mark anew from what is in use now.
    pub fn reset_high_water(&self) {
        self.shared.pool.reset_high_water();
    }

    /// Counts of dispatches and submissions so far.
    pub fn stream_stats(&self) -> StreamStats {
        self.stream().stats()
    }

    /// Pipelines compiled so far.
    pub fn n_pipelines(&self) -> u64 {
        self.shared.pipelines.n_compiled()
    }

    /// Gives the pool's free buffers back to the driver.
    pub fn trim(&self) {
        let ids = self.shared.pool.trim();
        self.stream().forget_buffers(&ids);
    }

    /// Test seam: the `nth` allocation from now on fails (1 is the next one); `None` ends that.
    #[doc(hidden)]
    pub fn fail_allocation(&self, nth: Option<u64>) {
        self.shared.pool.fail_allocation(nth);
    }

    /// Test seam: allocations asked for so far.
    #[doc(hidden)]
    pub fn n_allocations(&self) -> u64 {
        self.shared.pool.n_calls()
    }

    /// The wgpu device and queue underneath.
    pub fn wgpu(&self) -> (&wgpu::Device, &wgpu::Queue) {
        (&self.shared.device, &self.shared.queue)
    }

    /// State that a layer above keeps per device: made at the first call, the same ever after.
    pub(crate) fn extension<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut extensions = self
            .shared
            .extensions
            .lock()
            .expect("making an extension does not panic");
        extensions
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(make()))
            .clone()
            .downcast()
            .expect("the map is keyed by type")
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(crate) fn stream(&self) -> MutexGuard<'_, Stream> {
        self.shared
            .stream
            .lock()
            .expect("nothing panics while recording")
    }

    pub(crate) fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        self.shared.check_lost()?;
        self.shared.pipelines.get(kernel).map_err(|e| match e {
            // On a lost device nothing compiles.
            Error::Shader { .. } => match self.shared.refused_because(String::new()) {
                lost @ Error::DeviceLost { .. } => lost,
                _ => e,
            },
            _ => e,
        })
    }

    /// A buffer of at least `bytes`, to be written by recorded dispatches.
    pub(crate) fn allocate(&self, bytes: u64) -> Result<Arc<Buffer>> {
        self.shared.check_lost()?;
        self.shared
            .pool
            .allocate(bytes, Purpose::Dispatch, || self.make_room())
    }

    /// A buffer that holds `bytes`, padded to whole words.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Arc<Buffer>> {
        self.shared.check_lost()?;
        let size = (bytes.len() as u64).next_multiple_of(4);
        let open_batch = self.stream().open_batch();
        let buffer = self
            .shared
            .pool
            .allocate(size, Purpose::Upload { open_batch }, || self.make_room())?;
        guarded(&self.shared.device, || {
            if size == bytes.len() as u64 {
                self.shared.queue.write_buffer(&buffer.raw, 0, bytes);
            } else {
                let mut padded = bytes.to_vec();
                padded.resize(size as usize, 0);
                self.shared.queue.write_buffer(&buffer.raw, 0, &padded);
            }
        })
        .map_err(|e| self.shared.refused(e, size))?;
        Ok(buffer)
    }

    /// Before an allocation is tried a second time: free buffers go, and the device ends what holds the others.
    pub(crate) fn make_room(&self) {
        // A loss is told by whatever is called next.
        let _ = self.wait();
        self.trim();
        let _ = self.shared.device.poll(wgpu::PollType::Poll);
    }

    /// Records a dispatch of `groups` workgroups, folded where one axis is too short.
    pub(crate) fn dispatch(
        &self,
        pipeline: &Pipeline,
        bindings: &[Binding],
        params: &[u8],
        groups: u64,
    ) -> Result<()> {
        self.shared.check_lost()?;
        if groups == 0 {
            return Ok(());
        }
        let groups = fold(groups, self.shared.caps.max_workgroups_per_axis)?;
        self.on_stream(|stream| stream.record(&self.shared, pipeline, bindings, params, groups))
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // The validation layers and debug labels cost at every call; tests switch them on through wgpu's own variables.
    descriptor.flags = wgpu::InstanceFlags::empty().with_env();
    wgpu::Instance::new(descriptor)
}
