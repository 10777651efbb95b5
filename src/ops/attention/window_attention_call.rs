//! The kernels of window attention and how they follow each other: one forward, up to three backward.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::gpu::pipeline::Pipeline;
use crate::gpu::shader::Elem;
use crate::gpu::{Caps, Device, Kernel, Source};
use crate::ops::attention::window_attention::WINDOW_ATTENTION;
use crate::ops::attention::window_attention_gen::{BlockConstants, Pass};
use crate::ops::attention::window_attention_plan::{self as planner, Grid};
use crate::ops::launch;
use crate::ops::op::{Entry, Role, any_device};
use crate::ops::reduce::sum::sum_to;
use crate::tensor::{DType, Shape, Tensor};

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Default)]
#[repr(C)]
struct Params {
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    heads: u32,
    head_dim: u32,
    window: [u32; 2],
    shift: [u32; 2],
    cut: [u32; 2],
    scale: f32,
    part: u32,
    n_parts: u32,
    block_cols: u32,
    qkv_offset: u32,
    bias_offset: u32,
    y_offset: u32,
    lse_offset: u32,
    dy_offset: u32,
    dqkv_offset: u32,
    stats_offset: u32,
    partials_offset: u32,
    dbias_offset: u32,
    padding: [u32; 3],
}

/// What a forward pass was called with, kept for the backward one.
pub struct Call {
    pub grid: Grid,
    /// First row and column of the rolled grid that came around an edge; beyond the grid if nothing did.
    pub cut: [usize; 2],
    pub scale: f32,
    pub qkv: Tensor,
    pub bias: Option<Tensor>,
}

/// A kernel of this operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// `window_attention.wgsl`
    Naive,
    /// The two entry points of `window_attention_vjp.wgsl`.
    NaiveVjp,
    NaiveBias,
    /// `window_attention_vjp_partials.wgsl`
    Partials,
    /// `window_attention_gen.rs`
    Block(Pass, BlockConstants),
}

impl Choice {
    pub fn candidate(self) -> (&'static str, u32) {
        match self {
            Choice::Naive => ("window_attention", 0),
            Choice::NaiveVjp => ("window_attention_vjp", 0),
            Choice::NaiveBias => ("window_attention_vjp_bias", 0),
            Choice::Partials => ("window_attention_vjp_partials", 0),
            Choice::Block(pass, block) => (pass.entry(), planner::code(&block)),
        }
    }

    pub fn of(name: &str, variant: u32) -> Option<Self> {
        let block = |pass| Choice::Block(pass, planner::from_code(variant));
        [
            Choice::Naive,
            Choice::NaiveVjp,
            Choice::NaiveBias,
            Choice::Partials,
            block(Pass::Forward),
            block(Pass::Query),
            block(Pass::Key),
        ]
        .into_iter()
        .find(|choice| choice.candidate().0 == name)
        // A number may come from outside.
        .filter(|choice| match choice {
            Choice::Block(_, block) => planner::is_possible(block),
            _ => true,
        })
    }

    fn kernel(self, elem: Elem) -> Kernel {
        let (entry, variant) = self.candidate();
        let source = match self {
            Choice::Naive => Source::file(
                "attention/window_attention",
                include_str!("../../../shaders/attention/window_attention.wgsl"),
            ),
            Choice::NaiveVjp | Choice::NaiveBias => Source::file(
                "attention/window_attention_vjp",
                include_str!("../../../shaders/attention/window_attention_vjp.wgsl"),
            ),
            Choice::Partials => Source::file(
                "attention/window_attention_vjp_partials",
                include_str!("../../../shaders/attention/window_attention_vjp_partials.wgsl"),
            ),
            Choice::Block(pass, block) => {
                Source::generated(format!("attention/{entry}_{variant:06x}"), block.wgsl(pass))
            }
        };
        Kernel {
            source,
            entry,
            constants: vec![("WG", f64::from(self.workgroup()))],
            elem,
        }
    }

    /// Invocations of a workgroup.
    fn workgroup(self) -> u32 {
        match self {
            Choice::Block(..) => BLOCK_WORKGROUP,
            _ => WORKGROUP,
        }
    }

    pub fn entry(self) -> Entry {
        let (role, rung) = match self {
            Choice::Naive => (Role::Forward, "naive"),
            Choice::Block(Pass::Forward, _) => (Role::Forward, "block"),
            Choice::Block(..) | Choice::Partials => (Role::Vjp, "block"),
            Choice::NaiveVjp | Choice::NaiveBias => (Role::Vjp, "naive"),
        };
        let needs: fn(&Caps) -> bool = match self {
            Choice::Block(pass, block) if !planner::small(&block, pass) => {
                |caps| !planner::narrow(caps)
            }
            _ => any_device,
        };
        Entry {
            role,
            rung,
            variant: self.candidate().1,
            needs,
            kernel: self.kernel(Elem::F32),
        }
    }
}

const WORKGROUP: u32 = 64;
/// 8 and 16 are no faster on lavapipe, 64 leaves cores unevenly loaded.
const BLOCK_WORKGROUP: u32 = 32;

impl Call {
    fn device(&self) -> &Device {
        self.qkv.device()
    }

    fn elem(&self) -> Elem {
        self.qkv.dtype().elem()
    }

    fn params(&self) -> Result<Params> {
        let word = |n: usize| launch::word("window_attention", n);
        let both = |[a, b]: [usize; 2]| -> Result<[u32; 2]> { Ok([word(a)?, word(b)?]) };
        let grid = &self.grid;
        Ok(Params {
            batch: word(grid.batch)?,
            height: word(grid.height)?,
            width: word(grid.width)?,
            channels: word(grid.channels)?,
            heads: word(grid.heads)?,
            head_dim: word(grid.head_dim())?,
            window: both(grid.window)?,
            shift: both(grid.shift)?,
            cut: both(self.cut)?,
            scale: self.scale,
            qkv_offset: word(self.qkv.layout().offset)?,
            bias_offset: word(self.bias.as_ref().map_or(0, |t| t.layout().offset))?,
            ..Params::default()
        })
    }

    /// The block for a pass over these tensors: the planned one, or the one that a handle allows alone.
    fn block(&self, pass: Pass, others: &[&Tensor]) -> Option<BlockConstants> {
        let quads = self.grid.head_dim().is_multiple_of(4)
            && others
                .iter()
                .chain([&&self.qkv])
                .all(|t| t.layout().offset.is_multiple_of(4));
        let grid = &self.grid;
        let sizes = [
            grid.batch,
            grid.height,
            grid.width,
            grid.channels,
            grid.heads,
            grid.window[0],
            grid.window[1],
        ];
        let preferred = launch::preferred(&WINDOW_ATTENTION, self.device(), self.elem(), &sizes);
        let forced = preferred.into_iter().find_map(|(name, variant)| {
            let forced = planner::from_code(variant);
            let fits = name == pass.entry()
                && forced.head_dim as usize == self.grid.head_dim()
                && (quads || !forced.quads);
            fits.then_some(forced)
        });
        forced.or_else(|| planner::block(&self.grid, pass, quads, self.device().caps()))
    }

    /// The first of these that is right on the device.
    fn choose(&self, choices: &[Choice]) -> Result<Choice> {
        let candidates: Vec<(&'static str, u32)> = choices.iter().map(|c| c.candidate()).collect();
        let chosen = launch::choose(&WINDOW_ATTENTION, self.device(), self.elem(), &candidates)?;
        Ok(choices[chosen])
    }

    fn dispatch(
        &self,
        choice: Choice,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
        params: &Params,
        invocations: usize,
    ) -> Result<()> {
        let pipeline = self.pipeline(choice)?;
        launch::dispatch_compiled(
            self.device(),
            &pipeline,
            inputs,
            outputs,
            params,
            (invocations as u64).div_ceil(u64::from(choice.workgroup())),
        )
    }

    /// Pipelines are kept by what they depend on, so that a dispatch writes no source text.
    fn pipeline(&self, choice: Choice) -> Result<Arc<Pipeline>> {
        let compiled = self.device().extension(Compiled::default);
        let key = (choice, self.elem(), self.bias.is_some());
        let known = compiled
            .by_key
            .lock()
            .expect("looking up does not panic")
            .get(&key)
            .cloned();
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let mut kernel = choice.kernel(key.1);
        kernel.constants.push(("BIAS", f64::from(key.2)));
        let pipeline = self.device().pipeline(&kernel)?;
        compiled
            .by_key
            .lock()
            .expect("inserting does not panic")
            .insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// A binding that a kernel does not look at still needs a buffer.
    fn bias(&self) -> &Tensor {
        self.bias.as_ref().unwrap_or(&self.qkv)
    }

    /// The result and the logarithm of the softmax's sum for each token and head.
    pub fn forward(&self) -> Result<(Tensor, Tensor)> {
        let grid = &self.grid;
        let device = self.device();
        let shape = Shape::of(&[grid.batch, grid.height, grid.width, grid.channels]);
        let y = Tensor::empty(device, self.qkv.dtype(), shape)?;
        let lse = Tensor::empty(
            device,
            DType::F32,
            Shape::of(&[grid.n_tokens(), grid.heads]),
        )?;
        if grid.batch == 0 {
            return Ok((y, lse));
        }
        let choices = self.or_naive(Pass::Forward, &[&y], Choice::Naive);
        let choice = self.choose(&choices)?;
        let params = Params {
            y_offset: launch::word("window_attention", y.layout().offset)?,
            lse_offset: launch::word("window_attention", lse.layout().offset)?,
            ..self.params()?
        };
        let invocations = match choice {
            Choice::Block(_, block) => self.n_blocks(&block),
            _ => grid.n_tokens() * grid.channels,
        };
        self.dispatch(
            choice,
            &[&self.qkv, self.bias()],
            &[&y, &lse],
            &params,
            invocations,
        )?;
        Ok((y, lse))
    }

    /// Blocks of all windows and heads.
    fn n_blocks(&self, block: &BlockConstants) -> usize {
        let grid = &self.grid;
        grid.n_windows()
            * grid.heads
            * grid.window[0].div_ceil(block.rows as usize)
            * grid.window[1].div_ceil(block.cols as usize)
    }

    /// The gradients of qkv and, in f32 and if asked for, of the table.
    pub fn backward(
        &self,
        y: &Tensor,
        dy: &Tensor,
        lse: &Tensor,
        wants_bias: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let grid = &self.grid;
        let device = self.device();
        let word = |n: usize| launch::word("window_attention", n);
        let dqkv = Tensor::empty(device, self.qkv.dtype(), *self.qkv.shape())?;
        let table = Shape::of(&[grid.n_biases(), grid.heads]);
        if grid.batch == 0 {
            let dbias = wants_bias.then(|| Tensor::full(device, 0.0f32, table));
            return Ok((dqkv, dbias.transpose()?));
        }
        let aligned = [y, dy, &dqkv];
        let params = Params {
            y_offset: word(y.layout().offset)?,
            lse_offset: word(lse.layout().offset)?,
            dy_offset: word(dy.layout().offset)?,
            dqkv_offset: word(dqkv.layout().offset)?,
            ..self.params()?
        };
        let numbers = |n: usize| Tensor::empty(device, DType::F32, Shape::of(&[n]));
        let naive_inputs = [&self.qkv, self.bias(), y, dy, lse];
        let choices = self.or_naive(Pass::Query, &aligned, Choice::NaiveVjp);
        let mut blocks = None;
        if let choice @ Choice::Block(_, block) = self.choose(&choices)? {
            let (part, n_parts) = planner::parts(grid, &block, device.caps());
            let invocations = n_parts * grid.heads * grid.window[1].div_ceil(block.cols as usize);
            // Without a table the kernel writes no sums.
            let partials = match self.bias {
                Some(_) => numbers(invocations * planner::partial(grid, &block))?,
                None => numbers(1)?,
            };
            // Log-sum-exp and δ of each token and head.
            let stats = numbers(2 * grid.n_tokens() * grid.heads)?;
            let params = Params {
                part: word(part)?,
                n_parts: word(n_parts)?,
                block_cols: block.cols,
                partials_offset: word(partials.layout().offset)?,
                stats_offset: word(stats.layout().offset)?,
                ..params
            };
            let outputs = [&dqkv, &stats, &partials];
            self.dispatch(choice, &naive_inputs, &outputs, &params, invocations)?;
            blocks = Some((params, stats, partials));
        }
        let choices = match &blocks {
            Some(_) => self.or_naive(Pass::Key, &aligned, Choice::NaiveVjp),
            None => vec![Choice::NaiveVjp],
        };
        match (self.choose(&choices)?, &blocks) {
            (choice @ Choice::Block(_, block), Some((params, stats, _))) => {
                let inputs = [&self.qkv, self.bias(), dy, stats];
                self.dispatch(choice, &inputs, &[&dqkv], params, self.n_blocks(&block))?;
            }
            // Writes the gradients of queries once more, if they are there already.
            (choice, _) => {
                let outputs = [&dqkv, &numbers(1)?];
                let n = grid.n_tokens() * grid.channels;
                self.dispatch(choice, &naive_inputs, &outputs, &params, n)?;
            }
        }
        if !wants_bias {
            return Ok((dqkv, None));
        }
        let mut choices = vec![Choice::NaiveBias];
        if blocks.is_some() {
            choices.insert(0, Choice::Partials);
        }
        let dbias = match (self.choose(&choices)?, blocks) {
            (choice @ Choice::Partials, Some((params, _, partials))) => {
                let dbias = Tensor::empty(device, DType::F32, table)?;
                let params = Params {
                    dbias_offset: word(dbias.layout().offset)?,
                    ..params
                };
                self.dispatch(choice, &[&partials], &[&dbias], &params, table.numel())?;
                dbias
            }
            (choice, _) => {
                let part = planner::naive_part(grid);
                let n_parts = grid.n_windows().div_ceil(part);
                let shape = Shape::of(&[n_parts, table[0], table[1]]);
                let partials = Tensor::empty(device, DType::F32, shape)?;
                let params = Params {
                    part: word(part)?,
                    n_parts: word(n_parts)?,
                    partials_offset: word(partials.layout().offset)?,
                    ..params
                };
                let outputs = [&dqkv, &partials];
                self.dispatch(choice, &naive_inputs, &outputs, &params, shape.numel())?;
                sum_to(&partials, Shape::of(&[1, table[0], table[1]]))?.reshape(table)?
            }
        };
        Ok((dqkv, Some(dbias)))
    }

    /// The block for a pass, if there is one, then the naive kernel.
    fn or_naive(&self, pass: Pass, others: &[&Tensor], naive: Choice) -> Vec<Choice> {
        let block = self.block(pass, others);
        let block = block.map(|block| Choice::Block(pass, block));
        block.into_iter().chain([naive]).collect()
    }
}

/// Choice, storage type, and whether there is a table of biases.
type PipelineKey = (Choice, Elem, bool);

#[derive(Default)]
struct Compiled {
    by_key: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
}
