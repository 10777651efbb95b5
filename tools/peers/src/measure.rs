//! Samples of several engines, taken in turn. Knows no engine.

use std::time::Instant;

use affekt::bench::statistics::Samples;

use crate::Failure;
use crate::runner::Runner;

/// Seconds that a sample takes at least: two hundred times what a submission and a wait for it cost on lavapipe.
const SAMPLE_SECS: f64 = 0.02;
/// Seconds and calls of each engine before the first sample. Burn compiles, tunes and searches what it can fuse at the
/// first calls of a kind.
const WARM_SECS: f64 = 1.0;
const WARM_CALLS: u32 = 12;

/// Samples of which the shortest tells whether it is long enough.
const TRIES: u32 = 5;

/// How often.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Fewest samples of each engine.
    pub min_rounds: usize,
    /// Seconds per piece of work after which no more are taken.
    pub secs: f64,
}

/// What came of measuring one piece of work.
pub struct Taken {
    /// Calls in a sample, the same for every engine.
    pub calls: u32,
    /// Seconds per call, by engine.
    pub samples: Vec<Samples>,
}

/// Seconds of `n` calls and one wait.
fn sample(runner: &mut dyn Runner, n: u32) -> Result<f64, Failure> {
    let begin = Instant::now();
    for _ in 0..n {
        runner.call()?;
    }
    runner.wait()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Warms up, and finds how many calls a sample needs.
fn calls_of(runner: &mut dyn Runner) -> Result<u32, Failure> {
    let begin = Instant::now();
    let mut n_calls = 0;
    while begin.elapsed().as_secs_f64() < WARM_SECS || n_calls < WARM_CALLS {
        sample(runner, 1)?;
        n_calls += 1;
    }
    let mut n = 1;
    loop {
        // The shortest of some: a hiccup must not make samples too short.
        let mut secs = f64::INFINITY;
        for _ in 0..TRIES {
            secs = secs.min(sample(runner, n)?);
        }
        if secs >= SAMPLE_SECS {
            return Ok(n);
        }
        let factor = (1.1 * SAMPLE_SECS / secs.max(1e-6)).clamp(1.1, 8.0);
        n = (f64::from(n) * factor).ceil() as u32;
    }
}

/// Samples of all runners in turn: first, second, first, second, …
pub fn measure(runners: &mut [Box<dyn Runner>], effort: Effort) -> Result<Taken, Failure> {
    let mut calls = 1;
    for runner in runners.iter_mut() {
        calls = calls.max(calls_of(runner.as_mut())?);
    }
    // Once more with the number that all take, which may be new to some.
    for runner in runners.iter_mut() {
        sample(runner.as_mut(), calls)?;
    }
    let mut samples = vec![Samples::default(); runners.len()];
    let begin = Instant::now();
    for round in 0.. {
        if round >= effort.min_rounds && begin.elapsed().as_secs_f64() > effort.secs {
            break;
        }
        for (runner, samples) in runners.iter_mut().zip(&mut samples) {
            samples.push(sample(runner.as_mut(), calls)? / f64::from(calls));
        }
    }
    Ok(Taken { calls, samples })
}
