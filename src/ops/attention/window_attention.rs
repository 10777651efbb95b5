//! y   = softmax(scale · q kᵀ + bias + mask) v among the tokens of each window of the cyclically shifted grid, per head
//! vjp: with P the softmax, δ = Σ dy · y and dS = P ∘ (dy vᵀ − δ):
//!      dq = scale · dS k, dk = scale · dSᵀ q, dv = Pᵀ dy, dbias[d] = Σ dS over the pairs of tokens d apart
//! source: Liu et al. 2021, arXiv:2103.14030, section 3.2; the softmax in one pass and its gradient from the saved
//!         log-sum-exp after Dao et al. 2022, arXiv:2205.14135

use crate::error::{Error, Result};
use crate::fuse::{cast, contiguous};
use crate::gpu::Caps;
use crate::ops::attention::window_attention_call::{Call, Choice};
use crate::ops::attention::window_attention_gen::{BlockConstants, Pass};
use crate::ops::attention::window_attention_plan::{self as planner, Grid};
use crate::ops::launch::{self, MOST_STEPS};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, FLOATS, Input, Meta, Op,
    Signature, same_dtype,
};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

/// How a grid of tokens is cut into windows, and what attention among their tokens looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowAttention {
    pub heads: usize,
    /// Height and width in tokens.
    pub window: [usize; 2],
    /// The grid is rolled by −shift before it is cut, and back afterwards.
    pub shift: [usize; 2],
    /// Factor of q·k; `None` is 1/√head_dim.
    pub scale: Option<f64>,
    /// Whether tokens that the roll brought together attend only those from their own side of the grid.
    pub mask: bool,
}

impl Default for WindowAttention {
    /// One head, windows of 8 × 8, no shift, the usual scale, masked.
    fn default() -> Self {
        WindowAttention {
            heads: 1,
            window: [8, 8],
            shift: [0, 0],
            scale: None,
            mask: true,
        }
    }
}

impl Tensor {
    /// Attention among the tokens of each window of a grid, as in the Swin transformer, without copies of the grid.
    ///
    /// Shapes: `self [batch, height, width, 3·channels]` holds q, then k, then v, in each of which head n owns the
    /// columns from n·head_dim; `bias_table [(2·wh − 1)(2·ww − 1), heads]` → `[batch, height, width, channels]`, each
    /// token where it was. The bias of query (p, q) and key (p', q') is in row (p − p' + wh − 1)(2·ww − 1) + q − q' +
    /// ww − 1.
    /// Edges: a window longer than the grid along an axis counts as one as long, the shift along that axis then as 0,
    /// and the table belongs to that smaller window. Masked pairs have weight exactly 0 where other code adds −100: what
    /// happens on the other side of the seam does not reach a token at all. Scores are f32 and must stay below 1e38.
    /// f16 is stored; the arithmetic is f32.
    /// Errors: [`Error::Shape`] if the window does not divide the grid, the channels are not three times a multiple of
    /// the heads, or the table has another shape; [`Error::Attribute`] for no heads, a window of 0, a shift as long as
    /// the window, or a scale that is not finite; [`Error::Limit`] for windows of far more than 1,024 tokens; [`Error::Rank`], [`Error::Dtype`]; [`Error::Empty`] for a grid without
    /// tokens or channels.
    /// Source: Liu et al. 2021, arXiv:2103.14030.
    pub fn window_attention(
        &self,
        bias_table: Option<&Tensor>,
        options: WindowAttention,
    ) -> Result<Tensor> {
        let grid = check(Meta::of(self), bias_table.map(Meta::of), &options)?;
        let device = self.device();
        // Kernels that read f16 read all of it as f16.
        let qkv = contiguous(&launch::storage(device, self)?)?;
        let bias = bias_table
            .map(|t| contiguous(&launch::storage(device, t)?))
            .transpose()?;
        let call = Call {
            grid,
            cut: cut(&grid, options.mask),
            scale: options
                .scale
                .unwrap_or(1.0 / (grid.head_dim() as f64).sqrt()) as f32,
            qkv,
            bias,
        };
        let (y, lse) = call.forward()?;
        let out = back(y.clone(), self.dtype())?;
        let mut present = vec![self];
        present.extend(bias_table);
        let dtypes = (self.dtype(), bias_table.map(Tensor::dtype));
        Ok(tape::record(
            "window_attention",
            &present,
            out,
            move |dy, sink| {
                let dy = contiguous(&launch::storage(dy.device(), dy)?)?;
                let wants_bias = call.bias.is_some() && sink.wants(1);
                let (dqkv, dbias) = call.backward(&y, &dy, &lse, wants_bias)?;
                sink.give(0, back(dqkv, dtypes.0)?)?;
                match (dbias, dtypes.1) {
                    (Some(dbias), Some(dtype)) => sink.give(1, back(dbias, dtype)?),
                    _ => Ok(()),
                }
            },
        ))
    }
}

fn back(tensor: Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() == dtype {
        Ok(tensor)
    } else {
        cast(&tensor, dtype)
    }
}

/// First row and column of the rolled grid that came around an edge; beyond the grid if nothing did.
fn cut(grid: &Grid, mask: bool) -> [usize; 2] {
    let seam = |n: usize, shift: usize| if mask { n - shift } else { n };
    [
        seam(grid.height, grid.shift[0]),
        seam(grid.width, grid.shift[1]),
    ]
}

/// The grid of a call; every refusal.
fn check(qkv: Meta, bias: Option<Meta>, options: &WindowAttention) -> Result<Grid> {
    let op = "window_attention";
    let shape = qkv.shape;
    let &[batch, height, width, packed] = &shape[..] else {
        return Err(Error::rank(
            op,
            format!("qkv has shape {shape:?}, expected [batch, height, width, 3·channels]"),
        ));
    };
    let WindowAttention { heads, shift, .. } = *options;
    if heads == 0 || options.window.contains(&0) {
        return Err(Error::attribute(
            op,
            format!(
                "heads {heads} and window {:?}, expected at least 1",
                options.window
            ),
        ));
    }
    if height == 0 || width == 0 || packed == 0 {
        return Err(Error::Empty {
            op,
            message: format!("qkv {shape:?} has no tokens or no channels"),
        });
    }
    if packed % (3 * heads) != 0 {
        return Err(Error::shape(
            op,
            format!("the last axis of qkv {shape:?} is no multiple of 3 · {heads} heads"),
        ));
    }
    let mut grid = Grid {
        batch,
        height,
        width,
        channels: packed / 3,
        heads,
        window: options.window,
        shift,
    };
    for (axis, n) in [height, width].into_iter().enumerate() {
        if grid.shift[axis] >= grid.window[axis] {
            return Err(Error::attribute(
                op,
                format!(
                    "shift {shift:?}, expected less than window {:?}",
                    options.window
                ),
            ));
        }
        if grid.window[axis] >= n {
            grid.window[axis] = n;
            grid.shift[axis] = 0;
        }
        if n % grid.window[axis] != 0 {
            return Err(Error::shape(
                op,
                format!(
                    "window {:?} does not divide the grid {height} × {width} of qkv {shape:?}; pad it",
                    options.window
                ),
            ));
        }
    }
    // Two walks of the naive kernel.
    if 2 * grid.naive_steps() > MOST_STEPS {
        return Err(Error::Limit {
            what: "window_attention: tokens of a window × (2 + head_dim / 8)",
            requested: grid.naive_steps() as u64,
            limit: MOST_STEPS as u64 / 2,
        });
    }
    if let Some(bias) = bias {
        same_dtype(op, ("qkv", qkv.dtype), ("bias_table", bias.dtype))?;
        if bias.shape[..] != [grid.n_biases(), heads] {
            return Err(Error::shape(
                op,
                format!(
                    "bias_table has shape {:?}, expected [{}, {heads}], for windows of {:?} in qkv {shape:?}",
                    bias.shape,
                    grid.n_biases(),
                    grid.window
                ),
            ));
        }
    }
    if options.scale.is_some_and(|scale| !scale.is_finite()) {
        return Err(Error::attribute(op, "scale is not finite"));
    }
    Ok(grid)
}

/// The options that the attributes stand for.
fn options(attrs: &Attrs) -> Result<WindowAttention> {
    let whole = |name: &str, n: i64| {
        usize::try_from(n).map_err(|_| {
            Error::attribute(
                "window_attention",
                format!("{name} is {n}, expected at least 0"),
            )
        })
    };
    let pair = |name: &str| -> Result<[usize; 2]> {
        match attrs.ints(name) {
            [height, width] => Ok([whole(name, *height)?, whole(name, *width)?]),
            other => Err(Error::attribute(
                "window_attention",
                format!("{name} is {other:?}, expected height and width"),
            )),
        }
    };
    let scale = attrs.float("scale");
    Ok(WindowAttention {
        heads: whole("heads", attrs.int("heads"))?,
        window: pair("window")?,
        shift: pair("shift")?,
        scale: (scale != 0.0).then_some(scale),
        mask: attrs.bool("mask"),
    })
}

static SIGNATURE: Signature = Signature {
    name: "window_attention",
    formula: "y = softmax(scale · q kᵀ + bias + mask) v in each window of the shifted grid",
    source: "Liu et al. 2021, arXiv:2103.14030",
    inputs: &[
        Input::grad("qkv", FLOATS),
        Input::grad("bias_table", FLOATS).optional(),
    ],
    attrs: &[
        AttrSpec {
            name: "heads",
            default: AttrDefault::Int(1),
        },
        AttrSpec {
            name: "window",
            default: AttrDefault::Ints(&[8, 8]),
        },
        AttrSpec {
            name: "shift",
            default: AttrDefault::Ints(&[0, 0]),
        },
        // 0 stands for 1/√head_dim.
        AttrSpec {
            name: "scale",
            default: AttrDefault::Float(0.0),
        },
        AttrSpec {
            name: "mask",
            default: AttrDefault::Bool(true),
        },
    ],
    outputs: &["y"],
};

pub struct WindowAttentionOp;

pub static WINDOW_ATTENTION: WindowAttentionOp = WindowAttentionOp;

/// A case: qkv `[batch, height, width, 3 · heads · head_dim]` with numbers up to `size`, and its table.
fn case(
    label: &str,
    [batch, height, width]: [usize; 3],
    [heads, head_dim]: [usize; 2],
    window: [usize; 2],
    shift: [usize; 2],
    size: f64,
) -> Case {
    let ints = |pair: [usize; 2]| pair.map(|n| n as i64);
    let table = [
        (2 * window[0].min(height) - 1) * (2 * window[1].min(width) - 1),
        heads,
    ];
    Case::new(label)
        .f32(
            &[batch, height, width, 3 * heads * head_dim],
            Domain::Uniform(-size, size),
        )
        .f32(&table, Domain::Uniform(-1.0, 1.0))
        .attr("heads", heads as i64)
        .attr("window", ints(window).as_slice())
        .attr("shift", ints(shift).as_slice())
}

fn without_bias(mut case: Case) -> Case {
    case.inputs[1] = None;
    case
}

impl Op for WindowAttentionOp {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let qkv = inputs[0].expect("check_inputs saw it");
        let grid = check(qkv, inputs[1], &options(attrs)?)?;
        Ok(vec![Meta {
            shape: Shape::of(&[grid.batch, grid.height, grid.width, grid.channels]),
            dtype: qkv.dtype,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let qkv = inputs[0].expect("check_inputs saw it");
        Ok(vec![qkv.window_attention(inputs[1], options(attrs)?)?])
    }

    fn entries(&self) -> Vec<Entry> {
        // A few blocks stand for all: which one a call gets follows from head dimension and window.
        let blocks = [
            (16, true, 1, [8, 4]),
            (16, true, 2, [1, 1]),
            (8, true, 2, [4, 4]),
            (64, true, 2, [1, 1]),
            (10, false, 1, [4, 4]),
        ];
        let passes = [Pass::Forward, Pass::Query, Pass::Key];
        let blocks = blocks
            .into_iter()
            .flat_map(|(head_dim, quads, rows, cols)| {
                passes.map(|pass| {
                    Choice::Block(
                        pass,
                        BlockConstants {
                            head_dim,
                            quads,
                            rows,
                            cols: cols[usize::from(pass != Pass::Forward)],
                        },
                    )
                })
            });
        [
            Choice::Naive,
            Choice::NaiveVjp,
            Choice::NaiveBias,
            Choice::Partials,
        ]
        .into_iter()
        .chain(blocks)
        .map(Choice::entry)
        .collect()
    }

    fn entry(&self, name: &str, variant: u32) -> Option<Entry> {
        Choice::of(name, variant).map(Choice::entry)
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, caps: &Caps) -> Option<String> {
        let grid = check(inputs[0]?, inputs[1], &options(attrs).ok()?).ok()?;
        let quads = grid.head_dim().is_multiple_of(4);
        let block = |pass| planner::block(&grid, pass, quads, caps);
        let (Some(forward), Some(query)) = (block(Pass::Forward), block(Pass::Query)) else {
            return Some("naive".to_string());
        };
        let (part, n_parts) = planner::parts(&grid, &query, caps);
        Some(format!(
            "blocks of {} × {} queries; backward {} × {}, {n_parts} parts of {part} rows of blocks",
            forward.rows, forward.cols, query.rows, query.cols
        ))
    }

    fn cases(&self) -> Vec<Case> {
        let mut f16 = case("f16", [1, 6, 6], [2, 8], [3, 3], [1, 1], 1.0);
        for spec in f16.inputs.iter_mut().flatten() {
            spec.dtype = DType::F16;
        }
        let bench = |label: &str, size: [usize; 3], heads: usize, window, shift| {
            case(label, size, [heads, 16], window, shift, 1.0)
                .bench()
                .no_gradient()
        };
        vec![
            // Two windows down and across, cut both ways, a rest of a block on both axes.
            case("verify", [2, 10, 6], [2, 16], [5, 3], [2, 1], 1.0),
            case("two_tokens", [3, 1, 4], [1, 8], [1, 2], [0, 1], 1.0),
            case("two_tokens_down", [1, 4, 3], [2, 4], [2, 1], [1, 0], 1.0),
            case("one_token", [2, 2, 3], [2, 4], [1, 1], [0, 0], 1.0),
            case("shift_across", [2, 4, 12], [2, 16], [4, 4], [0, 2], 1.0),
            case("shift_down", [1, 9, 3], [3, 8], [3, 3], [2, 0], 1.0),
            // The window is the grid along one axis, whose shift then does not count.
            case("whole_height", [2, 3, 8], [1, 12], [7, 4], [3, 2], 1.0),
            case("whole_grid", [2, 5, 7], [2, 8], [8, 8], [4, 4], 1.0),
            case("eleven_across", [1, 2, 22], [1, 20], [2, 11], [1, 5], 1.0),
            case("head_of_one", [1, 4, 4], [3, 1], [2, 2], [1, 1], 1.0),
            case("head_of_seven", [1, 4, 6], [2, 7], [4, 3], [2, 1], 1.0),
            case("head_of_64", [1, 3, 6], [2, 64], [3, 3], [1, 1], 1.0),
            case("head_of_132", [1, 2, 4], [1, 132], [2, 2], [1, 1], 1.0),
            without_bias(case("no_bias", [2, 6, 4], [2, 16], [3, 2], [1, 1], 1.0)),
            case("no_mask", [1, 4, 8], [2, 16], [2, 4], [1, 2], 1.0).attr("mask", false),
            case("scaled", [1, 4, 8], [2, 16], [2, 4], [1, 2], 1.0).attr("scale", -0.5),
            // Scores of hundreds: without the largest subtracted, exp overflows.
            case("large_logits", [1, 4, 8], [2, 16], [4, 4], [2, 2], 12.0).no_gradient(),
            case(
                "thousand_tokens",
                [1, 32, 32],
                [1, 8],
                [32, 32],
                [0, 0],
                1.0,
            ),
            // More steps than a software driver lets one invocation take, if one went through all windows.
            case("many_windows", [1, 2, 18_000], [1, 4], [2, 2], [1, 1], 1.0),
            case("empty", [0, 4, 4], [2, 8], [2, 2], [1, 1], 1.0).no_gradient(),
            f16,
            bench("stage_1", [16, 8, 64], 2, [8, 8], [0, 4]),
            bench("stage_2", [16, 4, 32], 4, [4, 8], [0, 4]),
            bench("stage_3", [16, 2, 16], 8, [2, 8], [0, 4]),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        match Choice::of(entry.name(), entry.variant) {
            Some(Choice::Block(_, block)) => {
                // Two blocks and a rest down and across, where the twin can afford it; cut both ways.
                let rest = |n: u32| 2 * n as usize - usize::from(n > 1) + usize::from(n == 1);
                let window = [rest(block.rows), rest(block.cols)];
                let head_dim = block.head_dim as usize;
                let size = [1, 2 * window[0], 2 * window[1]];
                case("verify", size, [2, head_dim], window, [1, 1], 1.0)
            }
            // Three blocks side by side, the last with a rest, in many parts; by the query kernel of the small model, which
            // is then compiled anyway.
            Some(Choice::Partials) => case("verify", [1, 6, 18], [2, 16], [3, 9], [1, 4], 1.0),
            _ => self.cases().remove(0),
        }
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let Some(Choice::Block(_, block)) = Choice::of(entry.name(), entry.variant) else {
            return true;
        };
        let (Some(qkv), Ok(attrs)) = (&case.inputs[0], case.attrs.complete(&SIGNATURE)) else {
            return false;
        };
        let packed = qkv.shape[qkv.shape.len() - 1];
        packed as i64 == 3 * attrs.int("heads") * i64::from(block.head_dim)
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let qkv = inputs[0].expect("check_inputs saw it");
        let options = options(attrs).expect("infer read them");
        let [batch, height, width] = [0, 1, 2].map(|axis| qkv.shape[axis]);
        let channels = qkv.shape[3] / 3;
        let head_dim = channels / options.heads;
        let scale = options.scale.unwrap_or(1.0 / (head_dim as f64).sqrt());
        let mut y = Array::zeros(Shape::of(&[batch, height, width, channels]));
        let [wh, ww] = [options.window[0].min(height), options.window[1].min(width)];
        let shift = |window: usize, n: usize, shift: usize| if window == n { 0 } else { shift };
        let sh = shift(wh, height, options.shift[0]);
        let sw = shift(ww, width, options.shift[1]);
        // Swin's regions of an axis of the rolled grid.
        let region = |at: usize, n: usize, window: usize, shift: usize| {
            usize::from(at >= n - window) + usize::from(at >= n - shift)
        };
        // Row and column of the rolled grid.
        let part = |b: usize, at: (usize, usize), kind: usize, head: usize, c: usize| {
            let (h, w) = ((at.0 + sh) % height, (at.1 + sw) % width);
            qkv.at(&[b, h, w, kind * channels + head * head_dim + c])
        };
        for b in 0..batch {
            for i in 0..height * width {
                let query = (i / width, i % width);
                let first = (query.0 / wh * wh, query.1 / ww * ww);
                for head in 0..options.heads {
                    let mut scores = Vec::with_capacity(wh * ww);
                    for j in 0..wh * ww {
                        let key = (first.0 + j / ww, first.1 + j % ww);
                        let region = |at: (usize, usize)| {
                            3 * region(at.0, height, wh, sh) + region(at.1, width, ww, sw)
                        };
                        if options.mask && region(query) != region(key) {
                            continue;
                        }
                        let mut score = 0.0;
                        for c in 0..head_dim {
                            score += part(b, query, 0, head, c) * part(b, key, 1, head, c);
                        }
                        score *= scale;
                        if let Some(table) = inputs[1] {
                            let (dp, dq) = (query.0 + wh - 1 - key.0, query.1 + ww - 1 - key.1);
                            score += table.at(&[dp * (2 * ww - 1) + dq, head]);
                        }
                        scores.push((key, score));
                    }
                    let largest = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(s.1));
                    let sum: f64 = scores.iter().map(|s| (s.1 - largest).exp()).sum();
                    let (h, w) = ((query.0 + sh) % height, (query.1 + sw) % width);
                    for (key, score) in scores {
                        let p = (score - largest).exp() / sum;
                        for c in 0..head_dim {
                            *y.at_mut(&[b, h, w, head * head_dim + c]) +=
                                p * part(b, key, 2, head, c);
                        }
                    }
                }
            }
        }
        vec![y]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let qkv = inputs[0].expect("check_inputs saw it");
        let options = options(attrs).expect("infer read them");
        let head_dim = qkv.shape[3] / 3 / options.heads;
        let scale = options.scale.unwrap_or(1.0 / (head_dim as f64).sqrt());
        let largest = qkv.max_abs();
        // A score is a dot product plus a bias. Its error in natural units is the relative error of its weight, and a
        // result is a mean of values with these weights; 4 u for exp and as much for the mean.
        let terms = scale.abs() * largest * largest;
        let bias = inputs[1].map_or(0.0, Array::max_abs);
        let score = Tolerance::sum(head_dim + 1, terms.max(bias)).absolute;
        let mean = Tolerance::ulps(16.0, 1.0).absolute;
        Tolerance {
            relative: 2.0 * mean,
            absolute: 2.0 * (score + mean) * largest,
            reason: "a mean of values whose weights are wrong by what their scores are, as sums of head_dim terms",
        }
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        let grid = inputs[0]
            .zip(options(attrs).ok())
            .and_then(|(qkv, options)| check(qkv, inputs[1], &options).ok());
        // Two products of tokens × tokens × head_dim per window and head.
        let flops = grid.map_or(0, |g| {
            4 * g.n_tokens() * g.window[0] * g.window[1] * g.channels
        });
        Cost::streaming(inputs, outputs, flops as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        // The weights again, and two products for each of the two that gave values and weights.
        Cost::vjp(self.signature(), inputs, outputs)
            .reading(&inputs[0])
            .computing(5 * self.cost(inputs, outputs, attrs).flops / 2)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let good = || case("refused", [1, 4, 4], [2, 4], [2, 2], [1, 1], 1.0);
        let ints = |name: &str, numbers: &[i64]| good().attr(name, numbers);
        let domain = Domain::Constant(1.0);
        let mut flat = good();
        flat.inputs[0] = Case::new("").f32(&[4, 4, 24], domain).inputs.remove(0);
        let mut narrow = good();
        narrow.inputs[0] = Case::new("").f32(&[1, 4, 4, 15], domain).inputs.remove(0);
        let mut without_tokens = good();
        without_tokens.inputs[0] = Case::new("").f32(&[1, 0, 4, 24], domain).inputs.remove(0);
        let mut half = good();
        if let Some(Some(table)) = half.inputs.get_mut(1) {
            table.dtype = DType::F16;
        }
        vec![
            ("qkv of rank 3", flat),
            ("channels that heads do not share", narrow),
            ("a grid without tokens", without_tokens),
            ("dtypes differ", half),
            ("no heads", good().attr("heads", 0)),
            ("heads below zero", good().attr("heads", -1)),
            ("a window of nothing", ints("window", &[0, 2])),
            ("a window of one number", ints("window", &[2])),
            ("a window that does not divide", ints("window", &[3, 2])),
            ("a shift as long as the window", ints("shift", &[0, 2])),
            ("a shift below zero", ints("shift", &[0, -1])),
            (
                "a window too large",
                case("", [1, 128, 256], [1, 4], [128, 256], [0, 0], 1.0),
            ),
            ("a table for other windows", ints("window", &[2, 4])),
        ]
    }
}
