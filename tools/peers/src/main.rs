//! The same work by affekt and by Burn, in turn, in one process, on one adapter. See README.md beside this folder.

mod burns;
mod measure;
mod ours;
mod runner;
mod table;
mod work;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use affekt::bench::Report;
use affekt::bench::report::{Health, Machine, Row, RowVerdict};
use affekt::bench::statistics::Samples;
use affekt::check::Environment;
use affekt::gpu::Limits;
use affekt::wgpu::Features;
use affekt::{Device, DeviceOptions};
use burn::tensor::wgpu::WgpuSetup;

use crate::measure::{Effort, measure};
use crate::runner::{Runner, Submit};
use crate::work::{Kind, Work};

/// Anything that ends a row or the run.
pub type Failure = Box<dyn std::error::Error>;

/// How far two results may be apart, over the largest number among them: rounding of sums of 1024 products, in any
/// order, stays a hundred times below, and so do the losses of three training steps.
const MOST_APART: f64 = 1e-3;

const HELP: &str = "peers: the same work by affekt and by Burn, in turn, on one adapter

usage: peers [OPTIONS] [FILTER ...]

  FILTER            rows whose name has this in it, like matmul
  --adapter NAME    name, backend:name or index, for both engines
  --json FILE       writes the results as affekt bench does
  --rounds N        fewest samples of each engine and row [25]
  --seconds S       time per row after which no more are taken [4]
  --together        submits when an engine thinks fit, not after every call
  --help

example: peers --json peers.json matmul softmax";

struct Options {
    adapter: Option<String>,
    json: Option<PathBuf>,
    effort: Effort,
    submit: Submit,
    filters: Vec<String>,
}

impl Options {
    /// `None` where help is asked for.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, Failure> {
        let mut options = Options {
            adapter: std::env::var("AFFEKT_ADAPTER").ok(),
            json: None,
            effort: Effort {
                min_rounds: 25,
                secs: 4.0,
            },
            submit: Submit::Each,
            filters: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--adapter" => options.adapter = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--rounds" => options.effort.min_rounds = value()?.parse()?,
                "--seconds" => options.effort.secs = value()?.parse()?,
                "--together" => options.submit = Submit::Together,
                other if other.starts_with('-') => {
                    return Err(format!("unknown option {other}; see --help").into());
                }
                _ => options.filters.push(word),
            }
        }
        if options.effort.min_rounds == 0 {
            return Err("--rounds must be at least 1".into());
        }
        Ok(Some(options))
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str()))
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("peers: {e}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("peers: {e}");
            ExitCode::from(2)
        }
    }
}

/// Measures, prints, writes. False if results of the engines differ.
fn run(options: &Options) -> Result<bool, Failure> {
    let begin = Instant::now();
    let works: Vec<Work> = work::all()?
        .into_iter()
        .filter(|work| options.wants(&work.name()))
        .collect();
    if works.is_empty() {
        return Err(format!("no row has {} in its name", options.filters.join(", ")).into());
    }
    let ours = Device::open(DeviceOptions {
        adapter: options.adapter.clone(),
        ..DeviceOptions::default()
    })?;
    let (theirs, setup) = burns::open(&ours)?;
    let environment = Environment::of(&ours, Limits::Full);
    let beside = environment_of_burn(&setup, &environment);
    let environments = [environment, beside];
    let load = table::load();
    for e in &environments {
        println!("{:<14}  {}", e.engine, e.adapter);
    }
    println!(
        "{:<14}  {}\n",
        "load before",
        load.as_deref().unwrap_or("unknown")
    );
    table::head();

    let before = reference(&ours)?;
    let mut rows: [Vec<Row>; 2] = Default::default();
    let mut agree = true;
    for work in &works {
        let pair = pair(&ours, &theirs, work, options)?;
        agree &= pair.iter().all(|row| row.verdict != RowVerdict::Wrong);
        table::line(work, &pair);
        for (rows, row) in rows.iter_mut().zip(pair) {
            rows.push(row);
        }
    }
    let slowdown = reference(&ours)? / before;
    table::foot(slowdown);

    if let Some(file) = &options.json {
        let machines = environments
            .into_iter()
            .zip(rows)
            .map(|(environment, rows)| machine(environment, rows, slowdown, begin))
            .collect();
        Report::new(machines).write(file)?;
        println!("\nwritten: {}", file.display());
    }
    Ok(agree)
}

/// The rows of one piece of work, affekt's and Burn's.
fn pair(
    ours: &Device,
    theirs: &burn::tensor::Device,
    work: &Work,
    options: &Options,
) -> Result<[Row; 2], Failure> {
    let plan = match work.kind {
        Kind::Operator(op) => op.plan(&work.case.metas(), &work.attrs()?, ours.caps()),
        _ => None,
    };
    let mut ours_row = Row {
        plan,
        ..empty_row(work)?
    };
    let mut theirs_row = empty_row(work)?;
    let mut runners: Vec<Box<dyn Runner>> = vec![ours::runner(ours, work, options.submit)?];
    let expected = runners[0].result()?;

    // Burn panics where it cannot go on.
    let made = guarded(|| {
        let mut runner = match burns::runner(theirs, work, options.submit)? {
            Ok(runner) => runner,
            Err(reason) => return Err(reason.into()),
        };
        let result = runner.result()?;
        Ok((runner, result))
    });
    match made {
        Ok((runner, result)) => match difference(&expected, &result) {
            apart if apart <= MOST_APART => {
                theirs_row.detail = Some(format!("at most {apart:.1e} from affekt's result"));
                runners.push(runner);
            }
            apart => {
                theirs_row.verdict = RowVerdict::Wrong;
                theirs_row.detail = Some(format!("{apart:.1e} from affekt's result"));
            }
        },
        Err(e) => skip(&mut theirs_row, e),
    }
    let taken = match guarded(|| measure(&mut runners, options.effort)) {
        Err(e) if runners.len() > 1 => {
            skip(&mut theirs_row, e);
            runners.truncate(1);
            measure(&mut runners, options.effort)?
        }
        other => other?,
    };
    let last = runners.iter_mut().map(|runner| runner.last());
    for (row, last) in [&mut ours_row, &mut theirs_row].into_iter().zip(last) {
        let apart = last?.map_or(0.0, |last| difference(&expected, &last));
        if apart > MOST_APART {
            row.verdict = RowVerdict::Wrong;
            row.detail = Some(format!("{apart:.1e} off after it was timed"));
        }
    }
    for (row, samples) in [&mut ours_row, &mut theirs_row]
        .into_iter()
        .zip(&taken.samples)
    {
        fill(row, samples, taken.calls);
    }
    Ok([ours_row, theirs_row])
}

/// What `f` gives, or what it panicked with.
fn guarded<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(said(panic.as_ref()).into()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a word"))
}

/// The largest difference over the largest number; infinite where lengths differ or something is not finite.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().chain(b).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let largest = a
        .iter()
        .fold(f64::MIN_POSITIVE, |m, x| m.max(f64::from(x.abs())));
    let apart = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).abs();
    a.iter().zip(b).map(apart).fold(0.0, f64::max) / largest
}

fn empty_row(work: &Work) -> Result<Row, Failure> {
    let cost = work.cost()?;
    let case = &work.case.label;
    Ok(Row {
        bytes: cost.bytes(),
        flops: cost.flops,
        ..Row::without_time(&work.op, case, work.shapes(), RowVerdict::Right)
    })
}

fn skip(row: &mut Row, reason: Failure) {
    let text = reason.to_string();
    row.verdict = RowVerdict::Skipped;
    row.detail = text.lines().next().map(str::to_string);
}

fn fill(row: &mut Row, samples: &Samples, calls: u32) {
    let timing = match samples.timing() {
        Some(timing) if row.verdict == RowVerdict::Right => timing,
        _ => return,
    };
    row.median = Some(timing.median);
    row.gb_s = Some(row.bytes as f64 / timing.median / 1e9);
    row.gflop_s = (row.flops > 0).then(|| row.flops as f64 / timing.median / 1e9);
    row.noisy = timing.p90 - timing.p10 > 0.2 * timing.median || (timing.drift - 1.0).abs() > 0.1;
    row.wall = Some(timing);
    let calls = format!("{calls} calls in a sample");
    row.detail = Some(match row.detail.take() {
        Some(detail) => format!("{calls}; {detail}"),
        None => calls,
    });
}

/// Seconds of one fixed piece of work, by which a machine that became slower is known.
fn reference(device: &Device) -> Result<f64, Failure> {
    let work = work::all()?
        .into_iter()
        .find(|work| work.name() == "matmul/square_512")
        .expect("it is in the list");
    let mut runners = vec![ours::runner(device, &work, Submit::Each)?];
    let effort = Effort {
        min_rounds: 25,
        secs: 1.0,
    };
    let taken = measure(&mut runners, effort)?;
    let timing = taken.samples[0].timing().ok_or("no sample was taken")?;
    Ok(timing.median)
}

/// The same machine, with Burn's device.
fn environment_of_burn(setup: &WgpuSetup, ours: &Environment) -> Environment {
    let info = setup.device.adapter_info();
    let features = setup.device.features();
    let mut names = vec!["fusion", "autotuning"];
    names.push(match cfg!(feature = "spirv") {
        true => "kernels as SPIR-V where it can",
        false => "kernels as WGSL",
    });
    for (feature, name) in [
        (Features::SHADER_F16, "f16"),
        (Features::SUBGROUP, "subgroups"),
        (Features::TIMESTAMP_QUERY, "timestamps"),
    ] {
        if features.contains(feature) {
            names.push(name);
        }
    }
    let backend = info.backend.to_str().to_string();
    let class = match info.device_type {
        affekt::wgpu::DeviceType::IntegratedGpu => "integrated",
        affekt::wgpu::DeviceType::Cpu => "cpu",
        _ => "discrete",
    };
    Environment {
        engine: format!("burn {}", locked("burn")),
        adapter: format!("{backend}:{}", info.name),
        class: class.to_string(),
        backend,
        driver: info.driver,
        driver_info: info.driver_info,
        limits: Limits::Full.name().to_string(),
        wgpu: locked("wgpu").to_string(),
        features: names.into_iter().map(str::to_string).collect(),
        os: ours.os.clone(),
        n_host_threads: ours.n_host_threads,
        started: ours.started,
        ..Environment::default()
    }
}

/// The version of a package in the lock file of this build.
fn locked(package: &str) -> &'static str {
    let lock: &'static str = include_str!("../Cargo.lock");
    let head = format!("name = \"{package}\"\n");
    lock.split("[[package]]")
        .find(|entry| entry.contains(&head))
        .and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or("of unknown version")
}

fn machine(environment: Environment, rows: Vec<Row>, slowdown: f64, begin: Instant) -> Machine {
    let skipped = rows
        .iter()
        .filter(|row| row.verdict == RowVerdict::Skipped)
        .map(|row| format!("{}: {}", row.name(), row.detail.as_deref().unwrap_or("")))
        .collect();
    let health = Health {
        clock: "wall".to_string(),
        slowdown,
        throttled: slowdown > 1.1,
        n_noisy: rows.iter().filter(|row| row.noisy).count(),
        n_discarded: 0,
        skipped,
        seconds: begin.elapsed().as_secs_f64(),
        ..Health::default()
    };
    Machine {
        environment,
        rows,
        health,
        ..Machine::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_differ_by_their_largest_number_and_by_what_is_not_finite() {
        assert_eq!(difference(&[1.0, -4.0], &[1.5, -4.0]), 0.125);
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(
            difference(&[1.0, f32::NAN], &[1.0, f32::NAN]),
            f64::INFINITY
        );
    }

    #[test]
    fn rows_have_the_names_and_shapes_that_other_files_have() {
        let works = work::all().expect("the registry has these cases");
        let rows: Vec<String> = works
            .iter()
            .map(|work| format!("{} {}", work.name(), work.shapes()))
            .collect();
        // What peers.py writes, word for word.
        assert_eq!(
            rows,
            [
                "matmul/square_256 f32[256, 256] f32[256, 256]",
                "matmul/square_512 f32[512, 512] f32[512, 512]",
                "matmul/square_1024 f32[1024, 1024] f32[1024, 1024]",
                "matmul/8192x32x96 f32[8192, 32] f32[32, 96]",
                "matmul/2048x64x256 f32[2048, 64] f32[64, 256]",
                "softmax/rows_of_768 f32[4096, 768]",
                "layer_norm/rows_of_768 f32[4096, 768] f32[768] f32[768]",
                "chain/ten_of_1048576 f32[1048576] f32[1048576]",
                "gather/rows f32[4096, 256] u32[4096, 256]",
                "mlp/64x784_512_512_10 f32[64, 784] i32[64]",
                "stft/16x80000_400_160 f32[16, 80000]",
                "stft/16x80000_512_160 f32[16, 80000]",
            ]
        );
    }

    #[test]
    fn options_are_taken_and_wrong_ones_refused() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(|w| w.to_string()));
        let options = parse(&["--rounds", "9", "matmul", "--together"]);
        let options = options.expect("they are right").expect("no help");
        assert_eq!(options.effort.min_rounds, 9);
        assert_eq!(options.submit, Submit::Together);
        assert!(options.wants("matmul/square_512") && !options.wants("gather/rows"));
        assert!(parse(&["--help"]).expect("it is right").is_none());
        for wrong in [&["--rounds"][..], &["--rounds", "0"], &["--what"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
