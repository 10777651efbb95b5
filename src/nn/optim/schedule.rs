//! How the learning rate changes over a run: pure functions of the step.

use std::f64::consts::PI;

/// The learning rate of a step as a factor of the base rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Schedule {
    #[default]
    Constant,
    /// Times `gamma` after every `every` steps.
    Step { every: u64, gamma: f64 },
    /// Up from 0 over `warm_up` steps, then down a half cosine from 1 to `floor` at step `total`.
    Cosine {
        total: u64,
        warm_up: u64,
        floor: f64,
    },
    /// torch.optim.lr_scheduler.OneCycleLR: up a half cosine from 1/25 to 1 over the `warm_up` share of `total` steps, then
    /// down another to 4e-6.
    ///
    /// Source: Smith & Topin 2017, arXiv:1708.07120; factors 25 and 1e4 as PyTorch's defaults.
    OneCycle { total: u64, warm_up: f64 },
}

impl Schedule {
    /// The factor at a step, counted from 0. Beyond the end it stays what it was there.
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, gamma } => gamma.powf((step / every.max(1)) as f64),
            Schedule::Cosine {
                total,
                warm_up,
                floor,
            } => {
                if step < warm_up {
                    return (step + 1) as f64 / warm_up as f64;
                }
                let done = (step - warm_up) as f64 / total.saturating_sub(warm_up).max(1) as f64;
                cosine(1.0, floor, done)
            }
            Schedule::OneCycle { total, warm_up } => {
                let (start, end) = (1.0 / 25.0, 1.0 / 25.0 / 1e4);
                // PyTorch's phases end one step early, so that the last step is the lowest.
                let top = warm_up * total as f64 - 1.0;
                let last = total as f64 - 1.0;
                let step = step as f64;
                if step <= top {
                    cosine(start, 1.0, step / top.max(f64::MIN_POSITIVE))
                } else {
                    cosine(1.0, end, (step - top) / (last - top).max(f64::MIN_POSITIVE))
                }
            }
        }
    }
}

/// Half a cosine from one number to another as `done` goes from 0 to 1.
fn cosine(from: f64, to: f64, done: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * done.clamp(0.0, 1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn one_cycle_passes_the_points_of_pytorch() {
        // torch 2.3: OneCycleLR(max_lr=1, total_steps=100, pct_start=0.1) begins at 0.04, is 1 at step 9, ends at 4e-6.
        let schedule = Schedule::OneCycle {
            total: 100,
            warm_up: 0.1,
        };
        close(schedule.factor(0), 0.04);
        close(schedule.factor(9), 1.0);
        close(schedule.factor(54), 0.5 * (1.0 + 4e-6));
        close(schedule.factor(99), 4e-6);
        close(schedule.factor(1000), 4e-6);
    }

    #[test]
    fn cosine_warms_up_and_reaches_its_floor() {
        let schedule = Schedule::Cosine {
            total: 110,
            warm_up: 10,
            floor: 0.1,
        };
        close(schedule.factor(0), 0.1);
        close(schedule.factor(9), 1.0);
        close(schedule.factor(60), 0.55);
        close(schedule.factor(110), 0.1);
    }

    #[test]
    fn steps_multiply() {
        let schedule = Schedule::Step {
            every: 3,
            gamma: 0.5,
        };
        let factors: Vec<f64> = (0..7).map(|s| schedule.factor(s)).collect();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
        close(Schedule::Constant.factor(7), 1.0);
    }

    #[test]
    fn short_runs_stay_finite() {
        for total in 0..4 {
            for step in 0..6 {
                for schedule in [
                    Schedule::OneCycle {
                        total,
                        warm_up: 0.1,
                    },
                    Schedule::OneCycle {
                        total,
                        warm_up: 0.5,
                    },
                    Schedule::Cosine {
                        total,
                        warm_up: 0,
                        floor: 0.0,
                    },
                    Schedule::Step {
                        every: total,
                        gamma: 0.1,
                    },
                ] {
                    let factor = schedule.factor(step);
                    assert!(
                        (0.0..=1.0).contains(&factor),
                        "{schedule:?} {step} {factor}"
                    );
                }
            }
        }
    }
}
