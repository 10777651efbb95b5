//! Every operator, case and property on this machine's adapter, at full limits and in the default profile, and random
//! expressions of the elementwise operators.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use affekt::check::expressions::{self, Report};
use affekt::check::{Outcome, Trial as Check, trials};
use affekt::ops::elementwise::Elementwise;
use affekt::ops::op::Input;
use affekt::{DType, Device, Tensor, ops};
use half::f16;
use libtest_mimic::{Failed, Trial};

/// Seeds of the expressions tried in a profile. Each compiles a kernel of its own, which is what takes the time; the
/// default profile differs in its limit of buffers only.
fn seeds(profile: &str) -> std::ops::Range<u64> {
    match profile {
        "full" => 0..200,
        _ => 200..260,
    }
}

type Reports = Arc<Mutex<Vec<Report>>>;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    let mut runs: Vec<(&str, Reports)> = Vec::new();
    for (profile, device) in support::profiles() {
        groups.push(format!("{profile}/"));
        match device {
            Ok(device) => {
                eprintln!("{profile}/ on {}", device.adapter().label());
                tests.extend(trials().into_iter().map(|t| trial(profile, t, &device)));
                let reports = Reports::default();
                tests.extend(seeds(profile).map(|s| expression(profile, s, &device, &reports)));
                runs.push((profile, reports));
                tests.push(f16_specials(profile, &device));
                for dtype in [DType::F32, DType::F16] {
                    let ops = ops::elementwise::all();
                    tests.extend(ops.filter_map(|op| gradient(profile, op, dtype, &device)));
                }
            }
            Err(reason) => tests.push(support::absent(
                &format!("{profile}/all"),
                "adapter",
                &reason,
            )),
        }
    }
    let code = support::run(tests, &groups);
    let mut complaints = Vec::new();
    let mut applied = Vec::new();
    let mut all = !runs.is_empty();
    for (profile, reports) in &runs {
        let reports = reports.lock().expect("no trial panics here");
        complaints.extend(coverage(profile, &reports));
        applied.extend(reports.iter().flat_map(|r| r.functions.clone()));
        all &= reports.len() == seeds(profile).count();
    }
    let names = ops::elementwise::all().map(|op| op.signature.name);
    let absent: Vec<&str> = names.filter(|name| !applied.contains(name)).collect();
    if all && !absent.is_empty() {
        complaints.push(format!("no expression applies {}", absent.join(" or ")));
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() {
        code
    } else {
        ExitCode::FAILURE
    }
}

/// Whether the expressions of a whole run were worth their name: they fuse, they reach the limits of one kernel and go
/// beyond, and most of their elements are compared.
fn coverage(profile: &str, reports: &[Report]) -> Option<String> {
    if reports.len() < seeds(profile).count() {
        return None; // a filter left some out
    }
    let count = |which: &dyn Fn(&Report) -> bool| reports.iter().filter(|r| which(r)).count();
    let fused: u64 = reports.iter().map(|r| r.dispatches_fused).sum();
    let single: u64 = reports.iter().map(|r| r.dispatches_one_by_one).sum();
    let compared = reports.iter().map(|r| r.share_compared).sum::<f64>() / reports.len() as f64;
    let large = count(&|r| r.fits && r.n_nodes >= 16);
    let cut_by_nodes = count(&|r| r.n_nodes > 32);
    let cut_by_buffers = count(&|r| !r.fits && r.n_nodes <= 32);
    let summary = format!(
        "{profile}/expression: {fused} dispatches fused, {single} one by one; {large} of 16 nodes or more in one \
         kernel, {cut_by_nodes} beyond 32 nodes, {cut_by_buffers} cut for another reason; {:.1} % of elements compared",
        100.0 * compared
    );
    let rich =
        3 * fused < single && large > 0 && cut_by_nodes > 0 && cut_by_buffers > 0 && compared > 0.9;
    if rich {
        eprintln!("{summary}");
        None
    } else {
        Some(format!("too little is tried: {summary}"))
    }
}

fn trial(profile: &str, check: Check, device: &Device) -> Trial {
    let name = format!("{profile}/{}", check.name());
    if let Some(reason) = check.skipped(device) {
        return support::left_out(&name, &reason);
    }
    let device = device.clone();
    Trial::test(name, move || match check.run(&device) {
        Ok(Outcome::Right) => Ok(()),
        Ok(Outcome::Wrong(detail)) => Err(Failed::from(detail)),
        Ok(Outcome::Skipped(reason)) => Err(Failed::from(format!("not run: {reason}"))),
        Err(error) => Err(Failed::from(error)),
    })
}

fn expression(profile: &str, seed: u64, device: &Device, reports: &Reports) -> Trial {
    let (device, reports) = (device.clone(), reports.clone());
    Trial::test(format!("{profile}/expression/{seed}"), move || {
        let functions: Vec<_> = ops::elementwise::all().collect();
        let report = expressions::check(&device, &functions, seed)?;
        let wrong = report.wrong.clone();
        reports.lock().expect("no trial panics here").push(report);
        wrong.map_or(Ok(()), |wrong| Err(Failed::from(wrong)))
    })
}

/// Kernels in which the upstream gradient of a function is made of its value are found right.
fn gradient(
    profile: &str,
    op: &'static Elementwise,
    dtype: DType,
    device: &Device,
) -> Option<Trial> {
    let takes = |input: &Input| input.differentiable && input.dtypes.contains(&dtype);
    let name = op.signature.name;
    if !op.signature.inputs.iter().any(takes) {
        return None;
    }
    let device = device.clone();
    let name = format!("{profile}/{name}/{}_upstream_of_its_own", dtype.name());
    Some(Trial::test(name, move || {
        let wrong = expressions::check_gradient(&device, op, dtype)?;
        wrong.map_or(Ok(()), |wrong| Err(Failed::from(wrong)))
    }))
}

/// What f16 cannot hold must not spoil its neighbour, which shares a word with it.
fn f16_specials(profile: &str, device: &Device) -> Trial {
    let device = device.clone();
    Trial::test(format!("{profile}/cast/f16_specials"), move || {
        // A device of its own: the other trials, which may run beside this one, count the dispatches of theirs.
        let device = device.recover()?;
        let x = [
            7e4f32,
            1.5,
            f32::NAN,
            2.5,
            -1e30,
            3.5,
            65504.0,
            4.5,
            5.5,
            1e9,
            6.5,
            f32::NAN,
            1e-9,
        ];
        let y = Tensor::from_slice(&device, &x, [x.len()])?.cast(DType::F16)?;
        for (x, y) in x.iter().zip(y.to_vec::<f16>()?) {
            let expected = f16::from_f32(*x);
            if !(y == expected || y.is_nan() && expected.is_nan()) {
                return Err(Failed::from(format!("{x} became {y}, expected {expected}")));
            }
        }
        Ok(())
    })
}
