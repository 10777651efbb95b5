//! Finding adapters, choosing one, and saying what to install when there is none.

use crate::error::{Error, Result};

/// One adapter of this machine, as `affekt adapters` lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// Name the driver gives, e.g. `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `gl`.
    pub backend: String,
    /// `discrete`, `integrated`, `cpu`, `virtual` or `other`.
    pub kind: String,
    pub driver: String,
    pub driver_info: String,
    /// Fewest and most lanes of a subgroup; they differ where the driver chooses per pipeline.
    pub subgroup_sizes: (u32, u32),
}

impl AdapterInfo {
    pub(crate) fn of(info: &wgpu::AdapterInfo) -> Self {
        AdapterInfo {
            name: info.name.clone(),
            backend: backend_name(info.backend).to_string(),
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::Cpu => "cpu",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Other => "other",
            }
            .to_string(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        }
    }

    /// `vulkan:llvmpipe (LLVM 15.0.6, 256 bits)`: the form that `--adapter` takes back.
    pub fn label(&self) -> String {
        format!("{}:{}", self.backend, self.name)
    }
}

pub(crate) fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        wgpu::Backend::Noop => "noop",
    }
}

/// What a machine without any adapter is told.
pub const INSTALL_HINT: &str = "install a Vulkan driver for the GPU, or a software one \
(Debian, Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1; Fedora: dnf install mesa-vulkan-drivers); \
macOS and Windows bring their own";

/// The order in which an unnamed or ambiguous choice falls.
const PREFERENCE: [wgpu::Backend; 4] = [
    wgpu::Backend::Vulkan,
    wgpu::Backend::Metal,
    wgpu::Backend::Dx12,
    wgpu::Backend::Gl,
];

/// Adapters of the native backends, and of GL too when `wanted` names it: starting GL costs time and prints to the
/// terminal on machines without a display, so it is asked only by name.
pub(crate) fn enumerate(instance: &wgpu::Instance, wanted: Option<&str>) -> Vec<wgpu::Adapter> {
    let mut backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    if wanted.is_some_and(|w| w.to_ascii_lowercase().starts_with("gl")) {
        backends |= wgpu::Backends::GL;
    }
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|a| {
        let info = a.get_info();
        (
            PREFERENCE
                .iter()
                .position(|b| *b == info.backend)
                .unwrap_or(PREFERENCE.len()),
            match info.device_type {
                wgpu::DeviceType::DiscreteGpu => 0,
                wgpu::DeviceType::IntegratedGpu => 1,
                wgpu::DeviceType::VirtualGpu => 2,
                wgpu::DeviceType::Other => 3,
                wgpu::DeviceType::Cpu => 4,
            },
        )
    });
    adapters
}

/// What the adapter says of its matrix instructions.
pub(crate) fn cooperative_shapes(adapter: &wgpu::Adapter) -> Vec<String> {
    let name = |scalar: wgpu::CooperativeScalarType| format!("{scalar:?}").to_ascii_lowercase();
    adapter
        .cooperative_matrix_properties()
        .iter()
        .map(|p| {
            format!(
                "{}x{}x{} {} to {}",
                p.m_size,
                p.n_size,
                p.k_size,
                name(p.ab_type),
                name(p.cr_type)
            )
        })
        .collect()
}

/// Opens what [`pick`] picks.
pub(crate) fn choose(adapters: &[wgpu::Adapter], wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let infos: Vec<AdapterInfo> = adapters
        .iter()
        .map(|a| AdapterInfo::of(&a.get_info()))
        .collect();
    Ok(adapters[pick(&infos, wanted)?].clone())
}

/// The place of the adapter that `wanted` means: an index into the list, `name`, or `backend:name` (parts of names
/// do).
///
/// Nothing wanted takes the first of the list, which is sorted by backend and then by kind of device.
/// Errors: [`Error::NoAdapter`], [`Error::UnknownAdapter`].
pub fn pick(infos: &[AdapterInfo], wanted: Option<&str>) -> Result<usize> {
    if infos.is_empty() {
        return Err(Error::NoAdapter {
            hint: INSTALL_HINT.to_string(),
        });
    }
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else {
        return Ok(0);
    };
    position(infos, wanted).ok_or_else(|| Error::UnknownAdapter {
        wanted: wanted.to_string(),
        available: infos.iter().map(AdapterInfo::label).collect(),
    })
}

fn position(infos: &[AdapterInfo], wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.parse::<usize>() {
        return (index < infos.len()).then_some(index);
    }
    let wanted = wanted.to_ascii_lowercase();
    infos.iter().position(|info| {
        let label = info.label().to_ascii_lowercase();
        let (backend, name) = label.split_once(':').expect("a label has a colon");
        match wanted.split_once(':') {
            Some((b, n)) if b == backend => name.contains(n.trim()),
            _ => name.contains(&wanted) || wanted == backend,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(backend: &str, name: &str) -> AdapterInfo {
        AdapterInfo {
            name: name.to_string(),
            backend: backend.to_string(),
            kind: "cpu".to_string(),
            driver: String::new(),
            driver_info: String::new(),
            subgroup_sizes: (4, 128),
        }
    }

    #[test]
    fn names_may_carry_the_backend() {
        let infos = [
            info("vulkan", "llvmpipe (LLVM 15)"),
            info("gl", "llvmpipe (LLVM 15)"),
        ];
        assert_eq!(position(&infos, "llvmpipe"), Some(0));
        assert_eq!(position(&infos, "gl:llvmpipe"), Some(1));
        assert_eq!(position(&infos, "GL"), Some(1));
        assert_eq!(position(&infos, "1"), Some(1));
        assert_eq!(position(&infos, "2"), None);
        assert_eq!(position(&infos, "swiftshader"), None);
        assert_eq!(position(&infos, "dx12:llvmpipe"), None);
    }
}
