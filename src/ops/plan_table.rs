//! Which entry points a device prefers beyond the built-in plans: what `affekt tune` measured on one adapter.
//!
//! A table belongs to an adapter, a driver and a version of this crate, and is a file that an app can ship. It says for
//! an operator and a class of sizes (each rounded up to a power of two) which entry point to take first; that one is
//! verified before it is trusted like any other, and the built-in plan follows where it does not fit or is wrong. A
//! table changes bits as another driver would, so its [`fingerprint`] is part of what a training run is known by.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::disk::write_by_rename;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::gpu::shader::Elem;
use crate::ops;

const SCHEMA: &str = "affekt-plans";
const SCHEMA_VERSION: u64 = 1;

/// The calls that one row of a table is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub op: &'static str,
    pub elem: Elem,
    /// Each rounded up to a power of two; what they are is the operator's business.
    sizes: [u32; SIZES],
}

/// Most sizes that tell calls of one operator apart.
const SIZES: usize = 8;

impl Kind {
    pub fn new(op: &'static str, elem: Elem, sizes: &[usize]) -> Self {
        let mut rounded = [0; SIZES];
        for (to, n) in rounded.iter_mut().zip(sizes) {
            *to = u32::try_from(n.next_power_of_two()).unwrap_or(u32::MAX);
        }
        Kind {
            op,
            elem,
            sizes: rounded,
        }
    }

    /// `softmax/f32/8192x32`.
    pub fn name(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(u32::to_string).collect();
        let n = self
            .sizes
            .iter()
            .rposition(|n| *n != 0)
            .map_or(0, |i| i + 1);
        format!("{}/{}/{}", self.op, self.elem.wgsl(), sizes[..n].join("x"))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (op, elem, sizes) = (parts.next()?, parts.next()?, parts.next()?);
        let op = ops::find(op).ok()?.signature().name;
        let elem = [Elem::F32, Elem::F16, Elem::I32, Elem::U32]
            .into_iter()
            .find(|e| e.wgsl() == elem)?;
        let mut numbers = [0; SIZES];
        for (i, word) in sizes.split('x').filter(|w| !w.is_empty()).enumerate() {
            *numbers.get_mut(i)? = word.parse().ok()?;
        }
        Some(Kind {
            op,
            elem,
            sizes: numbers,
        })
    }
}

/// What is preferred, and the measurement behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    pub entry: &'static str,
    pub variant: u32,
    /// Seconds of a call with it, and with what the built-in plan takes; of the backward pass alone for its entry points.
    pub secs: f64,
    pub planned_secs: f64,
    /// What the built-in plan takes, in words.
    pub planned: String,
}

/// The preferences of one adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanTable {
    adapter: String,
    driver: String,
    version: String,
    rows: BTreeMap<Kind, Vec<Preference>>,
}

impl PlanTable {
    /// An empty table for the device's adapter.
    pub fn new(device: &Device) -> Self {
        let adapter = device.adapter();
        PlanTable {
            adapter: adapter.label(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info),
            version: env!("CARGO_PKG_VERSION").to_string(),
            rows: BTreeMap::new(),
        }
    }

    /// The table that the device uses; an empty one with the built-in plans.
    pub fn installed(device: &Device) -> Self {
        InUse::of(device).lock().table.clone()
    }

    /// Forgets what is said of these calls about the entry points that `which` picks.
    pub fn forget(&mut self, kind: &Kind, which: impl Fn(&'static str) -> bool) {
        if let Some(list) = self.rows.get_mut(kind) {
            list.retain(|p| !which(p.entry));
            if list.is_empty() {
                self.rows.remove(kind);
            }
        }
    }

    /// Prefers an entry point for these calls, after those that the table prefers already.
    pub fn prefer(&mut self, kind: Kind, preference: Preference) {
        self.rows.entry(kind).or_default().push(preference);
    }

    pub fn rows(&self) -> impl Iterator<Item = (&Kind, &[Preference])> {
        self.rows.iter().map(|(kind, list)| (kind, list.as_slice()))
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it was measured on this adapter with this driver, by this version.
    pub fn fits(&self, device: &Device) -> bool {
        let own = PlanTable::new(device);
        (&own.adapter, &own.driver, &own.version) == (&self.adapter, &self.driver, &self.version)
    }

    /// What decides which kernels run, as a number in hexadecimal; empty for an empty table.
    pub fn fingerprint(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut hash = Fnv::default();
        for (kind, list) in &self.rows {
            for p in list {
                format!("{} {} {}\n", kind.name(), p.entry, p.variant)
                    .as_bytes()
                    .hash(&mut hash);
            }
        }
        format!("{:016x}", hash.finish())
    }

    /// Reads a table.
    ///
    /// Errors: [`Error::Format`] if it cannot be read or is none. Rows of operators or entry points that this version does
    /// not have are errors too: the file is of another version, or broken.
    pub fn read(file: &Path) -> Result<Self> {
        let wrong = |what: String| Error::format(file, what);
        let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|e| wrong(format!("no JSON: {e}")))?;
        if value["schema"].as_str() != Some(SCHEMA) {
            return Err(wrong(
                "no plan table: its field schema does not say so".to_string(),
            ));
        }
        if value["schema_version"].as_u64() != Some(SCHEMA_VERSION) {
            return Err(wrong(format!(
                "schema version {}, this program reads {SCHEMA_VERSION}",
                value["schema_version"]
            )));
        }
        let word = |name: &str| {
            let word = value[name].as_str().map(str::to_string);
            word.ok_or_else(|| wrong(format!("no text in field {name}")))
        };
        let mut table = PlanTable {
            adapter: word("adapter")?,
            driver: word("driver")?,
            version: word("version")?,
            rows: BTreeMap::new(),
        };
        let rows = value["rows"].as_array();
        for row in rows.ok_or_else(|| wrong("no list in field rows".to_string()))? {
            let (kind, preference) =
                parse_row(row).ok_or_else(|| wrong(format!("broken row {row}")))?;
            table.prefer(kind, preference);
        }
        Ok(table)
    }

    /// Writes the table, whole or not at all.
    ///
    /// Errors: [`Error::Io`].
    pub fn write(&self, file: &Path) -> Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .flat_map(|(kind, list)| list.iter().map(move |p| (kind, p)))
            .map(|(kind, p)| {
                json!({
                    "calls": kind.name(),
                    "entry": p.entry,
                    "variant": p.variant,
                    "secs": p.secs,
                    "planned": p.planned,
                    "planned_secs": p.planned_secs,
                })
            })
            .collect();
        let value = json!({
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "adapter": self.adapter,
            "driver": self.driver,
            "version": self.version,
            "rows": rows,
        });
        let text = format!("{value:#}\n");
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
        }
        write_by_rename(file, text.as_bytes()).map_err(|e| Error::io(file, &e))
    }

    /// Uses the table on this device from now on, instead of what was in use.
    ///
    /// Errors: [`Error::Unsupported`] if it was measured on another adapter, with another driver or by another version.
    pub fn install(self, device: &Device) -> Result<()> {
        if !self.fits(device) {
            return Err(Error::Unsupported {
                what: format!(
                    "use for a plan table of {} ({}), affekt {}",
                    self.adapter, self.driver, self.version
                ),
                adapter: device.adapter().label(),
            });
        }
        *InUse::of(device).lock() = Known::new(self);
        Ok(())
    }

    /// Goes back to the built-in plans.
    pub fn uninstall(device: &Device) {
        *InUse::of(device).lock() = Known::new(PlanTable::new(device));
    }
}

fn parse_row(row: &Value) -> Option<(Kind, Preference)> {
    let kind = Kind::parse(row["calls"].as_str()?)?;
    let (name, variant) = (row["entry"].as_str()?, row["variant"].as_u64()?);
    let variant = u32::try_from(variant).ok()?;
    let op = ops::find(kind.op).ok()?;
    // The operator's own name, which lives as long as the program.
    let entry = op.entries().into_iter().find(|e| e.name() == name)?.name();
    op.entry(entry, variant)?;
    Some((
        kind,
        Preference {
            entry,
            variant,
            secs: row["secs"].as_f64()?,
            planned_secs: row["planned_secs"].as_f64()?,
            planned: row["planned"].as_str()?.to_string(),
        },
    ))
}

/// FNV-1a of 64 bits: the standard library's hash may change with its version.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The table that a device uses.
struct InUse(Mutex<Known>);

struct Known {
    table: PlanTable,
    fingerprint: String,
    by_kind: HashMap<Kind, Arc<[Choice]>>,
}

/// An entry point and its variant.
pub type Choice = (&'static str, u32);

impl Known {
    fn new(table: PlanTable) -> Self {
        let choices = |list: &[Preference]| list.iter().map(|p| (p.entry, p.variant)).collect();
        Known {
            fingerprint: table.fingerprint(),
            by_kind: table
                .rows()
                .map(|(kind, list)| (kind.clone(), choices(list)))
                .collect(),
            table,
        }
    }
}

impl InUse {
    /// At the first call that of the cache folder, if there is one that fits.
    fn of(device: &Device) -> Arc<Self> {
        device.extension(|| {
            let kept = file(device).filter(|f| f.exists());
            let table = kept.and_then(|file| match PlanTable::read(&file) {
                Ok(table) => Some(table).filter(|t| t.fits(device)),
                Err(error) => {
                    log::warn!("the built-in plans are used: {error}");
                    None
                }
            });
            InUse(Mutex::new(Known::new(
                table.unwrap_or_else(|| PlanTable::new(device)),
            )))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0
            .lock()
            .expect("nothing panics while a table is locked")
    }
}

/// Where the table of the device's adapter is kept and looked for; `None` without a cache folder.
pub fn file(device: &Device) -> Option<PathBuf> {
    let mut hash = Fnv::default();
    let own = PlanTable::new(device);
    (own.adapter, own.driver, own.version).hash(&mut hash);
    let folder = device.cache_dir()?;
    Some(folder.join(format!("plans-{:016x}.json", hash.finish())))
}

/// The [fingerprint](PlanTable::fingerprint) of the table that the device uses; empty with the built-in plans.
pub fn fingerprint(device: &Device) -> String {
    InUse::of(device).lock().fingerprint.clone()
}

/// What the device's table prefers for these calls, best first.
pub(crate) fn preferred(device: &Device, kind: &Kind) -> Option<Arc<[Choice]>> {
    let in_use = InUse::of(device);
    let known = in_use.lock();
    if known.by_kind.is_empty() {
        return None;
    }
    known.by_kind.get(kind).cloned()
}
