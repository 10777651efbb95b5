//! Verified before trusted: what happens when a kernel is wrong on an adapter, and what is remembered of it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use affekt::gpu::Limits;
use affekt::ops::op::{Attrs, Op};
use affekt::{Device, DeviceOptions, Error, Tensor, ops};
use libtest_mimic::{Failed, Trial};

use super::specimen::Specimen;
use super::support;

type Edits = &'static [(&'static str, &'static str)];

const WRONG: Edits = &[("bitcast<u32>(v * v)", "bitcast<u32>(v * v * v)")];
/// Right but for the remainder, which a verification case has to have.
const WRONG_IN_THE_REST: Edits = &[(
    "Elem(bitcast<f32>(bits))",
    "Elem(select(0.0f, v * v, i < 192u))",
)];
const DOES_NOT_COMPILE: Edits = &[("let v =", "let v: bool =")];
const WRONG_GRADIENT: Edits = &[("let slope = 2.0f", "let slope = 3.0f")];

/// Warnings of this process, one line each.
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) && record.target().starts_with("affekt") {
            let mut lines = self.0.lock().expect("nothing panics while it is locked");
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Warnings so far that begin with this entry point.
fn warnings_about(entry: &str) -> usize {
    let lines = WARNINGS
        .0
        .lock()
        .expect("nothing panics while it is locked");
    let start = format!("{entry} is wrong on ");
    lines.iter().filter(|line| line.starts_with(&start)).count()
}

fn device(cache_dir: Option<&Path>, verify: bool) -> Result<Device, Failed> {
    Ok(Device::open(DeviceOptions {
        cache_dir: cache_dir.map(Path::to_path_buf),
        verify,
        ..support::options(Limits::Full)
    })?)
}

/// A folder of this test alone, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("affekt-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Failed> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            files.push(entry?.path());
        }
        Ok(files)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const X: [f32; 5] = [0.0, 1.0, -2.0, 3.0, 0.5];

/// Squares, and the dispatches it took.
fn squares(op: &'static Specimen, device: &Device) -> affekt::Result<(Vec<f32>, u64)> {
    let x = Tensor::from_slice(device, &X, [5])?;
    let before = device.stream_stats().n_dispatches;
    let y = ops::run(op, &[Some(&x)], &Attrs::new())?
        .remove(0)
        .to_vec()?;
    Ok((y, device.stream_stats().n_dispatches - before))
}

/// The squares must be right; returns the dispatches.
fn right(op: &'static Specimen, device: &Device) -> Result<u64, Failed> {
    let (y, dispatches) = squares(op, device)?;
    same(&y[..], &[0.0, 1.0, 4.0, 9.0, 0.25])?;
    Ok(dispatches)
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(got: &T, expected: &T) -> Result<(), Failed> {
    match got == expected {
        true => Ok(()),
        false => Err(Failed::from(format!("{got:?}, expected {expected:?}"))),
    }
}

pub fn trials(groups: &mut Vec<String>) -> Vec<Trial> {
    groups.push("trust/".to_string());
    if let Err(reason) = support::open(Limits::Full) {
        return vec![support::absent("trust/all", "adapter", &reason)];
    }
    log::set_logger(&WARNINGS).expect("no other logger is set");
    log::set_max_level(log::LevelFilter::Warn);
    let trial =
        |name: &str, work: fn() -> Result<(), Failed>| Trial::test(format!("trust/{name}"), work);
    vec![
        trial("a wrong rung gives way, with one warning", || {
            gives_way("gives_way", WRONG)
        }),
        trial("a rung that is wrong in the remainder gives way", || {
            gives_way("gives_way_for_the_rest", WRONG_IN_THE_REST)
        }),
        trial("a rung that does not compile gives way", || {
            gives_way("gives_way_uncompiled", DOES_NOT_COMPILE)
        }),
        trial("two wrong rungs give way", two_give_way),
        trial("all rungs wrong is an error", all_wrong),
        trial(
            "a wrong gradient is an error and the value is not",
            wrong_gradient,
        ),
        trial(
            "a wrong function is an error in any expression",
            wrong_function,
        ),
        trial("verdicts outlive the device", outlive),
        trial("another text is verified again", another_text),
        trial("spoiled files are harmless", spoiled),
        trial("a folder that cannot be made is harmless", no_folder),
        trial("prepare judges for a device that does not verify", prepared),
    ]
}

fn gives_way(name: &'static str, rung: Edits) -> Result<(), Failed> {
    let op = Specimen::ladder(name, &[], &[rung]);
    let device = device(None, true)?;
    let first = right(op, &device)?;
    if first < 2 {
        return Err(Failed::from("nothing was verified"));
    }
    // From then on nothing is verified or warned about again.
    same(&right(op, &device)?, &1)?;
    same(&right(op, &device)?, &1)?;
    same(&warnings_about(&format!("{name}_rung0")), &1)?;
    same(&warnings_about(name), &0)
}

fn two_give_way() -> Result<(), Failed> {
    let op = Specimen::ladder("two_give_way", &[], &[WRONG, WRONG_IN_THE_REST]);
    let device = device(None, true)?;
    right(op, &device)?;
    same(&right(op, &device)?, &1)?;
    same(&warnings_about("two_give_way_rung0"), &1)?;
    same(&warnings_about("two_give_way_rung1"), &1)
}

fn kernel_wrong(result: affekt::Result<(Vec<f32>, u64)>, name: &str) -> Result<(), Failed> {
    match result {
        Err(Error::KernelWrong { op, adapter, .. }) if op == name && !adapter.is_empty() => Ok(()),
        other => Err(Failed::from(format!(
            "{other:?}, expected KernelWrong of {name}"
        ))),
    }
}

fn all_wrong() -> Result<(), Failed> {
    let op = Specimen::ladder("all_wrong", WRONG, &[WRONG]);
    let device = device(None, true)?;
    kernel_wrong(squares(op, &device), "all_wrong")?;
    let before = device.stream_stats().n_dispatches;
    kernel_wrong(squares(op, &device), "all_wrong")?;
    same(&(device.stream_stats().n_dispatches - before), &0)?;
    same(&warnings_about("all_wrong"), &1)
}

fn wrong_gradient() -> Result<(), Failed> {
    let op = Specimen::ladder("wrong_gradient", WRONG_GRADIENT, &[]);
    let device = device(None, true)?;
    right(op, &device)?;
    let x = Tensor::from_slice(&device, &X, [5])?.requires_grad()?;
    let y = ops::run(op, &[Some(&x)], &Attrs::new())?.remove(0);
    match y.backward_from(&y.detach()) {
        Err(Error::KernelWrong {
            op: "wrong_gradient",
            ..
        }) => Ok(()),
        other => Err(Failed::from(format!(
            "{:?}, expected KernelWrong",
            other.map(drop)
        ))),
    }
}

fn wrong_function() -> Result<(), Failed> {
    let op = super::functions::wrong("cube_untrusted");
    let device = device(None, true)?;
    let x = Tensor::from_slice(&device, &X, [5])?;
    // Fused with others, and in a gradient; in the dark it must not come out as a number anywhere.
    let y = ops::run(op, &[Some(&x)], &Attrs::new())?.remove(0);
    let z = y.mul(&x)?.add(1.0)?;
    kernel_wrong(z.to_vec().map(|z| (z, 0)), "cube_untrusted")?;
    kernel_wrong(y.to_vec().map(|y| (y, 0)), "cube_untrusted")
}

fn outlive() -> Result<(), Failed> {
    let folder = Folder::new("outlive")?;
    let op = Specimen::ladder("outlive", &[], &[WRONG]);
    let first = device(Some(&folder.0), true)?;
    let (_, n_first) = squares(op, &first)?;
    let compiled = first.n_pipelines();
    drop(first);
    let second = device(Some(&folder.0), true)?;
    same(&right(op, &second)?, &1)?;
    if n_first < 3 || compiled <= second.n_pipelines() {
        return Err(Failed::from(format!(
            "{n_first} dispatches and {compiled} pipelines at first, 1 and {} then",
            second.n_pipelines()
        )));
    }
    // The wrong rung is known to be wrong without being tried or warned about again.
    same(&warnings_about("outlive_rung0"), &1)
}

fn another_text() -> Result<(), Failed> {
    let folder = Folder::new("another")?;
    let mut counts = Vec::new();
    for edits in [&[][..], &[], &[("let v =", "let v = 1.0f *")]] {
        let op = Specimen::ladder("another_text", edits, &[]);
        counts.push(right(op, &device(Some(&folder.0), true)?)?);
    }
    same(&counts[..], &[2, 1, 2])
}

fn spoiled() -> Result<(), Failed> {
    let folder = Folder::new("spoiled")?;
    let op = Specimen::ladder("spoiled", &[], &[WRONG]);
    right(op, &device(Some(&folder.0), true)?)?;
    let files = folder.files()?;
    if !files
        .iter()
        .any(|f| f.to_string_lossy().contains("verdicts"))
    {
        return Err(Failed::from(format!("no verdicts among {files:?}")));
    }
    let whole: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let ways: [Spoil; 6] = [
        |_| Vec::new(),
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |bytes| bytes.iter().map(|b| !b).collect(),
        |bytes| bytes.iter().rev().copied().collect(),
        |_| b"one line\nspoiled\tright\textra\n\t\t\t\n".to_vec(),
        |bytes| [bytes, b"\xff\xfe\0"].concat(),
    ];
    for spoil in ways {
        for (file, bytes) in files.iter().zip(&whole) {
            std::fs::write(file, spoil(bytes))?;
        }
        right(op, &device(Some(&folder.0), true)?)?;
    }
    Ok(())
}

fn no_folder() -> Result<(), Failed> {
    let folder = Folder::new("no-folder")?;
    let file = folder.0.join("a file");
    std::fs::write(&file, "in the way")?;
    let op = Specimen::ladder("no_folder", &[], &[]);
    right(op, &device(Some(&file), true)?)?;
    right(op, &device(Some(&file.join("below")), true)?)?;
    same(&std::fs::read_to_string(&file)?[..], "in the way")
}

fn prepared() -> Result<(), Failed> {
    let op = Specimen::ladder("prepared", &[], &[WRONG]);
    let operators: [&'static dyn Op; 1] = [op];
    // Without verification a wrong kernel is used: that is what an app takes on by not preparing.
    let careless = device(None, false)?;
    same(&squares(op, &careless)?.0[2], &-8.0)?;
    let device = device(None, false)?;
    pollster::block_on(device.prepare(&operators))?;
    same(&right(op, &device)?, &1)
}
