//! The instruments themselves: rows of spoiled kernels, and plan tables.

mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use affekt::bench::report::{Ceilings, Environment, Machine, Row, RowVerdict};
use affekt::bench::statistics::Budget;
use affekt::bench::tune::{self, tune};
use affekt::bench::{Event, Report, Settings, page, rows, run, rungs};
use affekt::gpu::shader::Elem;
use affekt::gpu::{Limits, Mode};
use affekt::ops::plan_table::{self, Kind, PlanTable, Preference};
use affekt::{Device, DeviceOptions, Error, Tensor};
use libtest_mimic::{Failed, Trial};

type Test = (&'static str, fn(Limits) -> Result<(), Failed>);

const ON_A_DEVICE: &[Test] = &[
    ("a_table_is_followed_and_forgotten", a_table_is_followed),
    (
        "a_preferred_kernel_that_is_wrong_gives_way",
        a_wrong_preference,
    ),
    ("a_preference_cannot_cut_sums", a_preference_cannot_cut_sums),
    ("a_table_comes_from_the_cache_folder", a_table_is_found),
    ("broken_tables_are_refused", broken_tables_are_refused),
    ("a_spoiled_gradient_gives_way", a_spoiled_gradient_gives_way),
    (
        "a_spoiled_fused_kernel_gives_way",
        a_spoiled_fused_kernel_gives_way,
    ),
    ("a_lost_device_leaves_what_there_is", a_lost_device_leaves),
    ("tuning_tells_of_each_plan", tuning_tells_of_each_plan),
    ("rungs_are_timed_in_turns", rungs_are_timed_in_turns),
];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for (profile, device) in support::profiles() {
        let limits = match profile {
            "full" => Limits::Full,
            _ => Limits::Default,
        };
        for (name, test) in ON_A_DEVICE {
            let name = format!("{profile}/{name}");
            tests.push(match &device {
                Ok(_) => Trial::test(name, move || test(limits)),
                Err(reason) => support::absent(&name, "adapter", reason),
            });
        }
    }
    support::run(tests, &["full/".to_string(), "default/".to_string()])
}

fn open(limits: Limits) -> affekt::Result<Device> {
    Device::open(support::options(limits))
}

/// The row of softmax over [8192, 32]; times are not looked at.
fn softmax_row(device: &Device) -> affekt::Result<Row> {
    let subject = rows::subjects(Some("softmax/rows_of_32"))
        .into_iter()
        .find(|s| s.name() == "softmax/rows_of_32")
        .expect("softmax registers it");
    let budget = Budget {
        min_samples: 1,
        min_secs: 0.0,
        max_samples: 1,
        ..Budget::default()
    };
    subject.measure(device, &Ceilings::default(), &budget)
}

fn preference(entry: &'static str) -> (Kind, Preference) {
    let kind = Kind::new("softmax", Elem::F32, &[8192, 32]);
    let preference = Preference {
        entry,
        variant: 0,
        secs: 1.0,
        planned_secs: 2.0,
        planned: "invented for a trial".to_string(),
    };
    (kind, preference)
}

fn table(device: &Device, entry: &'static str) -> PlanTable {
    let (kind, preference) = preference(entry);
    let mut table = PlanTable::new(device);
    table.prefer(kind, preference);
    table
}

fn a_table_is_followed(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    let planned = softmax_row(&device)?;
    assert_eq!(plan_table::fingerprint(&device), "");
    // Every rung runs here; one of them is not what the plan takes.
    for entry in ["softmax", "softmax_vec4", "softmax_workgroup"] {
        let table = table(&device, entry);
        let fingerprint = table.fingerprint();
        table.install(&device)?;
        assert_eq!(plan_table::fingerprint(&device), fingerprint);
        let row = softmax_row(&device)?;
        assert_eq!(
            (row.verdict, row.entries),
            (RowVerdict::Right, vec![entry.to_string()])
        );
    }
    // Other sizes are not spoken of.
    let x = Tensor::from_slice(&device, &[0.0f32; 6], [2, 3])?;
    assert_eq!(x.softmax(-1)?.to_vec::<f32>()?, [1.0 / 3.0; 6]);
    PlanTable::uninstall(&device);
    assert_eq!(softmax_row(&device)?.entries, planned.entries);
    assert_eq!(plan_table::fingerprint(&device), "");
    Ok(())
}

fn a_wrong_preference(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    table(&device, "softmax_workgroup").install(&device)?;
    let spoiled = device.with_mode(Mode {
        corrupt: Some("softmax_workgroup"),
        ..device.mode()
    });
    let row = softmax_row(&spoiled)?;
    assert_eq!(row.verdict, RowVerdict::Right, "{:?}", row.detail);
    assert!(
        !row.entries.contains(&"softmax_workgroup".to_string()),
        "{:?}",
        row.entries
    );
    assert!(
        row.dropped[0].starts_with("softmax_workgroup: y: element 0 is "),
        "{:?}",
        row.dropped
    );
    Ok(())
}

/// A class of sizes may hold sums that the preferred kernel must not make alone.
fn a_preference_cannot_cut_sums(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    let mut table = PlanTable::new(&device);
    let kind = Kind::new("matmul", Elem::F32, &[1, 1, 70_001, 1]);
    let (_, preference) = preference("matmul");
    table.prefer(kind, preference);
    table.install(&device)?;
    let ones = vec![1.0f32; 70_001];
    let a = Tensor::from_slice(&device, &ones, [1, 70_001])?;
    let b = Tensor::from_slice(&device, &ones, [70_001, 1])?;
    assert_eq!(a.matmul(&b)?.to_vec::<f32>()?, [70_001.0]);
    Ok(())
}

fn a_table_is_found(limits: Limits) -> Result<(), Failed> {
    let folder = Folder::new(&format!("found-{limits:?}"));
    let options = DeviceOptions {
        cache_dir: Some(folder.0.clone()),
        ..support::options(limits)
    };
    let device = Device::open(options.clone())?;
    let made = table(&device, "softmax_workgroup");
    let file = plan_table::file(&device).expect("there is a cache folder");
    made.write(&file)?;
    assert_eq!(PlanTable::read(&file)?, made);
    let again = Device::open(options.clone())?;
    assert_eq!(plan_table::fingerprint(&again), made.fingerprint());
    assert_eq!(softmax_row(&again)?.entries, ["softmax_workgroup"]);
    // A broken file is as good as none.
    std::fs::write(&file, "{")?;
    assert_eq!(plan_table::fingerprint(&Device::open(options)?), "");
    Ok(())
}

fn broken_tables_are_refused(limits: Limits) -> Result<(), Failed> {
    let folder = Folder::new(&format!("broken-{limits:?}"));
    let device = open(limits)?;
    let file = folder.0.join("plans.json");
    table(&device, "softmax").write(&file)?;
    let good = std::fs::read_to_string(&file)?;
    for (from, to, words) in [
        ("{", "", "no JSON"),
        ("affekt-plans", "other", "no plan table"),
        (
            "\"schema_version\": 1",
            "\"schema_version\": 9",
            "schema version 9",
        ),
        (
            "\"entry\": \"softmax\"",
            "\"entry\": \"sofmax\"",
            "broken row",
        ),
        ("softmax/f32/", "softmax/f99/", "broken row"),
        ("\"rows\"", "\"lines\"", "no list in field rows"),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&file, good.replacen(from, to, 1))?;
        match PlanTable::read(&file) {
            Err(error @ Error::Format { .. }) => {
                assert!(error.to_string().contains(words), "{error}")
            }
            other => return Err(format!("{words}: {other:?}").into()),
        }
    }
    // Numbers of variants that mean no kernel.
    for (calls, entry, variant) in [
        ("stft/f32/400x160x8016", "stft_fused", 0),
        ("matmul/f32/1x512x512x512", "matmul_subgroup", 255),
        ("window_attention/f32/16x8x64", "window_attention_block", 0),
    ] {
        let row = format!(
            r#"{{"calls": "{calls}", "entry": "{entry}", "variant": {variant}, "secs": 1, "planned_secs": 2, "planned": ""}},"#
        );
        let text = good.replacen("\"rows\": [", &format!("\"rows\": [{row}"), 1);
        std::fs::write(&file, text)?;
        match PlanTable::read(&file) {
            Err(error @ Error::Format { .. }) => {
                assert!(error.to_string().contains("broken row"), "{error}");
            }
            other => return Err(format!("{entry}: {other:?}").into()),
        }
    }
    let adapter = serde_json::to_string(&device.adapter().label()).expect("a label is text");
    std::fs::write(&file, good.replace(&adapter, "\"vulkan:another\""))?;
    match PlanTable::read(&file)?.install(&device) {
        Err(Error::Unsupported { what, .. }) => assert!(what.contains("vulkan:another"), "{what}"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// The rung of a gradient that is wrong is not used either, and what comes instead is right.
fn a_spoiled_gradient_gives_way(limits: Limits) -> Result<(), Failed> {
    let gradient = |device: &Device| -> affekt::Result<Vec<f32>> {
        let x: Vec<f32> = (0..8 * 64).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_slice(device, &x, [8, 64])?.requires_grad()?;
        let y = x.softmax(-1)?;
        let gradients = y.mul(&y)?.sum(&[], false)?.backward()?;
        gradients.get(&x).expect("the sum depends on it").to_vec()
    };
    let device = open(limits)?;
    let right = gradient(&device)?;
    let rungs = ["softmax_vjp", "softmax_vjp_vec4", "softmax_vjp_workgroup"];
    for entry in rungs {
        let device = open(limits)?;
        let spoiled = device.with_mode(Mode {
            corrupt: Some(entry),
            ..device.mode()
        });
        for (got, wanted) in gradient(&spoiled)?.iter().zip(&right) {
            assert!(
                (got - wanted).abs() <= 1e-6,
                "{entry}: {got} instead of {wanted}"
            );
        }
    }
    Ok(())
}

/// A chain in one kernel that is wrong is computed function by function; a function alone that is wrong is an error.
fn a_spoiled_fused_kernel_gives_way(limits: Limits) -> Result<(), Failed> {
    let chain = |device: &Device| -> affekt::Result<Vec<f32>> {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_slice(device, &x, [1000])?;
        x.mul(2.0)?.gelu()?.add(&x)?.to_vec()
    };
    let spoiled = |device: &Device, entry| {
        device.with_mode(Mode {
            corrupt: Some(entry),
            ..device.mode()
        })
    };
    let device = open(limits)?;
    let right = chain(&device)?;
    let close = |got: &[f32]| {
        let mut pairs = got.iter().zip(&right);
        pairs.all(|(got, wanted)| (got - wanted).abs() <= 1e-6)
    };
    // That it was right on this very device is no excuse.
    for device in [device, open(limits)?] {
        let before = device.stream_stats().n_dispatches;
        let got = chain(&spoiled(&device, affekt::fuse::FUSED))?;
        assert!(close(&got), "{:?} instead of {:?}", &got[..4], &right[..4]);
        assert!(device.stream_stats().n_dispatches - before >= 3);
        match chain(&spoiled(&device, "gelu")) {
            // The chain is not spoiled, and runs as one.
            Ok(got) => assert!(close(&got)),
            Err(error) => return Err(error.to_string().into()),
        }
        let x = Tensor::from_slice(&spoiled(&device, "gelu"), &[0.5f32; 8], [8])?;
        match x.gelu()?.to_vec::<f32>() {
            Err(Error::KernelWrong { op: "gelu", .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
        // Nobody remembers.
        assert_eq!(chain(&device)?, right);
    }
    Ok(())
}

/// As few samples as there can be: times are not looked at.
fn hasty() -> Budget {
    Budget {
        min_samples: 1,
        min_secs: 0.0,
        max_samples: 1,
        ..Budget::default()
    }
}

fn a_lost_device_leaves(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    let settings = Settings {
        rows: rows::subjects(Some("softmax/rows_of_32")),
        steps: Vec::new(),
        budget: hasty(),
        step_budget: hasty(),
        baseline: None,
    };
    let environment = Environment::of(&device, limits);
    let machine = run(&device, environment, &settings, &mut |event| {
        if matches!(event, Event::Row(_)) {
            device.destroy();
        }
        ControlFlow::Continue(())
    })?;
    let names = |machine: &Machine| -> Vec<String> { machine.rows.iter().map(Row::name).collect() };
    assert_eq!(names(&machine), ["log_softmax/rows_of_32"]);
    let missing = [
        "log_softmax/rows_of_32 backward",
        "softmax/rows_of_32",
        "softmax/rows_of_32 backward",
    ];
    assert_eq!(machine.health.missing, missing);
    let lost = machine.health.lost.clone().unwrap_or_default();
    assert!(lost.contains("destroyed on purpose"), "{lost}");
    assert!(machine.ceilings.is_some());
    let page = page::html(&Report::new(vec![machine.clone()]));
    assert!(page.contains("ended early:</span>") && page.contains("3 cases missing: log_softmax/"));
    // It is read again.
    let folder = Folder::new(&format!("lost-{limits:?}"));
    let file = folder.0.join("lost.json");
    Report::new(vec![machine.clone()]).write(&file)?;
    let read = &Report::read(&file)?.machines[0];
    assert_eq!(names(read), names(&machine));
    assert_eq!(read.health.lost, machine.health.lost);
    Ok(())
}

/// What was settled is in the hands of whoever keeps it when the device goes.
fn tuning_tells_of_each_plan(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    let folder = Folder::new(&format!("tuning-{limits:?}"));
    let file = folder.0.join("plans.json");
    let subjects = rows::subjects(Some("softmax/rows"));
    assert!(subjects.len() > 2);
    let mut n_settled = 0;
    let tuned = tune(&device, &subjects, Duration::from_secs(600), &mut |event| {
        if let tune::Event::Found { table, .. } = event {
            table.write(&file).expect("the folder can be written");
            n_settled += 1;
            device.destroy();
        }
    });
    assert!(matches!(tuned, Err(Error::DeviceLost { .. })), "{tuned:?}");
    assert_eq!(n_settled, 1);
    PlanTable::read(&file)?;
    Ok(())
}

fn rungs_are_timed_in_turns(limits: Limits) -> Result<(), Failed> {
    let device = open(limits)?;
    let settings = rungs::Settings {
        budget: Budget {
            min_samples: 3,
            min_secs: 0.0,
            max_samples: 3,
            ..Budget::default()
        },
        limit: 10.0,
        margin: 0.05,
    };
    let subjects = rows::all_subjects(Some("softmax/"));
    let subject = |name: &str| subjects.iter().find(|s| s.name() == name);
    let subject = subject("softmax/rows_of_32").expect("softmax registers it");
    let ladder = rungs::ladder(&device, subject, &settings)?;
    let ladder = ladder.expect("softmax has several rungs");
    assert_eq!(ladder.detail, None);
    assert_eq!(ladder.rungs.iter().filter(|r| r.chosen).count(), 1);
    assert_eq!(ladder.rungs.iter().filter(|r| r.naive).count(), 1);
    for rung in &ladder.rungs {
        let timing = rung
            .timing
            .unwrap_or_else(|| panic!("{rung:?} has no time"));
        assert_eq!(timing.n, 3);
        let ratio = rung.chosen_over_this.expect("both have times");
        assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
    }
    // Nothing is quick enough.
    let hurried = rungs::Settings {
        limit: 1e-9,
        ..settings
    };
    let ladder = rungs::ladder(&device, subject, &hurried)?;
    for rung in ladder.expect("it has several rungs").rungs {
        let reason = rung.skipped.expect("it takes too long");
        assert!(reason.contains("the limit is"), "{reason}");
    }
    Ok(())
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("affekt-bench-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the system has a folder for such");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
