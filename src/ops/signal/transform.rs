//! Transforms of any length as a sequence of kernels: passes for lengths of small factors, Bluestein's convolution for
//! others, and the step between real samples and half as many complex numbers. Knows no operators' attributes.
//!
//! Every table is made here in f64 and rounded once.

use std::f64::consts::TAU;

use crate::error::{Error, Result};
use crate::gpu::shader::Elem;
use crate::gpu::{Device, Kernel, Source};
use crate::ops::launch;
use crate::ops::signal::constants::{Name, constant};
use crate::ops::signal::fft::FFT;
use crate::ops::signal::fused;
use crate::ops::signal::irfft::IRFFT;
use crate::ops::signal::pass::{self, WORKGROUP};
use crate::ops::signal::rfft::RFFT;
use crate::tape::no_grad;
use crate::tensor::{DType, Shape, Tensor};

/// A complex number on the host.
type Complex = (f64, f64);

/// exp(−2πi k/n), exact to an ulp for every k.
pub(crate) fn root(k: usize, n: usize) -> Complex {
    let (sin, cos) = (TAU * (k % n) as f64 / n as f64).sin_cos();
    (cos, -sin)
}

pub(super) fn multiply(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// The transform of 2ᵏ numbers, on the host.
fn transform_on_host(x: &mut [Complex]) {
    let n = x.len();
    if n <= 1 {
        return;
    }
    let (mut even, mut odd): (Vec<Complex>, Vec<Complex>) =
        x.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
    transform_on_host(&mut even);
    transform_on_host(&mut odd);
    for k in 0..n / 2 {
        let turned = multiply(odd[k], root(k, n));
        x[k] = (even[k].0 + turned.0, even[k].1 + turned.1);
        x[k + n / 2] = (even[k].0 - turned.0, even[k].1 - turned.1);
    }
}

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Table {
    /// exp(−2πi k/n) for k < n.
    Roots(usize),
    /// exp(−πi k²/n) for k < n.
    Chirp(usize),
    /// The transform, of length [`padded_length`] and divided by it, of the conjugated chirp laid around 0.
    ChirpTransform(usize),
    /// One 1 + 0i; for kernels that have nothing to look up.
    One,
    /// The factors of the fused kernel for frames of this many samples.
    Fused(usize),
}

impl Table {
    fn numbers(self) -> Vec<Complex> {
        match self {
            Table::Roots(n) => (0..n).map(|k| root(k, n)).collect(),
            Table::Chirp(n) => (0..n).map(|k| chirp(k, n)).collect(),
            Table::ChirpTransform(n) => {
                let m = padded_length(n);
                let mut b = vec![(0.0, 0.0); m];
                for k in 0..n {
                    let (re, im) = chirp(k, n);
                    b[k] = (re, -im);
                    b[(m - k) % m] = b[k];
                }
                transform_on_host(&mut b);
                b.into_iter()
                    .map(|(re, im)| (re / m as f64, im / m as f64))
                    .collect()
            }
            Table::One => vec![(1.0, 0.0)],
            Table::Fused(n) => fused::factors(n),
        }
    }
}

/// The square is reduced first: its angle is then exact to an ulp.
fn chirp(k: usize, n: usize) -> Complex {
    let square = (k as u128 * k as u128) % (2 * n as u128);
    root(square as usize, 2 * n)
}

/// Length of the convolution that stands for a transform of length `n`.
fn padded_length(n: usize) -> usize {
    (2 * n - 1).next_power_of_two()
}

/// A table on the device, `[.., 2]`. Its numbers are constants, so it is no part of any tape.
pub(super) fn table(device: &Device, table: Table) -> Result<Tensor> {
    constant(device, Name::Table(table), || {
        let numbers: Vec<f32> = table
            .numbers()
            .into_iter()
            .flat_map(|(re, im)| [re as f32, im as f32])
            .collect();
        let shape = [numbers.len() / 2, 2];
        Ok((numbers, shape))
    })
}

/// The same numbers without history, dense, from an offset that is a multiple of `multiple`.
pub(super) fn dense(x: &Tensor, multiple: usize) -> Result<Tensor> {
    no_grad(|| {
        let x = x.detach().contiguous()?;
        match x.layout().offset % multiple {
            0 => Ok(x),
            // Multiplying makes a tensor of its own.
            _ => x.mul(1.0),
        }
    })
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct PassParams {
    x_scale: [f32; 2],
    y_scale: [f32; 2],
    per_row: u32,
    total: u32,
    stride: u32,
    x_offset: u32,
    y_offset: u32,
    factors_offset: u32,
    padding: [u32; 2],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct MultiplyParams {
    x_scale: [f32; 2],
    y_scale: [f32; 2],
    total: u32,
    x_length: u32,
    y_length: u32,
    x_offset: u32,
    y_offset: u32,
    factors_offset: u32,
    padding: [u32; 2],
}

/// Of the kernels `rfft` and `irfft`; `from` and `to` are their input and output.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RealParams {
    total: u32,
    bins: u32,
    z_length: u32,
    packed: u32,
    scale: f32,
    interior: f32,
    from: u32,
    to: u32,
    factors_offset: u32,
    padding: [u32; 3],
}

fn word(n: usize) -> Result<u32> {
    launch::word("fft", n)
}

/// Offset of a tensor of complex numbers, in complex numbers.
fn pairs_offset(tensor: &Tensor) -> Result<u32> {
    word(tensor.layout().offset / 2)
}

pub(super) fn file_kernel(source: Source, entry: &'static str) -> Kernel {
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem: Elem::F32,
    }
}

/// `rows` transforms of `n` numbers, times `scale`: Σ x exp(∓2πi kj/n).
///
/// `x` is dense `[rows · n, 2]` from an even offset.
pub(super) fn transform(
    x: &Tensor,
    rows: usize,
    n: usize,
    inverse: bool,
    scale: f64,
) -> Result<Tensor> {
    let sign = if inverse { -1.0 } else { 1.0 };
    match pass::factors(n) {
        Some(radices) if radices.is_empty() || n == 1 => {
            let one = table(x.device(), Table::One)?;
            let scales = ([1.0, 1.0], [scale as f32, scale as f32]);
            multiplied(x, rows, (1, 1), &one, scales)
        }
        Some(radices) => passes(x, rows, n, &radices, sign, scale),
        None => {
            // (Bluestein 1970) −jk = ((j − k)² − j² − k²) / 2 makes a convolution of the transform.
            let m = padded_length(n);
            let device = x.device();
            let [chirp, b] = [Table::Chirp(n), Table::ChirpTransform(n)];
            let (chirp, b) = (table(device, chirp)?, table(device, b)?);
            let plain = [1.0, 1.0];
            let z = multiplied(x, rows, (n, m), &chirp, ([1.0, sign as f32], plain))?;
            let z = transform(&z, rows, m, false, 1.0)?;
            // The way back is the conjugate of a transform of conjugates.
            let z = multiplied(&z, rows, (m, m), &b, (plain, plain))?;
            let z = transform(&z, rows, m, true, 1.0)?;
            let scale = scale as f32;
            multiplied(
                &z,
                rows,
                (m, n),
                &chirp,
                (plain, [scale, scale * sign as f32]),
            )
        }
    }
}

/// How a transform of `n` numbers runs, in one line.
pub(super) fn plan_line(n: usize) -> String {
    match pass::factors(n) {
        Some(radices) if radices.is_empty() => "one multiplication".to_string(),
        Some(radices) => {
            let words: Vec<String> = radices.iter().map(usize::to_string).collect();
            format!("passes of {}", words.join(" · "))
        }
        None => {
            let m = padded_length(n);
            format!(
                "{n} has a factor beyond 13: a convolution by transforms of {m}, {}",
                plan_line(m)
            )
        }
    }
}

/// The same for `n` real numbers.
pub(super) fn real_plan_line(n: usize) -> String {
    match n.is_multiple_of(2) {
        true => format!("as {} complex numbers, {}", n / 2, plan_line(n / 2)),
        false => format!("as complex numbers, since {n} is odd, {}", plan_line(n)),
    }
}

/// A dense tensor of complex numbers to be written.
fn fresh(device: &Device, rows: usize, n: usize) -> Result<Tensor> {
    Tensor::empty(device, DType::F32, Shape::new(&[rows, n, 2])?)
}

fn passes(
    x: &Tensor,
    rows: usize,
    n: usize,
    radices: &[usize],
    sign: f64,
    scale: f64,
) -> Result<Tensor> {
    let device = x.device();
    let factors = table(device, Table::Roots(n))?;
    let mut held = x.clone();
    let mut stride = 1;
    for (i, &radix) in radices.iter().enumerate() {
        let last = i + 1 == radices.len();
        let kernel = pass::kernel(radix, last);
        launch::choose(&FFT, device, Elem::F32, &[(kernel.entry, radix as u32)])?;
        let y = fresh(device, rows, n)?;
        let params = PassParams {
            x_scale: [1.0, if i == 0 { sign as f32 } else { 1.0 }],
            y_scale: match last {
                true => [scale as f32, (scale * sign) as f32],
                false => [1.0; 2],
            },
            per_row: word(n / radix)?,
            total: word(rows * (n / radix))?,
            stride: word(stride)?,
            x_offset: pairs_offset(&held)?,
            y_offset: pairs_offset(&y)?,
            factors_offset: pairs_offset(&factors)?,
            padding: [0; 2],
        };
        let groups = ((rows * (n / radix)) as u64).div_ceil(WORKGROUP);
        launch::dispatch(device, &kernel, &[&held, &factors], &[&y], &params, groups)?;
        held = y;
        stride *= radix;
    }
    Ok(held)
}

/// `x [rows, lengths.0]` times a table along each row, cut or filled up with zeros to `lengths.1`.
fn multiplied(
    x: &Tensor,
    rows: usize,
    lengths: (usize, usize),
    factors: &Tensor,
    (x_scale, y_scale): ([f32; 2], [f32; 2]),
) -> Result<Tensor> {
    let device = x.device();
    let y = fresh(device, rows, lengths.1)?;
    launch::choose(&FFT, device, Elem::F32, &[("fft_multiply", 0)])?;
    let params = MultiplyParams {
        x_scale,
        y_scale,
        total: word(rows * lengths.1)?,
        x_length: word(lengths.0)?,
        y_length: word(lengths.1)?,
        x_offset: pairs_offset(x)?,
        y_offset: pairs_offset(&y)?,
        factors_offset: pairs_offset(factors)?,
        padding: [0; 2],
    };
    let groups = ((rows * lengths.1) as u64).div_ceil(WORKGROUP);
    let kernel = multiply_kernel();
    launch::dispatch(device, &kernel, &[x, factors], &[&y], &params, groups)?;
    Ok(y)
}

pub(super) fn multiply_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/fft_multiply",
            include_str!("../../../shaders/signal/fft_multiply.wgsl"),
        ),
        "fft_multiply",
    )
}

/// Bins 0 to n/2 of the transforms of `rows` real rows, times `scale`; those with a mirror image also times `interior`.
///
/// `x` is dense `[rows · n]` from an even offset. → `[rows, n/2 + 1, 2]`
pub(super) fn transform_real(
    x: &Tensor,
    rows: usize,
    n: usize,
    scale: f64,
    interior: f64,
) -> Result<Tensor> {
    let device = x.device();
    let (packed, bins) = (n.is_multiple_of(2), n / 2 + 1);
    let (z, z_length) = if packed {
        (transform(x, rows, n / 2, false, 1.0)?, n / 2)
    } else {
        let complex = no_grad(|| {
            x.detach().reshape([rows * n, 1])?.pad(
                &[(0, 0), (0, 1)],
                crate::ops::index::pad::PadMode::Constant(0.0),
            )
        })?;
        let complex = dense(&complex, 2)?;
        (transform(&complex, rows, n, false, 1.0)?, n)
    };
    let factors = table(device, Table::Roots(n))?;
    let y = fresh(device, rows, bins)?;
    launch::choose(&RFFT, device, Elem::F32, &[("rfft", 0)])?;
    let params = RealParams {
        total: word(rows * bins)?,
        bins: word(bins)?,
        z_length: word(z_length)?,
        packed: u32::from(packed),
        scale: scale as f32,
        interior: (scale * interior) as f32,
        from: pairs_offset(&z)?,
        to: pairs_offset(&y)?,
        factors_offset: pairs_offset(&factors)?,
        padding: [0; 3],
    };
    let groups = ((rows * bins) as u64).div_ceil(WORKGROUP);
    launch::dispatch(
        device,
        &rfft_kernel(),
        &[&z, &factors],
        &[&y],
        &params,
        groups,
    )?;
    Ok(y)
}

pub(super) fn rfft_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/rfft",
            include_str!("../../../shaders/signal/rfft.wgsl"),
        ),
        "rfft",
    )
}

/// Σ x̃[k] exp(2πi kj/n) over all n bins, times `scale`, where x̃ has the bins of `x`, those with a mirror image times
/// `interior`, and the mirror images.
///
/// `x` is dense `[rows · (n/2 + 1), 2]` from an even offset. → `[rows, n]`
pub(super) fn inverse_real(
    x: &Tensor,
    rows: usize,
    n: usize,
    scale: f64,
    interior: f64,
) -> Result<Tensor> {
    let device = x.device();
    let (packed, bins) = (n.is_multiple_of(2), n / 2 + 1);
    let z_length = if packed { n / 2 } else { n };
    let factors = table(device, Table::Roots(n))?;
    let z = fresh(device, rows, z_length)?;
    launch::choose(&IRFFT, device, Elem::F32, &[("irfft", 0)])?;
    // Half as many bins are summed where samples come in pairs.
    let scale = if packed { 2.0 * scale } else { scale };
    let params = RealParams {
        total: word(rows * z_length)?,
        bins: word(bins)?,
        z_length: word(z_length)?,
        packed: u32::from(packed),
        scale: scale as f32,
        interior: (scale * interior) as f32,
        from: pairs_offset(x)?,
        to: pairs_offset(&z)?,
        factors_offset: pairs_offset(&factors)?,
        padding: [0; 3],
    };
    let groups = ((rows * z_length) as u64).div_ceil(WORKGROUP);
    launch::dispatch(
        device,
        &irfft_kernel(),
        &[x, &factors],
        &[&z],
        &params,
        groups,
    )?;
    let y = transform(&z, rows, z_length, true, 1.0)?;
    no_grad(|| match packed {
        true => y.reshape([rows, n]),
        false => y.narrow(2, 0, 1)?.reshape([rows, n]),
    })
}

pub(super) fn irfft_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/irfft",
            include_str!("../../../shaders/signal/irfft.wgsl"),
        ),
        "irfft",
    )
}

/// Refuses what is not complex numbers in the last axis; gives the axis that is transformed and its length.
pub(super) fn complex_axis(op: &'static str, shape: &Shape) -> Result<usize> {
    if shape.len() < 2 || shape[shape.len() - 1] != 2 {
        return Err(Error::shape(
            op,
            format!("x has shape {shape:?}, expected [.., n, 2], complex numbers in the last axis"),
        ));
    }
    Ok(shape.len() - 2)
}
