//! First numbers of parameters, made on the host from a seed: the same on every device.

use crate::error::Result;
use crate::gpu::Device;
use crate::nn::Param;
use crate::ops::random::Rng;
use crate::tensor::{IntoShape, Tensor};

/// How weights of layers begin; biases begin with 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights {
    /// Normal with this deviation, cut at two deviations. Swin's, with 0.02.
    TruncatedNormal(f64),
    /// Uniform with bound √(6 / (in + out)).
    ///
    /// Source: Glorot & Bengio 2010.
    Xavier,
}

/// Where a model's parameters begin: a device and a stream of random numbers, which constructors take in turn.
#[derive(Debug, Clone)]
pub struct Init {
    device: Device,
    rng: Rng,
    weights: Weights,
}

impl Init {
    /// Weights of layers from a normal distribution of deviation 0.02; [`weights`](Self::weights) has others.
    pub fn new(device: &Device, seed: u64) -> Self {
        Init {
            device: device.clone(),
            weights: Weights::TruncatedNormal(0.02),
            // Streams of their own, apart from those of a training run with the same seed.
            rng: Rng {
                key: seed ^ 0x6166_6665_6b74_0001,
                counter: 0,
            },
        }
    }

    /// Other weights of layers.
    pub fn weights(self, weights: Weights) -> Self {
        Init { weights, ..self }
    }

    /// The weight of a linear map or a convolution: `[out, in]` or `[out, in, ..]`.
    pub fn weight(&mut self, shape: impl IntoShape) -> Result<Param> {
        let shape = shape.into_shape()?;
        match self.weights {
            Weights::TruncatedNormal(std) => self.truncated_normal(std, shape),
            Weights::Xavier => {
                // A convolution sees and feeds as many elements as its window has.
                let window: usize = shape.iter().skip(2).product();
                let ends: usize = shape.iter().take(2).sum();
                self.uniform((6.0 / (ends * window).max(1) as f64).sqrt(), shape)
            }
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn zeros(&self, shape: impl IntoShape) -> Result<Param> {
        self.constant(0.0, shape)
    }

    pub fn ones(&self, shape: impl IntoShape) -> Result<Param> {
        self.constant(1.0, shape)
    }

    pub fn constant(&self, number: f32, shape: impl IntoShape) -> Result<Param> {
        let shape = shape.into_shape()?;
        Param::new(&Tensor::from_slice(
            &self.device,
            &vec![number; shape.numel()],
            shape,
        )?)
    }

    /// Uniform in [−bound, bound).
    pub fn uniform(&mut self, bound: f64, shape: impl IntoShape) -> Result<Param> {
        self.fill(shape, |unit| ((2.0 * unit() - 1.0) * bound) as f32)
    }

    /// Normal with this deviation, drawn again beyond two deviations.
    ///
    /// torch.nn.init.trunc_normal_ with std .02 cuts at ±2, a hundred deviations away; what is cut here is 4.6 %.
    pub fn truncated_normal(&mut self, std: f64, shape: impl IntoShape) -> Result<Param> {
        self.fill(shape, |unit| {
            loop {
                // Box & Muller 1958; 1 − u lies in (0, 1].
                let radius = (-2.0 * (1.0 - unit()).ln()).sqrt();
                let z = radius * (std::f64::consts::TAU * unit()).cos();
                if z.abs() <= 2.0 {
                    return (z * std) as f32;
                }
            }
        })
    }

    fn fill(
        &mut self,
        shape: impl IntoShape,
        number: impl Fn(&mut dyn FnMut() -> f64) -> f32,
    ) -> Result<Param> {
        let shape = shape.into_shape()?;
        let stream = self.rng.draw();
        let mut index = 0u32;
        let mut unit = || {
            let word = stream.word(index);
            index = index.wrapping_add(1);
            f64::from(word) / 4_294_967_296.0
        };
        let numbers: Vec<f32> = (0..shape.numel()).map(|_| number(&mut unit)).collect();
        Param::new(&Tensor::from_slice(&self.device, &numbers, shape)?)
    }
}
