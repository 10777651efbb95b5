//! What the tests that need a device or data share: opening one, saying why not, and the last line of a run.
//!
//! No adapter and no data mean *ignored, with the reason*. `AFFEKT_REQUIRE=adapter,data` turns either into a failure.

#![allow(dead_code, reason = "every test binary uses its own part of this file")]

use std::path::PathBuf;
use std::process::ExitCode;

use affekt::gpu::Limits;
use affekt::{Device, DeviceOptions, Error};
use libtest_mimic::{Arguments, Failed, Trial};

/// Whether `AFFEKT_REQUIRE` lists `what`.
pub fn required(what: &str) -> bool {
    std::env::var("AFFEKT_REQUIRE").is_ok_and(|list| list.split(',').any(|w| w.trim() == what))
}

/// The options of a device on the adapter that `AFFEKT_ADAPTER` names, or the first.
pub fn options(limits: Limits) -> DeviceOptions {
    DeviceOptions {
        adapter: std::env::var("AFFEKT_ADAPTER").ok(),
        limits,
        ..DeviceOptions::default()
    }
}

/// Opens a device; the error is the reason in one line. An adapter that is there and does not open, or that
/// `AFFEKT_ADAPTER` spells wrongly, is no reason to ignore anything: that ends the run.
pub fn open(limits: Limits) -> Result<Device, String> {
    match Device::open(options(limits)) {
        Ok(device) => Ok(device),
        Err(error @ Error::NoAdapter { .. }) => Err(error.to_string()),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

/// Both profiles with their devices. One that cannot be opened has the reason instead.
pub fn profiles() -> Vec<(&'static str, Result<Device, String>)> {
    [("full", Limits::Full), ("default", Limits::Default)]
        .into_iter()
        .map(|(name, limits)| (name, open(limits)))
        .collect()
}

/// The folder `$AFFEKT_DATA/name`; the error is the reason in one line.
pub fn data(name: &str) -> Result<PathBuf, String> {
    let root = std::env::var_os("AFFEKT_DATA").ok_or("AFFEKT_DATA is not set")?;
    let folder = PathBuf::from(root).join(name);
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(format!("there is no folder {}", folder.display())),
    }
}

/// A trial that cannot run here: ignored, or failed if `AFFEKT_REQUIRE` lists `what`. The reason is part of the name.
pub fn absent(name: &str, what: &'static str, reason: &str) -> Trial {
    let failure = format!("AFFEKT_REQUIRE lists {what}: {reason}");
    Trial::test(format!("{name} [{reason}]"), move || {
        Err(Failed::from(failure))
    })
    .with_ignored_flag(!required(what))
}

/// A trial that is left out whatever is installed. The reason is part of the name.
pub fn left_out(name: &str, reason: &str) -> Trial {
    Trial::test(format!("{name} [{reason}]"), || Ok(())).with_ignored_flag(true)
}

/// Runs the trials and ends with one line per group: how many ran, how many were left out.
///
/// Trials listed as ignored do not run even when asked for with `--ignored`: there is nothing behind them.
pub fn run(trials: Vec<Trial>, groups: &[String]) -> ExitCode {
    let arguments = Arguments::from_args();
    let counts: Vec<(usize, usize)> = groups
        .iter()
        .map(|group| {
            let of_group = || {
                trials
                    .iter()
                    .filter(|t| t.name().starts_with(group.as_str()))
            };
            let ignored = of_group().filter(|t| t.has_ignored_flag()).count();
            (of_group().count() - ignored, ignored)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        for (group, (run, ignored)) in groups.iter().zip(counts) {
            eprintln!("{group}: {run} trials, {ignored} left out with their reasons");
        }
    }
    conclusion.exit_code()
}
