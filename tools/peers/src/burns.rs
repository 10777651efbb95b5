//! The work by Burn, through its wgpu backend with fusion and autotuning.

use affekt::Device as Ours;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::signal::{StftOptions, hann_window, stft};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::layer_norm;
use burn::tensor::wgpu::{WgpuBackend, WgpuSetup};
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

use crate::Failure;
use crate::runner::{Runner, Submit};
use crate::work::{Kind, LAYERS, STEPS_COMPARED, Work};

/// Opens Burn's device on the adapter that `ours` runs on.
///
/// Burn chooses by backend, kind and number among those of a kind; that the two are the same adapter is checked
/// afterwards.
pub fn open(ours: &Ours) -> Result<(Device, WgpuSetup), Failure> {
    let adapter = ours.adapter();
    let adapters = Ours::adapters(adapter.backend == "gl");
    let place = adapters
        .iter()
        .map(|(info, _, _)| info)
        .filter(|info| info.backend == adapter.backend && info.kind == adapter.kind)
        .position(|info| info == adapter)
        .ok_or("the adapter is not among those of this machine any more")?;
    let kind = match adapter.kind.as_str() {
        "discrete" => DeviceKind::DiscreteGpu(place),
        "integrated" => DeviceKind::IntegratedGpu(place),
        "virtual" => DeviceKind::VirtualGpu(place),
        "cpu" if place == 0 => DeviceKind::Cpu,
        _ => {
            let label = adapter.label();
            return Err(format!(
                "Burn has no way to choose {label}, of kind {}",
                adapter.kind
            )
            .into());
        }
    };
    let backend = match adapter.backend.as_str() {
        "vulkan" => WgpuBackend::Vulkan,
        "metal" => WgpuBackend::Metal,
        "dx12" => WgpuBackend::Dx12,
        _ => WgpuBackend::Gl,
    };
    let options = Device::wgpu_options()
        .device_kind(kind)
        .graphics_api(backend);
    let (device, setup) = options.init_with_setup()?;
    let [theirs, ours] = [setup.device.adapter_info(), ours.wgpu().0.adapter_info()];
    let identity = |i: &affekt::wgpu::AdapterInfo| {
        (
            i.name.clone(),
            i.backend,
            i.vendor,
            i.device,
            i.device_pci_bus_id.clone(),
        )
    };
    if identity(&theirs) != identity(&ours) {
        return Err(format!(
            "the engines would run on different adapters: affekt on {:?}, Burn on {:?}",
            identity(&ours),
            identity(&theirs)
        )
        .into());
    }
    Ok((device, setup))
}

/// Prepares a piece of work; what Burn cannot do comes back as the reason.
pub fn runner(
    device: &Device,
    work: &Work,
    submit: Submit,
) -> Result<Result<Box<dyn Runner>, String>, Failure> {
    let attrs = work.attrs()?;
    let forward = |run: Run<2>| Box::new(Forward::new(device, submit, run)) as Box<dyn Runner>;
    Ok(Ok(match (&work.kind, work.op.as_str()) {
        (Kind::TrainingStep, _) => Box::new(Training::new(device, work, submit)),
        (Kind::Chain, _) => {
            let [x, y] = [0, 1].map(|i| floats::<1>(device, work, i));
            let run = move || {
                relu(x.clone().mul_scalar(0.5).add_scalar(0.25))
                    .mul(y.clone())
                    .add(x.clone())
                    .neg()
                    .exp()
                    .add_scalar(1.0)
                    .recip()
                    .mul(x.clone())
            };
            Box::new(Forward::new(device, submit, run))
        }
        (_, "matmul") => {
            let [a, b] = [0, 1].map(|i| floats::<2>(device, work, i));
            forward(Box::new(move || a.clone().matmul(b.clone())))
        }
        (_, "softmax") => {
            let x = floats::<2>(device, work, 0);
            forward(Box::new(move || softmax(x.clone(), 1)))
        }
        (_, "layer_norm") => {
            let x = floats::<2>(device, work, 0);
            let [weight, bias] = [1, 2].map(|i| floats::<1>(device, work, i));
            let eps = attrs.float("eps");
            forward(Box::new(move || {
                layer_norm(x.clone(), weight.clone(), Some(bias.clone()), eps)
            }))
        }
        (_, "gather") => {
            let x = floats::<2>(device, work, 0);
            let index = integers::<2>(device, work, 1);
            let axis = attrs.int("axis");
            forward(Box::new(move || x.clone().gather(axis, index.clone())))
        }
        (_, "stft") => {
            let n_fft = attrs.int("n_fft") as usize;
            if !n_fft.is_power_of_two() {
                return Ok(Err("transforms of powers of two only".to_string()));
            }
            let win_length = match attrs.int("win_length") as usize {
                0 => n_fft,
                length => length,
            };
            let options = StftOptions {
                hop_length: attrs.int("hop_length") as usize,
                win_length: Some(win_length),
                ..StftOptions::new(n_fft)
            };
            let x = floats::<2>(device, work, 0);
            let window = hann_window(win_length, true, device);
            let run = move || stft(x.clone(), Some(window.clone()), options);
            // Frames come first here, bins in affekt and PyTorch.
            Box::new(Forward::new(device, submit, run).compared(|y| y.swap_dims(1, 2)))
        }
        (_, other) => return Ok(Err(format!("nothing like {other} is called here"))),
    }))
}

fn floats<const D: usize>(device: &Device, work: &Work, i: usize) -> Tensor<D> {
    let (data, shape) = work.input(i);
    Tensor::from_data(TensorData::new(data, shape), device)
}

fn integers<const D: usize>(device: &Device, work: &Work, i: usize) -> Tensor<D, Int> {
    let (data, shape) = work.input(i);
    let data: Vec<i32> = data.iter().map(|x| *x as i32).collect();
    Tensor::from_data(TensorData::new(data, shape), device)
}

/// Ends a call: what Burn has queued is fused and handed to the device.
fn handed_over(device: &Device, submit: Submit) -> Result<(), Failure> {
    match submit {
        Submit::Each => Ok(device.flush()?),
        Submit::Together => Ok(()),
    }
}

type Run<const D: usize> = Box<dyn Fn() -> Tensor<D>>;

/// Anything without gradients.
struct Forward<const D: usize> {
    device: Device,
    submit: Submit,
    run: Run<D>,
    /// Puts the result into affekt's order, outside of what is timed.
    compared: fn(Tensor<D>) -> Tensor<D>,
    /// Results of the calls since the last wait, or the last one alone: Burn may leave out what is dropped before it is
    /// computed.
    held: Vec<Tensor<D>>,
}

impl<const D: usize> Forward<D> {
    fn new(device: &Device, submit: Submit, run: impl Fn() -> Tensor<D> + 'static) -> Self {
        Forward {
            device: device.clone(),
            submit,
            run: Box::new(run),
            compared: |y| y,
            held: Vec::new(),
        }
    }

    fn compared(self, compared: fn(Tensor<D>) -> Tensor<D>) -> Self {
        Forward { compared, ..self }
    }
}

impl<const D: usize> Runner for Forward<D> {
    fn result(&mut self) -> Result<Vec<f32>, Failure> {
        Ok((self.compared)((self.run)()).try_into_vec_as::<f32>()?)
    }

    fn call(&mut self) -> Result<(), Failure> {
        let y = (self.run)();
        handed_over(&self.device, self.submit)?;
        if self.submit == Submit::Each {
            self.held.clear();
        }
        self.held.push(y);
        Ok(())
    }

    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        let last = self.held.last().cloned();
        let read = |y| (self.compared)(y).try_into_vec_as::<f32>();
        Ok(last.map(read).transpose()?)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        self.device.sync()?;
        let n = self.held.len();
        self.held.drain(..n.saturating_sub(1));
        Ok(())
    }
}

#[derive(Module, Debug)]
struct Network {
    layers: Vec<Linear>,
}

impl Network {
    fn new(device: &Device) -> Self {
        let layer = |i: usize| {
            let [n_in, n_out] = [LAYERS[i], LAYERS[i + 1]];
            let ours = Work::weight(i);
            // Burn keeps weights as [in, out].
            let weight: Vec<f32> = (0..n_in * n_out)
                .map(|k| ours[k % n_out * n_in + k / n_out])
                .collect();
            let bias = TensorData::new(vec![0.0f32; n_out], [n_out]);
            Linear {
                weight: Param::from_data(TensorData::new(weight, [n_in, n_out]), device),
                bias: Some(Param::from_data(bias, device)),
            }
        };
        Network {
            layers: (0..LAYERS.len() - 1).map(layer).collect(),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        let hidden = self.layers[..last].iter();
        let y = hidden.fold(x, |x, layer| relu(layer.forward(x)));
        self.layers[last].forward(y)
    }
}

struct Training {
    device: Device,
    submit: Submit,
    /// Taken during a step, which makes a new one of it.
    model: Option<Network>,
    loss: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    x: Tensor<2>,
    labels: Tensor<1, Int>,
}

impl Training {
    fn new(device: &Device, work: &Work, submit: Submit) -> Self {
        let device = device.clone().autodiff();
        // The other values are affekt's: betas of 0.9 and 0.999.
        let config = AdamWConfig::new()
            .with_epsilon(1e-8)
            .with_weight_decay(0.01);
        Training {
            model: Some(Network::new(&device)),
            loss: CrossEntropyLossConfig::new().init(&device),
            optimizer: config.init(),
            x: floats(&device, work, 0),
            labels: integers(&device, work, 1),
            device,
            submit,
        }
    }

    fn step(&mut self) -> Tensor<1> {
        let model = self.model.take().expect("every step puts one back");
        let logits = model.forward(self.x.clone());
        let loss = self.loss.forward(logits, self.labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(1e-3, model, gradients));
        loss
    }
}

impl Runner for Training {
    fn result(&mut self) -> Result<Vec<f32>, Failure> {
        (0..STEPS_COMPARED)
            .map(|_| Ok(self.step().try_into_scalar::<f32>()?))
            .collect()
    }

    fn call(&mut self) -> Result<(), Failure> {
        let loss = self.step();
        handed_over(&self.device, self.submit)?;
        drop(loss);
        Ok(())
    }

    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        Ok(None)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        Ok(self.device.sync()?)
    }
}
