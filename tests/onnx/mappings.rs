//! What each ONNX operator is in affekt. Adding one is one row of [`ROWS`].

use std::collections::BTreeMap;

use affekt::ops::index::pad::PadMode;
use affekt::ops::op::{Array, Attr, Attrs};
use affekt::ops::{self, probe};
use affekt::signal::{Norm, Stft, Window};
use affekt::{DType, Device, Error, Result, Shape, Tensor};

use super::vectors::{Node, Numbers, Vector};

/// How an ONNX operator is computed.
struct Row {
    onnx: &'static str,
    /// The affekt operators it takes; the row waits until all exist.
    needs: &'static [&'static str],
    /// Attributes that `run` looks at. A node with another one is left out.
    attributes: &'static [&'static str],
    /// Why a node is left out nevertheless.
    unless: fn(&Node, &Vector) -> Option<String>,
    run: fn(&Call) -> Result<Tensor>,
}

const fn row(
    onnx: &'static str,
    needs: &'static [&'static str],
    attributes: &'static [&'static str],
    run: fn(&Call) -> Result<Tensor>,
) -> Row {
    Row {
        onnx,
        needs,
        attributes,
        unless: |_, _| None,
        run,
    }
}

impl Row {
    const fn unless(self, unless: fn(&Node, &Vector) -> Option<String>) -> Self {
        Row { unless, ..self }
    }
}

/// One row per operator. Composed ones stand for what models make of these parts.
const ROWS: &[Row] = &[
    row("Add", &["add"], &["broadcast", "axis"], |c| {
        c.x(0)?.add(&c.aligned(1)?)
    }),
    row("Mul", &["mul"], &["broadcast", "axis"], |c| {
        c.x(0)?.mul(&c.aligned(1)?)
    }),
    row("Sub", &["sub"], &["broadcast", "axis"], |c| {
        c.op("sub", &[&c.x(0)?, &c.aligned(1)?], &[])
    }),
    row("Div", &["div"], &["broadcast", "axis"], |c| {
        c.op("div", &[&c.x(0)?, &c.aligned(1)?], &[])
    }),
    row("Sum", &["add"], &[], |c| {
        (1..c.n_inputs()).try_fold(c.x(0)?, |sum, i| sum.add(&c.x(i)?))
    }),
    row("Mean", &["add", "mul"], &[], |c| {
        let sum = (1..c.n_inputs()).try_fold(c.x(0)?, |sum, i| sum.add(&c.x(i)?))?;
        sum.mul(1.0 / c.n_inputs() as f64)
    }),
    row("Where", &["where"], &[], |c| {
        c.x(0)?.where_(&c.x(1)?, &c.x(2)?)
    }),
    row("Gelu", &["gelu"], &["approximate"], |c| {
        c.op(
            "gelu",
            &[&c.x(0)?],
            &[("approximate", c.node.word("approximate", "none").into())],
        )
    }),
    row("Abs", &["abs"], &[], |c| c.same("abs")),
    row("Acos", &["acos"], &[], |c| c.same("acos")),
    row("Acosh", &["acosh"], &[], |c| c.same("acosh")),
    row("Asin", &["asin"], &[], |c| c.same("asin")),
    row("Asinh", &["asinh"], &[], |c| c.same("asinh")),
    row("Atan", &["atan"], &[], |c| c.same("atan")),
    row("Atanh", &["atanh"], &[], |c| c.same("atanh")),
    row("Ceil", &["ceil"], &[], |c| c.same("ceil")),
    row("Cos", &["cos"], &[], |c| c.same("cos")),
    row("Cosh", &["cosh"], &[], |c| c.same("cosh")),
    row("Erf", &["erf"], &[], |c| c.same("erf")),
    row("Exp", &["exp"], &[], |c| c.same("exp")),
    row("Floor", &["floor"], &[], |c| c.same("floor")),
    row("Log", &["log"], &[], |c| c.same("log")),
    row("Neg", &["neg"], &[], |c| c.same("neg")),
    row("Reciprocal", &["reciprocal"], &[], |c| c.same("reciprocal")),
    row("Relu", &["relu"], &[], |c| c.same("relu")),
    row("Round", &["round"], &[], |c| c.same("round")),
    row("Sigmoid", &["sigmoid"], &[], |c| c.same("sigmoid")),
    row("Sign", &["sign"], &[], |c| c.same("sign")),
    row("Sin", &["sin"], &[], |c| c.same("sin")),
    row("Sinh", &["sinh"], &[], |c| c.same("sinh")),
    row("Softplus", &["softplus"], &[], |c| c.same("softplus")),
    row("Sqrt", &["sqrt"], &[], |c| c.same("sqrt")),
    row("Tan", &["tan"], &[], |c| c.same("tan")),
    row("Tanh", &["tanh"], &[], |c| c.same("tanh")),
    row("ReduceSum", &["sum"], REDUCE, |c| c.reduce("sum", c.x(0)?)),
    row("ReduceSumSquare", &["sum", "mul"], REDUCE, |c| {
        c.reduce("sum", c.x(0)?.mul(&c.x(0)?)?)
    }),
    row("ReduceMean", &["mean"], REDUCE, |c| {
        c.reduce("mean", c.x(0)?)
    }),
    row("ReduceMin", &["min"], REDUCE, |c| c.reduce("min", c.x(0)?)).unless(nothing_to_choose_from),
    row("ReduceMax", &["max"], REDUCE, |c| c.reduce("max", c.x(0)?)).unless(nothing_to_choose_from),
    row("Softmax", &["softmax"], &["axis"], |c| c.rows("softmax")),
    row("LogSoftmax", &["log_softmax"], &["axis"], |c| {
        c.rows("log_softmax")
    }),
    row(
        "LayerNormalization",
        &["layer_norm"],
        &["axis", "epsilon"],
        |c| {
            // How many axes are normalised is told by the shape of the scale.
            c.x(0)?
                .layer_norm(&c.x(1)?, &c.x(2)?, c.node.float("epsilon", 1e-5))
        },
    ),
    row("MatMul", &["matmul"], &[], |c| c.matmul(&c.x(0)?, &c.x(1)?)),
    row(
        "Gemm",
        &["matmul", "mul", "add"],
        &["alpha", "beta", "transA", "transB", "broadcast"],
        gemm,
    ),
    row("Transpose", &["permute"], &["perm"], |c| {
        let x = c.x(0)?;
        let reversed = || (0..x.shape().len() as i64).rev().collect();
        x.permute(&c.node.ints("perm").unwrap_or_else(reversed))
    }),
    row("GatherElements", &["gather"], &["axis"], |c| {
        c.x(0)?.gather(c.node.int("axis", 0), &c.x(1)?)
    }),
    row("Gather", &["gather"], &["axis"], gather_slices),
    row(
        "ScatterElements",
        &["scatter_add", "where"],
        &["axis", "reduction"],
        scatter,
    )
    .unless(|node, _| match node.word("reduction", "none") {
        "none" | "add" => None,
        other => Some(format!("reduction {other} is not in affekt")),
    }),
    row("Scatter", &["scatter_add", "where"], &["axis"], scatter),
    row("Identity", &[], &[], |c| c.x(0)),
    row("Constant", &[], &["value"], |c| {
        match c.node.tensor("value") {
            Some(numbers) => upload(c.device, &numbers),
            None => Err(c.broken("value is no tensor")),
        }
    }),
    row("Reshape", &[], &["allowzero"], reshape),
    row("Flatten", &[], &["axis"], |c| {
        let x = c.x(0)?;
        let (rows, cols) = c.split(&x, 1)?;
        x.reshape([rows, cols])
    }),
    row("Squeeze", &[], &["axes"], |c| {
        let x = c.x(0)?;
        let axes = c.axes(x.shape().len())?;
        let dims = x.shape().iter().enumerate();
        let kept = dims.filter(|(a, n)| match axes.is_empty() {
            true => **n != 1,
            false => !axes.contains(a),
        });
        x.reshape(kept.map(|(_, n)| *n).collect::<Vec<_>>())
    }),
    row("Unsqueeze", &[], &["axes"], |c| {
        let x = c.x(0)?;
        let n = c.axes(0).map_or(0, |axes| axes.len());
        let axes = c.axes(x.shape().len() + n)?;
        let mut rest = x.shape().iter();
        let dims = (0..x.shape().len() + axes.len()).map(|a| match axes.contains(&a) {
            true => 1,
            false => *rest.next().unwrap_or(&1),
        });
        let dims: Vec<usize> = dims.collect();
        x.reshape(dims)
    }),
    row("Expand", &[], &[], |c| {
        let x = c.x(0)?;
        let wanted = Shape::new(&c.ints(1)?.iter().map(|n| *n as usize).collect::<Vec<_>>())?;
        let shape = x.shape().broadcast(&wanted);
        x.expand(shape.ok_or_else(|| c.broken("shapes do not broadcast"))?)
    }),
    row(
        "DFT",
        &["fft", "ifft", "rfft", "irfft"],
        &["axis", "inverse", "onesided"],
        dft,
    ),
    row("STFT", &["stft"], &["onesided"], stft),
    row("HannWindow", &[], &["periodic"], |c| c.window(Window::Hann)),
    row("HammingWindow", &[], &["periodic"], |c| {
        c.window(Window::GeneralHamming(25.0 / 46.0))
    }),
    row("BlackmanWindow", &[], &["periodic"], |c| {
        c.window(Window::Blackman)
    }),
    row("MelWeightMatrix", &["mel"], &[], |c| c.x(0)).unless(|_, _| {
        Some(
            "moves the corners of mel filters to whole bins; affekt's are where they are"
                .to_string(),
        )
    }),
];

/// Complex numbers in the last axis, or real ones where it is 1; along any axis before.
fn dft(c: &Call) -> Result<Tensor> {
    let x = c.x(0)?;
    let rank = x.shape().len() as i64;
    let axis = match c.has(2) {
        true => c.ints(2)?[0],
        // An input since opset 20, where the axis before the complex numbers is the default.
        false => c.node.int("axis", if c.opset >= 20 { -2 } else { 1 }),
    };
    let axis = axis.rem_euclid(rank) as usize;
    let mut order: Vec<i64> = (0..rank).collect();
    order.swap(axis, rank as usize - 2);
    let x = x.permute(&order)?;
    let n = match c.has(1) {
        true => Some(c.ints(1)?[0] as usize),
        false => None,
    };
    let inverse = c.node.int("inverse", 0) == 1;
    let onesided = c.node.int("onesided", 0) == 1;
    let real = x.shape()[rank as usize - 1] == 1;
    let y = match (inverse, onesided) {
        (false, true) => x.squeeze(-1)?.rfft_with(n, Norm::Backward)?,
        (true, true) => {
            let bins = x.shape()[rank as usize - 2];
            x.irfft(n.unwrap_or(2 * (bins - 1)))?.unsqueeze(-1)?
        }
        _ => {
            let mut pads = vec![(0, 0); rank as usize];
            pads[rank as usize - 1].1 = usize::from(real);
            let x = x.pad(&pads, PadMode::Constant(0.0))?;
            match inverse {
                false => x.fft_with(n, Norm::Backward)?,
                true => x.ifft_with(n, Norm::Backward)?,
            }
        }
    };
    y.permute(&order)
}

/// Real signals `[batch, samples, 1]`, neither centred nor continued → `[batch, frames, bins, 2]`.
fn stft(c: &Call) -> Result<Tensor> {
    let x = c.x(0)?.squeeze(-1)?;
    let hop = c.ints(1)?[0] as usize;
    let window = match c.has(2) {
        true => Some(c.x(2)?),
        false => None,
    };
    let n = match (c.has(3), &window) {
        (true, _) => c.ints(3)?[0] as usize,
        (false, Some(window)) => window.numel(),
        (false, None) => return Err(c.broken("no frame length")),
    };
    let options = Stft::new(n)
        .hop(hop)
        .center(false)
        .onesided(c.node.int("onesided", 1) == 1);
    let options = match &window {
        Some(window) => options.window_tensor(window),
        None => options.window(Window::Rectangular),
    };
    x.stft(options)?.permute(&[0, 2, 1, 3])
}

const REDUCE: &[&str] = &["axes", "keepdims", "noop_with_empty_axes"];

fn nothing_to_choose_from(_: &Node, vector: &Vector) -> Option<String> {
    let empty = vector.given.first().is_some_and(|x| x.shape.contains(&0));
    empty.then(|| "the largest or least of no elements is an error in affekt".to_string())
}

fn gemm(c: &Call) -> Result<Tensor> {
    let side = |i: usize, flag: &str| match c.node.int(flag, 0) {
        0 => c.x(i),
        _ => c.x(i)?.permute(&[1, 0]),
    };
    let product = c.matmul(&side(0, "transA")?, &side(1, "transB")?)?;
    let scaled = product.mul(c.node.float("alpha", 1.0))?;
    match c.has(2) {
        false => Ok(scaled),
        true => scaled.add(&c.x(2)?.mul(c.node.float("beta", 1.0))?),
    }
}

/// Whole slices of `x` along an axis, by an index of any shape.
fn gather_slices(c: &Call) -> Result<Tensor> {
    let (x, index) = (c.x(0)?, c.x(1)?);
    let rank = x.shape().len();
    let axis = c.node.int("axis", 0).rem_euclid(rank as i64) as usize;
    let mut front: Vec<i64> = (0..rank as i64).collect();
    let moved = front.remove(axis);
    front.insert(0, moved);
    let rest: Vec<usize> = (0..rank)
        .filter(|a| *a != axis)
        .map(|a| x.shape()[a])
        .collect();
    let width = rest.iter().product();
    let flat = x.permute(&front)?.reshape([x.shape()[axis], width])?;
    let rows = index
        .reshape([index.numel(), 1])?
        .expand([index.numel(), width])?;
    let taken = flat.gather(0, &rows)?;
    let n = index.shape().len();
    let taken = taken.reshape([index.shape(), &rest[..]].concat())?;
    // The axes of the index go where the axis was.
    let order = (n..n + axis).chain(0..n).chain(n + axis..n + rank - 1);
    taken.permute(&order.map(|a| a as i64).collect::<Vec<_>>())
}

/// Without a reduction no element is met twice, so what is added to zeros is what is written.
fn scatter(c: &Call) -> Result<Tensor> {
    let (x, index, src) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let axis = c.node.int("axis", 0);
    if c.node.word("reduction", "none") == "add" {
        return x.scatter_add(axis, &index, &src);
    }
    let zeros = |dtype| Tensor::full(c.device, 0.0f32, x.shape())?.cast(dtype);
    let ones = Tensor::full(c.device, 1u32, index.shape())?;
    let met = zeros(DType::U32)?.scatter_add(axis, &index, &ones)?;
    let written = zeros(x.dtype())?.scatter_add(axis, &index, &src)?;
    met.where_(&written, &x)
}

fn reshape(c: &Call) -> Result<Tensor> {
    let x = c.x(0)?;
    let wanted = c.ints(1)?;
    let copies_zero = c.node.int("allowzero", 0) == 0;
    let mut dims: Vec<usize> = wanted
        .iter()
        .enumerate()
        .map(|(a, n)| match n {
            0 if copies_zero => x.shape()[a],
            -1 => 1,
            n => *n as usize,
        })
        .collect();
    if let Some(open) = wanted.iter().position(|n| *n == -1) {
        dims[open] = x.numel() / dims.iter().product::<usize>();
    }
    x.reshape(dims)
}

/// A node with its values.
struct Call<'a> {
    node: &'a Node,
    opset: i64,
    device: &'a Device,
    values: &'a BTreeMap<String, Tensor>,
    /// Numbers of the graph's inputs, for those that are shapes or axes.
    given: &'a BTreeMap<String, Numbers>,
}

impl Call<'_> {
    fn broken(&self, what: impl Into<String>) -> Error {
        Error::Format {
            file: format!("node {}", self.node.op).into(),
            message: what.into(),
        }
    }

    fn n_inputs(&self) -> usize {
        self.node.inputs.len()
    }

    fn has(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(|name| !name.is_empty())
    }

    /// An input as a tensor.
    fn x(&self, i: usize) -> Result<Tensor> {
        let name = self.node.inputs.get(i).map_or("", String::as_str);
        if let Some(tensor) = self.values.get(name) {
            return Ok(tensor.clone());
        }
        match self.given.get(name) {
            Some(numbers) => upload(self.device, numbers),
            None => Err(self.broken(format!("no input {i}"))),
        }
    }

    /// An input whose numbers are wanted on the host.
    fn ints(&self, i: usize) -> Result<Vec<i64>> {
        let name = self.node.inputs.get(i).map_or("", String::as_str);
        let numbers = self.given.get(name);
        let numbers = numbers.ok_or_else(|| self.broken(format!("input {i} is computed")))?;
        Ok(numbers.data.iter().map(|n| *n as i64).collect())
    }

    /// The second operand of arithmetic. Before opset 7 it may start at an axis of the first.
    fn aligned(&self, i: usize) -> Result<Tensor> {
        let (x, y) = (self.x(0)?, self.x(i)?);
        let axis = self.node.int("axis", -1);
        if self.node.int("broadcast", 0) == 0 || axis < 0 {
            return Ok(y);
        }
        let mut dims = y.shape().to_vec();
        dims.resize(x.shape().len() - axis as usize, 1);
        y.reshape(dims)
    }

    /// An affekt operator by name; inputs beyond those given are left out.
    fn op(&self, name: &str, inputs: &[&Tensor], attrs: &[(&str, Attr)]) -> Result<Tensor> {
        let op = ops::find(name)?;
        let mut inputs: Vec<Option<&Tensor>> = inputs.iter().copied().map(Some).collect();
        inputs.resize(op.signature().inputs.len(), None);
        let attrs = attrs.iter().fold(Attrs::new(), |attrs, (name, value)| {
            attrs.with(name, value.clone())
        });
        Ok(ops::run(op, &inputs, &attrs)?.remove(0))
    }

    /// The operator of one input and no attributes.
    fn same(&self, name: &str) -> Result<Tensor> {
        self.op(name, &[&self.x(0)?], &[])
    }

    /// A window of as many points as the first input says.
    fn window(&self, window: Window) -> Result<Tensor> {
        let periodic = self.node.int("periodic", 1) == 1;
        window.tensor(self.device, self.ints(0)?[0] as usize, periodic)
    }

    /// Axes, given as an attribute or as the second input, counted from the left for a tensor of `rank`.
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = match self.node.ints("axes") {
            Some(axes) => axes,
            None if self.has(1) => self.ints(1)?,
            None => Vec::new(),
        };
        let from_left = |a: i64| (if a < 0 { a + rank as i64 } else { a }) as usize;
        Ok(axes.into_iter().map(from_left).collect())
    }

    fn reduce(&self, name: &str, x: Tensor) -> Result<Tensor> {
        let axes = self.axes(x.shape().len())?;
        if axes.is_empty() && self.node.int("noop_with_empty_axes", 0) == 1 {
            return Ok(x);
        }
        let axes: Vec<i64> = axes.into_iter().map(|a| a as i64).collect();
        let keepdim = self.node.int("keepdims", 1) == 1;
        let attrs = [("axes", Attr::Ints(axes)), ("keepdim", Attr::Bool(keepdim))];
        self.op(name, &[&x], &attrs)
    }

    /// Elements before and from the node's axis on.
    fn split(&self, x: &Tensor, default: i64) -> Result<(usize, usize)> {
        let rank = x.shape().len() as i64;
        let axis = self.node.int("axis", default);
        let axis = if axis < 0 { axis + rank } else { axis } as usize;
        let (rows, cols) = x.shape().split_at(axis);
        Ok((rows.iter().product(), cols.iter().product()))
    }

    /// A normalisation along one axis. Before opset 13 it goes over all axes from there on.
    fn rows(&self, name: &str) -> Result<Tensor> {
        let x = self.x(0)?;
        if self.opset >= 13 {
            let axis = Attr::Int(self.node.int("axis", -1));
            return self.op(name, &[&x], &[("axis", axis)]);
        }
        let (rows, cols) = self.split(&x, 1)?;
        let flat = x.reshape([rows, cols])?;
        self.op(name, &[&flat], &[("axis", Attr::Int(1))])?
            .reshape(x.shape())
    }

    /// A product of matrices; vectors are rows on the left and columns on the right.
    fn matmul(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let row = match a.shape().len() {
            1 => a.reshape([1, a.numel()])?,
            _ => a.clone(),
        };
        let column = match b.shape().len() {
            1 => b.reshape([b.numel(), 1])?,
            _ => b.clone(),
        };
        let product = self.op("matmul", &[&row, &column], &[])?;
        let mut dims = product.shape().to_vec();
        if b.shape().len() == 1 {
            dims.pop();
        }
        if a.shape().len() == 1 {
            let last = dims.len() - usize::from(b.shape().len() > 1);
            dims.remove(last - 1);
        }
        product.reshape(dims)
    }
}

/// As files are read: i64 as i32 where it fits, bool as u32, f64 as f32.
fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float32" | "float64" => DType::F32,
        "float16" => DType::F16,
        "int32" | "int64" => DType::I32,
        "uint32" | "uint64" | "bool" => DType::U32,
        _ => return None,
    })
}

fn upload(device: &Device, numbers: &Numbers) -> Result<Tensor> {
    let broken = |message: String| Error::Format {
        file: "vector".into(),
        message,
    };
    let dtype = dtype(&numbers.dtype).ok_or_else(|| broken(numbers.dtype.clone()))?;
    let fits = |x: &f64| match dtype {
        DType::I32 => *x == f64::from(*x as i32),
        DType::U32 => *x == f64::from(*x as u32),
        _ => true,
    };
    if let Some(x) = numbers.data.iter().find(|x| !fits(x)) {
        return Err(broken(format!("{x} is no {dtype}")));
    }
    let array = Array::new(Shape::new(&numbers.shape)?, numbers.data.clone());
    probe::upload(device, &array, dtype)
}

/// Why a vector is not run; `None` if it is.
pub fn left_out(vector: &Vector) -> Option<String> {
    for node in &vector.nodes {
        let Some(row) = ROWS.iter().find(|row| row.onnx == node.op) else {
            return Some(format!("operator not in affekt yet: {}", node.op));
        };
        if let Some(missing) = row.needs.iter().find(|name| ops::find(name).is_err()) {
            return Some(format!("operator not in affekt yet: {missing}"));
        }
        let known = |name: &str| row.attributes.contains(&name);
        if let Some(name) = node.attributes.keys().find(|name| !known(name)) {
            return Some(format!("attribute {name} of {} is not mapped", node.op));
        }
        if let Some(reason) = (row.unless)(node, vector) {
            return Some(reason);
        }
    }
    let ports = || vector.given.iter().chain(&vector.outputs);
    if let Some(port) = ports().find(|p| dtype(&p.dtype).is_none()) {
        return Some(format!("no tensors of {}", port.dtype));
    }
    let deep = ports().find(|p| p.shape.len() > affekt::MAX_RANK)?;
    Some(format!("{} axes", deep.shape.len()))
}

/// The outputs that were computed, by name: the first of each node. Others (the mean of a normalisation) are not
/// results of affekt's operators.
pub fn evaluate(
    vector: &Vector,
    given: &BTreeMap<String, Numbers>,
    device: &Device,
) -> Result<Vec<(String, Tensor)>> {
    let inputs: BTreeMap<String, Numbers> = given
        .iter()
        .filter(|(name, _)| vector.given.iter().any(|p| p.name == **name))
        .map(|(name, numbers)| (name.clone(), numbers.clone()))
        .collect();
    let mut values = BTreeMap::new();
    for node in &vector.nodes {
        let row = ROWS.iter().find(|row| row.onnx == node.op);
        let call = Call {
            node,
            opset: vector.opset,
            device,
            values: &values,
            given: &inputs,
        };
        let row = row.ok_or_else(|| call.broken("no row"))?;
        let y = (row.run)(&call)?;
        values.insert(node.outputs[0].clone(), y);
    }
    let wanted = vector.outputs.iter().map(|o| o.name.clone());
    Ok(wanted
        .filter_map(|name| Some((name.clone(), values.get(&name)?.clone())))
        .collect())
}
