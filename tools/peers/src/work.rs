//! What is done: names, inputs and numbers, the same for every engine. Names no engine.

use affekt::ops;
use affekt::ops::op::{Attrs, Case, Cost, Domain, Meta, Op, Role};
use affekt::ops::probe::{Numbers, inputs_of};

use crate::Failure;

/// Elements of the elementwise chain.
const CHAIN: usize = 1 << 20;
/// Sizes of the layers of the network, from input to classes.
pub const LAYERS: [usize; 4] = [784, 512, 512, 10];
const BATCH: usize = 64;
/// Training steps whose losses are compared.
pub const STEPS_COMPARED: usize = 3;

/// What the work consists of.
#[derive(Clone, Copy)]
pub enum Kind {
    /// One operator of affekt's registry.
    Operator(&'static dyn Op),
    /// Ten elementwise operations: `x / (1 + exp(-(max(x / 2 + 1/4, 0) · y + x)))`.
    Chain,
    /// Forward, backward and AdamW of a network with ReLU between its layers.
    TrainingStep,
}

/// One piece of work.
pub struct Work {
    pub kind: Kind,
    pub op: String,
    /// Label, inputs and attributes.
    pub case: Case,
    /// How many times faster than the engine beside it this one is meant to be.
    pub hoped: f64,
}

impl Work {
    /// A bench case of the registry.
    fn of_registry(op: &str, label: &str, hoped: f64) -> Result<Self, Failure> {
        let found = ops::find(op)?;
        let mut cases = found.cases().into_iter();
        let case = cases
            .find(|case| case.bench && case.label == label)
            .ok_or_else(|| format!("{op} has no bench case {label}"))?;
        Ok(Work::of_case(found, case, hoped))
    }

    fn of_case(op: &'static dyn Op, case: Case, hoped: f64) -> Self {
        Work {
            kind: Kind::Operator(op),
            op: op.signature().name.to_string(),
            case,
            hoped,
        }
    }

    /// `matmul/square_512`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.op, self.case.label)
    }

    /// `f32[512, 512] f32[512, 512]`.
    pub fn shapes(&self) -> String {
        let metas = self.case.metas();
        let words: Vec<String> = metas
            .iter()
            .flatten()
            .map(|meta| format!("{}{:?}", meta.dtype, meta.shape))
            .collect();
        words.join(" ")
    }

    /// The numbers of input `i`, rounded to what its dtype holds.
    pub fn input(&self, i: usize) -> (Vec<f32>, Vec<usize>) {
        let array = inputs_of(&self.case, 1)
            .swap_remove(i)
            .expect("the input is there");
        let data = array.data.iter().map(|x| *x as f32).collect();
        (data, array.shape.to_vec())
    }

    /// The attributes with their defaults.
    pub fn attrs(&self) -> Result<Attrs, Failure> {
        match self.kind {
            Kind::Operator(op) => Ok(self.case.attrs.complete(op.signature())?),
            _ => Ok(Attrs::new()),
        }
    }

    /// Work that no engine can avoid; of a training step the products alone.
    pub fn cost(&self) -> Result<Cost, Failure> {
        let metas = self.case.metas();
        Ok(match self.kind {
            Kind::Operator(op) => ops::cost(op, Role::Forward, &metas, &self.case.attrs)?,
            Kind::Chain => {
                let x: Vec<Meta> = metas[0].into_iter().collect();
                Cost::streaming(&metas, &x, 10 * CHAIN as u64)
            }
            Kind::TrainingStep => {
                let products = LAYERS.windows(2).map(|pair| pair[0] * pair[1]);
                let weights: usize = products.clone().sum();
                // The first layer's input needs no gradient.
                let by_input: usize = products.skip(1).sum();
                let flops = 2 * BATCH * (2 * weights + by_input);
                Cost {
                    // Weights and two moments of each are read and written once.
                    read_bytes: (3 * 4 * weights) as u64,
                    written_bytes: (3 * 4 * weights) as u64,
                    flops: flops as u64,
                }
            }
        })
    }

    /// First weights `[out, in]` of layer `i` of the network; its bias begins with 0.
    pub fn weight(i: usize) -> Vec<f32> {
        let [n_in, n_out] = [LAYERS[i], LAYERS[i + 1]];
        let mut numbers = Numbers::new(17 + i as u64);
        let bound = 1.0 / (n_in as f64).sqrt();
        (0..n_in * n_out)
            .map(|_| (bound * (2.0 * numbers.unit() - 1.0)) as f32)
            .collect()
    }
}

/// Everything that is measured, in the order of the table.
pub fn all() -> Result<Vec<Work>, Failure> {
    let matmul = ops::find("matmul")?;
    let square_256 = Case::new("square_256")
        .f32(&[256, 256], Domain::Uniform(-1.0, 1.0))
        .f32(&[256, 256], Domain::Uniform(-1.0, 1.0))
        .absent();
    let chain = Case::new(format!("ten_of_{CHAIN}"))
        .f32(&[CHAIN], Domain::Uniform(-2.0, 2.0))
        .f32(&[CHAIN], Domain::Uniform(-2.0, 2.0));
    let sizes = LAYERS.map(|n| n.to_string());
    let step = Case::new(format!("{BATCH}x{}", sizes.join("_")))
        .f32(&[BATCH, LAYERS[0]], Domain::Uniform(-1.0, 1.0))
        .input(
            &[BATCH],
            affekt::DType::I32,
            Domain::Index(LAYERS[LAYERS.len() - 1]),
        );
    Ok(vec![
        Work::of_case(matmul, square_256, 3.0),
        Work::of_registry("matmul", "square_512", 3.0)?,
        Work::of_registry("matmul", "square_1024", 3.0)?,
        Work::of_registry("matmul", "8192x32x96", 3.0)?,
        Work::of_registry("matmul", "2048x64x256", 3.0)?,
        Work::of_registry("softmax", "rows_of_768", 2.0)?,
        Work::of_registry("layer_norm", "rows_of_768", 2.0)?,
        Work {
            kind: Kind::Chain,
            op: "chain".to_string(),
            case: chain,
            hoped: 1.0,
        },
        Work::of_registry("gather", "rows", 1.0)?,
        Work {
            kind: Kind::TrainingStep,
            op: "mlp".to_string(),
            case: step,
            hoped: 2.0,
        },
        Work::of_registry("stft", "16x80000_400_160", 1.0)?,
        Work::of_registry("stft", "16x80000_512_160", 1.0)?,
    ])
}
