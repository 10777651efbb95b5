//! What all verbs share: the adapter asked for, the cache folder, warnings of the library.

use std::io;
use std::path::{Path, PathBuf};

use affekt::gpu::Limits;
use affekt::{Device, DeviceOptions};
use log::{LevelFilter, Log, Metadata, Record};

use crate::outcome::{Failure, flatten, say};

pub struct Session {
    /// What `--adapter` or `AFFEKT_ADAPTER` says.
    pub adapter: Option<String>,
    /// Whether `--adapter` said it, which the call at hand must then have a use for.
    on_the_line: bool,
}

impl Session {
    pub fn new(adapter: Option<String>, on_the_line: bool) -> Self {
        let adapter = adapter.filter(|a| !a.is_empty());
        Session {
            on_the_line: on_the_line && adapter.is_some(),
            adapter,
        }
    }

    /// The adapter asked for, as [`open_as`](Self::open_as) takes it, or all native ones by number.
    pub fn adapters(&self, all: bool) -> Result<Vec<Option<String>>, Failure> {
        if !all {
            return Ok(vec![self.adapter.clone()]);
        }
        self.takes_no_adapter("--all-adapters")?;
        let numbers = 0..Device::adapters(false).len();
        Ok(numbers.map(|i| Some(i.to_string())).collect())
    }

    /// Refuses `--adapter` beside an option that leaves it no meaning.
    pub fn takes_no_adapter(&self, option: &str) -> Result<(), Failure> {
        match self.on_the_line {
            true => Err(Failure::Wrong(format!(
                "--adapter cannot be used with {option}"
            ))),
            false => Ok(()),
        }
    }

    /// Opens the adapter, with verdicts and pipelines kept in the cache folder of the system.
    pub fn open(&self, limits: Limits) -> affekt::Result<Device> {
        self.open_as(self.adapter.as_deref(), limits)
    }

    /// Opens another adapter than the one asked for in the same way.
    pub fn open_as(&self, adapter: Option<&str>, limits: Limits) -> affekt::Result<Device> {
        let cache_dir = cache_dir();
        if let Some(dir) = &cache_dir {
            if let Err(e) = try_to_write(dir) {
                log::warn!(
                    "nothing can be kept in the cache folder {}: {e}; kernels are verified again at each start",
                    dir.display()
                );
            }
        }
        Device::open(DeviceOptions {
            adapter: adapter.map(str::to_string),
            limits,
            cache_dir,
            ..DeviceOptions::default()
        })
    }
}

/// The folder where the system wants caches, if it names one.
fn cache_dir() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let caches = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Caches"))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    Some(caches?.join("affekt"))
}

fn try_to_write(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // Permissions do not tell of a file system mounted read-only.
    let file = dir.join(format!(".{}.tmp", std::process::id()));
    std::fs::write(&file, b"")?;
    std::fs::remove_file(&file)
}

/// Whether a file can be made or replaced there: asked before long work, so that its results are not lost.
pub fn try_beside(file: &Path) -> Result<(), Failure> {
    let wrong = |what: String| Failure::Wrong(format!("{}: {what}", file.display()));
    if file.exists() && !file.is_file() {
        return Err(wrong(
            "there is something that is no regular file".to_string(),
        ));
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let trial = folder.join(format!(".affekt-{}.tmp", std::process::id()));
    std::fs::write(&trial, b"").map_err(|e| wrong(e.to_string()))?;
    std::fs::remove_file(&trial).map_err(|e| wrong(e.to_string()))
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Drivers and wgpu warn about much that concerns nobody here; what matters comes back as an error.
        metadata.target().starts_with("affekt")
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Error => "error",
                log::Level::Warn => "warning",
                _ => "note",
            };
            say(&format!(
                "affekt: {level}: {}",
                flatten(&record.args().to_string())
            ));
        }
    }

    fn flush(&self) {}
}

/// Sends warnings of the library to stderr.
pub fn start_log() {
    static STDERR: Stderr = Stderr;
    log::set_logger(&STDERR).expect("it is set once");
    log::set_max_level(LevelFilter::Warn);
}
