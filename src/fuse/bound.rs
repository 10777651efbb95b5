//! How far the number that a kernel computes may be from that of the f64 twins. Knows scalar functions, no graphs.
//!
//! A number is known by the value of its twin and a bound of the error: the kernel's lies between value − bound and
//! value + bound. A function takes the box of what its arguments may be to an interval. Where it is monotone in each
//! argument, the ends of that interval belong to corners of the box; where it turns around inside ([`Course`]), they
//! may belong to the turning points as well; where it jumps inside, nothing is promised. The function's own rounding
//! widens the interval. All of this holds for errors of any size, so that nothing needs to be multiplied at the end.

use crate::fuse::function::{Course, Function, Kind};
use crate::tensor::DType;

/// Value of the twin, and a bound of the error; NaN or infinite where nothing is promised.
pub(crate) type Bounded = (f64, f64);

/// Unit roundoff of `f32`, in which every function computes.
pub(super) const U: f64 = 5.960_464_477_539_063e-8;
/// Numbers below it may be flushed to zero: 2⁻¹²⁶, rounded up.
pub(super) const TINY: f64 = 1.2e-38;
/// From here on an overflow is near, which may clamp or not.
const HUGE: f64 = 1e37;
const NOTHING: f64 = f64::NAN;

/// A function of such numbers, as a kernel computes it in `elem`.
pub(crate) fn value(
    function: &Function,
    arguments: &[Bounded],
    params: &[f64],
    elem: DType,
) -> Bounded {
    let mut x: Vec<f64> = arguments.iter().map(|a| a.0).collect();
    let y = (function.twin)(&x, params);
    // A function of something undefined is undefined, even if its twin gets over that.
    if !arguments
        .iter()
        .all(|(x, e)| x.is_finite() && e.is_finite())
    {
        return (y, NOTHING);
    }
    if !elem.is_float() && function.output != Kind::Flag {
        // Beyond 2⁵³ f64 does not hold every integer.
        let exact = y.abs() <= 9_007_199_254_740_992.0;
        return (wrapped(elem, y), if exact { 0.0 } else { NOTHING });
    }
    let spread = spread(function, &mut x, arguments, params, y);
    if function.output == Kind::Flag {
        return (y, spread);
    }
    let largest = arguments.iter().map(|(x, e)| x.abs() + e);
    let size = function.scale(largest, y.abs() + spread);
    // One rounding of a number that f32 holds is none.
    let exact = spread == 0.0 && (function.ulps == 0.0 || function.ulps <= 1.0 && holds(y));
    let error = match exact {
        true if y == 0.0 || y.abs() >= TINY => 0.0,
        true => TINY,
        // What is flushed inside may be multiplied by an argument yet, as in x · sigmoid x.
        false => {
            let factor = arguments
                .iter()
                .fold(1.0, |m: f64, (x, e)| m.max(x.abs() + e));
            spread + function.ulps * U * size + TINY * factor
        }
    };
    (
        y,
        if y.abs() + error < HUGE {
            error
        } else {
            NOTHING
        },
    )
}

/// The largest distance from `y` of the function's values over the box of its arguments.
fn spread(
    function: &Function,
    x: &mut [f64],
    arguments: &[Bounded],
    params: &[f64],
    y: f64,
) -> f64 {
    let here = match function.course {
        Course::Pieces(piece) => piece(x),
        _ => 0.0,
    };
    if here.is_nan() {
        return NOTHING;
    }
    if arguments.iter().all(|a| a.1 == 0.0) {
        return 0.0;
    }
    let places: Vec<Vec<f64>> = arguments
        .iter()
        .map(|&a| places(&function.course, a))
        .collect();
    let mut spread: f64 = 0.0;
    for combination in 0..places.iter().map(Vec::len).product() {
        let mut rest = combination;
        for (x, places) in x.iter_mut().zip(&places) {
            *x = places[rest % places.len()];
            rest /= places.len();
        }
        let moved = ((function.twin)(x, params) - y).abs();
        let jumps = match function.course {
            Course::Steps => moved != 0.0,
            // NaN is no piece.
            Course::Pieces(piece) => piece(x) != here,
            _ => false,
        };
        // NaN: the edge of the domain is near, and the kernel may be beyond it.
        if jumps || moved.is_nan() {
            return NOTHING;
        }
        spread = spread.max(moved);
    }
    spread
}

/// Where the extremes over an argument's interval may lie.
fn places(course: &Course, (x, error): Bounded) -> Vec<f64> {
    if error == 0.0 {
        return vec![x];
    }
    let (low, high) = (x - error, x + error);
    let mut places = vec![low, high];
    match course {
        Course::Turns(at) => places.extend(at.iter().filter(|t| low < **t && **t < high)),
        // Four in a row are one period.
        Course::Waves => {
            let quarter = std::f64::consts::FRAC_PI_2;
            let first = (low / quarter).ceil();
            let turns = (0..4).map(|k| (first + f64::from(k)) * quarter);
            places.extend(turns.filter(|t| *t < high));
        }
        Course::Monotone | Course::Steps | Course::Pieces(_) => {}
    }
    places
}

/// A cast, as it is computed: f16 is stored, not computed in.
pub(crate) fn cast((x, error): Bounded, from: DType, to: DType) -> Bounded {
    if !(x.is_finite() && error.is_finite()) {
        return (x, NOTHING);
    }
    match (from.is_float(), to.is_float()) {
        (true, true) => (x, error),
        // Rounded to nearest or towards zero.
        (false, true) => (x, if holds(x) { 0.0 } else { 2.0 * U * x.abs() }),
        (false, false) => (wrapped(to, x), 0.0),
        (true, false) => {
            let y = x.trunc();
            let one = (x - error).trunc() == y && (x + error).trunc() == y;
            // What becomes of numbers that the integers do not reach is up to the driver.
            (
                y,
                if one && wrapped(to, y) == y {
                    0.0
                } else {
                    NOTHING
                },
            )
        }
    }
}

/// A number after it was stored, or before: kernels keep f16 in f32 until the end.
pub(crate) fn stored(dtype: DType, (y, error): Bounded) -> Bounded {
    if dtype != DType::F16 || error == 0.0 && half::f16::from_f64(y).to_f64() == y {
        return (y, error);
    }
    // Rounded to nearest or towards zero, to fewer bits below 6.1e-5.
    let error = error + 2.0 * dtype.unit_roundoff() * (y.abs() + error) + 6e-8;
    let fits = y.abs() + error < 65_000.0;
    (y, if fits { error } else { NOTHING })
}

/// An integer as its type holds it after overflow.
fn wrapped(dtype: DType, y: f64) -> f64 {
    let turn = 4_294_967_296.0;
    match dtype {
        DType::U32 => y.rem_euclid(turn),
        DType::I32 => (y + turn / 2.0).rem_euclid(turn) - turn / 2.0,
        DType::F32 | DType::F16 => y,
    }
}

fn holds(y: f64) -> bool {
    f64::from(y as f32) == y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::function::wgsl;

    fn function(twin: fn(&[f64], &[f64]) -> f64, course: Course) -> Function {
        let mut function = Function::unary("abs", wgsl!("elementwise/abs"), twin).ulps(0.0);
        function.course = course;
        function
    }

    #[test]
    fn a_box_reaches_what_lies_inside() {
        let at = |f: &Function, x: Bounded| value(f, &[x], &[], DType::F32).1;
        let near = |got: f64, expected: f64| (got - expected).abs() < 1e-12;
        let abs = function(|x, _| x[0].abs(), Course::Turns(&[0.0]));
        assert!(near(at(&abs, (-0.5, 0.25)), 0.25));
        assert!(near(at(&abs, (0.125, 0.25)), 0.25));
        let cos = function(|x, _| x[0].cos(), Course::Waves);
        assert!(near(at(&cos, (0.0, 7.0)), 2.0));
        assert!(near(
            at(&cos, (3.0, 0.25)),
            (3.0f64.cos() - 2.75f64.cos()).abs()
        ));
        let floor = function(|x, _| x[0].floor(), Course::Steps);
        assert_eq!(at(&floor, (1.5, 0.25)), 0.0);
        assert_eq!(at(&floor, (1.0, 0.0)), 0.0);
        assert!(at(&floor, (1.0, 1e-9)).is_nan());
        let reciprocal = function(|x, _| 1.0 / x[0], Course::Pieces(|x| x[0].signum()));
        assert!(near(at(&reciprocal, (1.0, 0.5)), 1.0));
        assert!(at(&reciprocal, (1.0, 1.5)).is_nan());
        let sqrt = function(|x, _| x[0].sqrt(), Course::Monotone);
        assert!(at(&sqrt, (0.25, 0.5)).is_nan());
    }

    #[test]
    fn integers_wrap_and_casts_cut_off() {
        let square = function(|x, _| x[0] * x[0], Course::Monotone);
        let squared = |x: f64, dtype| value(&square, &[(x, 0.0)], &[], dtype);
        assert_eq!(squared(65_536.0, DType::U32), (0.0, 0.0));
        assert_eq!(squared(46_341.0, DType::I32), (-2_147_479_015.0, 0.0));
        assert!(squared(1e8, DType::I32).1.is_nan());
        use DType::{F16, F32, I32, U32};
        assert_eq!(cast((-3.0, 0.0), I32, U32), (4_294_967_293.0, 0.0));
        assert_eq!(cast((-0.5, 0.25), F32, U32).1, 0.0);
        assert!(cast((-1.5, 0.0), F32, U32).1.is_nan());
        assert!(cast((2.0, 1e-9), F32, I32).1.is_nan());
        assert!(cast((4e9, 0.0), F32, I32).1.is_nan());
        assert_eq!(cast((16_777_216.0, 0.0), I32, F32).1, 0.0);
        assert!(cast((16_777_217.0, 0.0), I32, F32).1 > 0.9);
        assert_eq!(stored(F16, (0.5, 0.0)).1, 0.0);
        assert!(stored(F16, (0.1, 0.0)).1 > 9e-5);
        assert!(stored(F16, (65_504.0, 1.0)).1.is_nan());
    }
}
