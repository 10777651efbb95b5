//! Running an operator on a case and comparing with its twin: what first use and conformance have in common.

use crate::error::Result;
use crate::gpu::Device;
use crate::gpu::shader::Elem;
use crate::ops::op::{Array, Attrs, Case, Domain, Entry, Op, Role, Spec};
use crate::tensor::{DType, Tensor};
use crate::verdict::{Mismatch, Tolerance, compare};

/// A stream of numbers for made-up inputs: SplitMix64.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Numbers(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// Made-up numbers, exactly those that the dtype can hold.
pub fn made_up(spec: &Spec, numbers: &mut Numbers) -> Array {
    let n = spec.shape.numel();
    let mut data: Vec<f64> = match spec.domain {
        Domain::Uniform(low, high) => (0..n)
            .map(|_| low + (high - low) * numbers.unit())
            .collect(),
        Domain::Offset(middle, spread) => (0..n)
            .map(|_| middle + spread * (2.0 * numbers.unit() - 1.0))
            .collect(),
        Domain::Index(below) => (0..n).map(|_| numbers.below(below) as f64).collect(),
        Domain::Integers(low, high) => (0..n)
            .map(|_| (low + numbers.below((high - low + 1) as usize) as i64) as f64)
            .collect(),
        Domain::Constant(c) => vec![c; n],
        Domain::Distinct => {
            let mut order: Vec<usize> = (0..n).collect();
            for i in (1..n).rev() {
                order.swap(i, numbers.below(i + 1));
            }
            order
                .into_iter()
                .map(|k| 4.0 * (k as f64 + 0.5) / n as f64 - 2.0)
                .collect()
        }
    };
    for x in &mut data {
        *x = match spec.dtype {
            DType::F32 => f64::from(*x as f32),
            DType::F16 => half::f16::from_f64(*x).to_f64(),
            DType::I32 | DType::U32 => x.trunc(),
        };
    }
    if let (true, Some(&n)) = (spec.stretched, spec.shape.last()) {
        data.chunks_mut(n.max(1))
            .for_each(|line| line.fill(line[0]));
    }
    Array::new(spec.shape, data)
}

/// Copies an array to the device as `dtype`.
pub fn upload(device: &Device, array: &Array, dtype: DType) -> Result<Tensor> {
    match dtype {
        DType::F32 => {
            let data: Vec<f32> = array.data.iter().map(|x| *x as f32).collect();
            Tensor::from_slice(device, &data, array.shape)
        }
        DType::F16 => {
            let data: Vec<half::f16> = array.data.iter().map(|x| half::f16::from_f64(*x)).collect();
            Tensor::from_slice(device, &data, array.shape)
        }
        DType::I32 => {
            let data: Vec<i32> = array.data.iter().map(|x| *x as i32).collect();
            Tensor::from_slice(device, &data, array.shape)
        }
        DType::U32 => {
            let data: Vec<u32> = array.data.iter().map(|x| *x as u32).collect();
            Tensor::from_slice(device, &data, array.shape)
        }
    }
}

/// Copies the numbers of an input to the device, laid out as its spec says; gaps hold NaN, or 77.
pub fn place(device: &Device, spec: &Spec, array: &Array) -> Result<Tensor> {
    if spec.stretched {
        let axis = spec.shape.len() - 1;
        let n = spec.shape[axis].max(1);
        let firsts = array.data.iter().step_by(n).copied().collect();
        let firsts = Array::new(spec.shape.with(axis, 1), firsts);
        return upload(device, &firsts, spec.dtype)?.expand(spec.shape);
    }
    if spec.frame == (0, 0) {
        return upload(device, array, spec.dtype);
    }
    let mut layout = spec.layout();
    let axis = spec.shape.len() - 1;
    let wide = spec
        .shape
        .with(axis, spec.frame.0 + spec.shape[axis] + spec.frame.1);
    let unused = if spec.dtype.is_float() {
        f64::NAN
    } else {
        77.0
    };
    let mut data = vec![unused; wide.numel()];
    for (place, x) in layout.indices().zip(&array.data) {
        data[place] = *x;
    }
    let all = upload(device, &Array::new(wide, data), spec.dtype)?;
    layout.offset += all.layout().offset;
    Ok(all.view(layout))
}

/// Reads a tensor of any dtype.
pub fn download(tensor: &Tensor) -> Result<Array> {
    let data = match tensor.dtype() {
        DType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F16 => tensor
            .to_vec::<half::f16>()?
            .into_iter()
            .map(half::f16::to_f64)
            .collect(),
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => tensor.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
    };
    Ok(Array::new(*tensor.shape(), data))
}

/// The inputs of a case as arrays.
pub fn inputs_of(case: &Case, seed: u64) -> Vec<Option<Array>> {
    let mut numbers = Numbers::new(seed);
    case.inputs
        .iter()
        .map(|spec| spec.as_ref().map(|s| made_up(s, &mut numbers)))
        .collect()
}

pub(crate) fn views(arrays: &[Option<Array>]) -> Vec<Option<&Array>> {
    arrays.iter().map(Option::as_ref).collect()
}

/// Compares results with the twin's, allowing for what storing them in their dtype rounds off.
pub fn compare_outputs(
    got: &[Tensor],
    expected: &[Array],
    tolerance: Tolerance,
) -> Result<std::result::Result<(), (usize, Mismatch)>> {
    for (k, (tensor, expected)) in got.iter().zip(expected).enumerate() {
        let tolerance = tolerance.stored(tensor.dtype().unit_roundoff());
        let mut got = download(tensor)?;
        let mut expected = expected.clone();
        let largest = match tensor.dtype() {
            DType::F32 => f64::from(f32::MAX),
            DType::F16 => 65_504.0,
            DType::I32 | DType::U32 => f64::INFINITY,
        };
        // Integers wrap around.
        for x in &mut expected.data {
            *x = match tensor.dtype() {
                DType::U32 => x.rem_euclid(4_294_967_296.0),
                DType::I32 => (*x + 2_147_483_648.0).rem_euclid(4_294_967_296.0) - 2_147_483_648.0,
                DType::F32 | DType::F16 => *x,
            };
        }
        // What the dtype cannot hold becomes infinite, or its largest number where the driver rounds towards zero.
        for (got, expected) in got.data.iter_mut().zip(&mut expected.data) {
            if expected.abs() > largest && got.abs() >= largest {
                *got = f64::INFINITY.copysign(*got);
                *expected = f64::INFINITY.copysign(*expected);
            }
        }
        let exact = !tensor.dtype().is_float();
        let bound = |i: usize| {
            if exact {
                0.0
            } else {
                tolerance.absolute + tolerance.relative * expected.data[i].abs()
            }
        };
        if let Err(mismatch) = compare(&got.data, &expected.data, bound) {
            return Ok(Err((k, mismatch)));
        }
    }
    Ok(Ok(()))
}

/// The derivative of Σ dyₖ·twin(x)ₖ along `direction` of one input, by central differences in f64.
fn directional(
    op: &dyn Op,
    inputs: &[Option<Array>],
    attrs: &Attrs,
    input: usize,
    direction: &[f64],
    dys: &[Array],
) -> f64 {
    // Central differences err by h² f‴/6 and by 1e-16 |f| / h; this balances them for numbers of size 1.
    let h = 3e-5;
    let at = |sign: f64| -> f64 {
        let mut moved = inputs.to_vec();
        let x = moved[input].as_mut().expect("the input is present");
        for (x, u) in x.data.iter_mut().zip(direction) {
            *x += sign * h * u;
        }
        let outputs = op.twin(&views(&moved), attrs);
        outputs
            .iter()
            .zip(dys)
            .map(|(y, dy)| y.data.iter().zip(&dy.data).map(|(a, b)| a * b).sum::<f64>())
            .sum()
    };
    (at(1.0) - at(-1.0)) / (2.0 * h)
}

/// Puts numbers on a device in some layout; may change them, where the layout repeats elements.
pub type Place<'a> = dyn Fn(&Device, &mut Array, DType) -> Result<Tensor> + 'a;

/// Checks gradients of the first output against numeric ones, in three random directions per differentiable input.
///
/// `inputs` are the numbers, `tensors` the same as tensors (perhaps strided) without history; `place_dy` uploads the
/// upstream gradient.
pub fn check_gradients(
    op: &'static dyn Op,
    device: &Device,
    inputs: &[Option<Array>],
    tensors: &[Option<Tensor>],
    attrs: &Attrs,
    seed: u64,
    place_dy: &Place<'_>,
) -> Result<std::result::Result<(), String>> {
    let signature = op.signature();
    let leaves: Vec<Option<Tensor>> = tensors
        .iter()
        .zip(signature.inputs)
        .map(|(t, input)| match t {
            Some(t) if input.differentiable && t.dtype().is_float() => t.requires_grad().map(Some),
            other => Ok(other.clone()),
        })
        .collect::<Result<_>>()?;
    let references: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
    let outputs = op.run(&references, attrs)?;
    let output = &outputs[0];
    if !output.has_grad() {
        let differentiable = leaves.iter().flatten().any(Tensor::has_grad);
        return Ok(if differentiable {
            Err("the output of differentiable inputs has no gradient".to_string())
        } else {
            Ok(())
        });
    }
    let mut numbers = Numbers::new(seed ^ 0x5eed);
    let spec = Spec {
        shape: *output.shape(),
        dtype: output.dtype(),
        domain: Domain::Uniform(-1.0, 1.0),
        frame: (0, 0),
        stretched: false,
    };
    let mut dy = made_up(&spec, &mut numbers);
    let upstream = place_dy(device, &mut dy, output.dtype())?;
    let gradients = output.backward_from(&upstream)?;
    // Outputs after the first have no gradient.
    let mut dys: Vec<Array> = op
        .twin(&views(inputs), attrs)
        .iter()
        .map(|y| Array::zeros(y.shape))
        .collect();
    dys[0] = dy;
    let tolerance = op.tolerance(&views(inputs), attrs);
    for (i, leaf) in leaves.iter().enumerate() {
        let Some(leaf) = leaf.as_ref().filter(|l| l.has_grad()) else {
            continue;
        };
        let name = signature.inputs[i].name;
        let dx = match gradients.get(leaf) {
            Some(dx) => download(dx)?,
            None => return Ok(Err(format!("{name} has no gradient"))),
        };
        if dx.shape != *leaf.shape() {
            return Ok(Err(format!(
                "d{name} has shape {:?}, expected {:?}",
                dx.shape,
                leaf.shape()
            )));
        }
        for direction in 0..3 {
            let u: Vec<f64> = (0..dx.data.len())
                .map(|_| 2.0 * numbers.unit() - 1.0)
                .collect();
            let analytic: f64 = dx.data.iter().zip(&u).map(|(g, u)| g * u).sum();
            let numeric = directional(op, inputs, attrs, i, &u, &dys);
            let scale: f64 = dx.data.iter().zip(&u).map(|(g, u)| (g * u).abs()).sum();
            // Roundings of the kernel, and 1e-6 for the differences.
            let bound = (8.0 * tolerance.relative + 2.0 * leaf.dtype().unit_roundoff() + 1e-6)
                * scale.max(1e-3)
                + 8.0 * tolerance.absolute * (u.len() as f64).sqrt().min(8.0);
            if !((analytic - numeric).abs() <= bound) {
                return Ok(Err(format!(
                    "d{name} along direction {direction} is {analytic:e}, expected {numeric:e} within {bound:.1e}"
                )));
            }
        }
    }
    Ok(Ok(()))
}

/// Tries one entry point on its verification case. `None` if it is right.
pub(crate) fn run(
    op: &'static dyn Op,
    entry: &Entry,
    elem: Elem,
    device: &Device,
) -> Result<Option<String>> {
    let mut case = op.verify_case(entry);
    if elem == Elem::F16 {
        for spec in case.inputs.iter_mut().flatten() {
            if spec.dtype == DType::F32 {
                spec.dtype = DType::F16;
            }
        }
    }
    let attrs = case.attrs.complete(op.signature())?;
    let inputs = inputs_of(&case, 7);
    let tensors = case
        .inputs
        .iter()
        .zip(&inputs)
        .map(|(spec, array)| match (spec, array) {
            (Some(spec), Some(array)) => place(device, spec, array).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<Vec<_>>>()?;
    match entry.role {
        Role::Forward => {
            let references: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
            let got = op.run(&references, &attrs)?;
            let expected = op.twin(&views(&inputs), &attrs);
            let tolerance = op.tolerance(&views(&inputs), &attrs);
            let compared = compare_outputs(&got, &expected, tolerance)?;
            Ok(compared
                .err()
                .map(|(k, mismatch)| format!("{}: {mismatch}", op.signature().outputs[k])))
        }
        // A vjp kernel meets its first use inside a backward walk, which does not record.
        Role::Vjp => crate::tape::with_grad(|| {
            let dense: &Place<'_> = &|device, dy, dtype| upload(device, dy, dtype);
            Ok(check_gradients(op, device, &inputs, &tensors, &attrs, 7, dense)?.err())
        }),
    }
}
