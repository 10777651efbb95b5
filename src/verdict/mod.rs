//! What is known about kernels on this adapter: right, or wrong and how. Knows no operator.
//!
//! A verdict is remembered under everything that decides what a kernel computes: adapter, driver, backend, crate
//! version and shader text. With a cache folder it outlives the process; the file is written by rename, so two
//! processes at once lose at most each other's newest lines.

mod spoil;
mod tolerance;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[cfg(feature = "bench")]
pub(crate) use spoil::has_spoiled;
pub(crate) use spoil::spoil;
pub use tolerance::{Mismatch, Tolerance, compare};

use crate::disk::write_by_rename;
use crate::gpu::Device;

/// What keys of verdicts begin with that are about kernels spoiled on purpose: they end with the process.
const TRIAL: &str = "trial/";

/// The key of a verdict on kernels while that one is spoiled: what is found of them says nothing of others, and is not kept.
pub(crate) fn trial_key(spoiled: &str, key: &str) -> String {
    format!("{TRIAL}{spoiled}/{key}")
}

/// Whether a kernel gave right numbers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// What was found instead, in one line.
    Wrong(String),
}

/// The verdicts of one device.
pub(crate) struct Verdicts {
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Verdict>>,
}

impl Verdicts {
    pub fn of(device: &Device) -> Arc<Self> {
        device.extension(|| Self::load(device))
    }

    fn load(device: &Device) -> Self {
        let adapter = device.adapter();
        let mut hasher = DefaultHasher::new();
        (
            &adapter.name,
            &adapter.driver,
            &adapter.driver_info,
            &adapter.backend,
            env!("CARGO_PKG_VERSION"),
            device.caps().f16,
            device.caps().subgroup,
        )
            .hash(&mut hasher);
        let file = device
            .cache_dir()
            .map(|dir| dir.join(format!("verdicts-{:016x}.tsv", hasher.finish())));
        let text = file.as_ref().and_then(|f| std::fs::read_to_string(f).ok());
        let known = text
            .iter()
            .flat_map(|t| t.lines())
            .filter_map(|line| {
                let (key, verdict) = line.split_once('\t')?;
                let verdict = match verdict.split_once('\t') {
                    None if verdict == "right" => Verdict::Right,
                    Some(("wrong", detail)) => Verdict::Wrong(detail.to_string()),
                    // A line cut short or from another program: verify again.
                    _ => return None,
                };
                Some((key.to_string(), verdict))
            })
            .collect();
        Verdicts {
            file,
            known: Mutex::new(known),
        }
    }

    pub fn get(&self, key: &str) -> Option<Verdict> {
        self.lock().get(key).cloned()
    }

    pub fn put(&self, key: String, verdict: Verdict) {
        self.lock().insert(key, verdict);
    }

    /// All verdicts, in the order of their keys.
    #[cfg(feature = "check")]
    pub fn all(&self) -> Vec<(String, Verdict)> {
        let known = self.lock();
        known.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Verdict>> {
        self.known
            .lock()
            .expect("nothing panics while verdicts are locked")
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        let mut text = String::new();
        for (key, verdict) in self.lock().iter() {
            if key.starts_with(TRIAL) {
                continue;
            }
            match verdict {
                Verdict::Right => text.push_str(&format!("{key}\tright\n")),
                Verdict::Wrong(detail) => {
                    let detail = detail.replace(['\n', '\t'], " ");
                    text.push_str(&format!("{key}\twrong\t{detail}\n"));
                }
            }
        }
        // A folder that cannot be written costs a verification at the next start, nothing else.
        if let Some(dir) = file.parent() {
            let _ = std::fs::create_dir_all(dir);
        }
        let _ = write_by_rename(file, text.as_bytes());
    }
}
