//! The device: opening one or taking an app's, limits, loss, memory, uploads and readback, timestamps, caches.

mod support_runtime;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Instant;

use affekt::gpu::{DeviceClass, Limits};
use affekt::tensor::{IntoShape as _, TensorReadback};
use affekt::{DType, Device, DeviceOptions, Error, Gradients, Result, Tensor, wgpu};
use half::f16;
use support_runtime::{Numbers, Test, app_device, bits, open, options};

fn main() -> ExitCode {
    let tests: &[Test] = &[
        ("adapters_open_by_label_and_index", adapters_open),
        ("unknown_adapter_lists_those_there_are", unknown_adapter),
        ("default_profile_is_webgpus", default_profile),
        ("handles_are_send_and_sync", send_and_sync),
        ("two_devices_live_side_by_side", two_devices),
        ("app_handlers_stay_in_place", app_handlers),
        ("app_handlers_see_none_of_our_errors", app_sees_no_errors),
        ("an_export_is_pinned_and_current", export),
        ("dispatches_fold_past_65535_workgroups", folding),
        ("dispatches_fold_at_small_limits", folding_at_small_limits),
        ("tensors_beyond_one_binding_are_chunked", beyond_one_binding),
        ("chunks_are_right_at_small_limits", chunks_at_small_limits),
        (
            "operators_beyond_one_binding_say_so",
            operators_beyond_one_binding,
        ),
        ("sizes_beyond_limits_are_errors", sizes_beyond_limits),
        ("expanding_beyond_u32_is_refused", expanding_beyond_u32),
        ("a_lost_device_answers_so_everywhere", lost_device),
        ("a_device_lost_in_mid_batch_answers_so", lost_in_mid_batch),
        ("a_lost_device_ends_pending_readbacks", lost_with_readbacks),
        ("a_lost_app_device_is_noticed_or_told", lost_app_device),
        (
            "every_failed_allocation_is_an_error_value",
            failed_allocations,
        ),
        ("a_budget_is_kept_and_trimming_helps", budget),
        ("high_water_and_trim_count_bytes", high_water),
        ("uploads_never_overtake_recorded_work", uploads_keep_order),
        (
            "uploads_of_one_batch_do_not_share_a_buffer",
            uploads_of_one_batch,
        ),
        ("readback_of_views", readback_of_views),
        ("async_readback_does_not_block", async_does_not_block),
        ("async_readbacks_in_flight_and_late", async_in_flight),
        ("async_readback_may_be_dropped", async_dropped),
        ("a_waker_may_use_the_device", waker_uses_device),
        ("blocking_and_async_readers_mix", readers_mix),
        ("timestamps_are_plausible", timestamps),
        ("timing_covers_more_than_one_batch", timing_of_many_batches),
        ("pipeline_cache_outlives_the_device", pipeline_cache),
        ("a_bad_cache_folder_is_harmless", bad_cache),
        ("two_threads_record_on_one_device", two_threads),
        ("a_busy_neighbour_changes_no_bits", busy_neighbour),
    ];
    support_runtime::main(tests)
}

fn is_lost<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::DeviceLost { .. }))
}

// --- Adapters and profiles ---

fn adapters_open() -> Result<()> {
    let adapters = Device::adapters(false);
    assert!(!adapters.is_empty());
    for (index, (info, ..)) in adapters.iter().enumerate() {
        for wanted in [index.to_string(), info.label(), info.label().to_uppercase()] {
            let device = Device::open(DeviceOptions {
                adapter: Some(wanted.clone()),
                ..options()
            })?;
            // Two adapters of one label are told apart by index only.
            assert_eq!(device.adapter().label(), info.label(), "{wanted}");
        }
    }
    Ok(())
}

fn unknown_adapter() -> Result<()> {
    for wanted in ["no such adapter", "999", "metal9:x"] {
        let refused = Device::open(DeviceOptions {
            adapter: Some(wanted.to_string()),
            ..options()
        });
        let Err(error @ Error::UnknownAdapter { .. }) = refused else {
            panic!("{wanted} gave {refused:?}");
        };
        let message = error.to_string();
        assert!(message.contains(wanted), "{message}");
        let first = Device::adapters(false)[0].0.label();
        assert!(message.contains(&first), "{message}");
    }
    Ok(())
}

fn default_profile() -> Result<()> {
    let device = Device::open(DeviceOptions {
        limits: Limits::Default,
        ..options()
    })?;
    let caps = device.caps();
    assert_eq!(caps.max_storage_buffers, 8);
    assert_eq!(caps.max_binding_bytes, 128 << 20);
    assert_eq!(caps.max_workgroup_bytes, 16 << 10);
    assert_eq!(caps.max_invocations, 256);
    assert_eq!(caps.max_workgroups_per_axis, 65_535);
    assert!(!caps.f16 && !caps.timestamps && !caps.pipeline_cache);
    assert_eq!(caps.subgroup, None);
    let full = open();
    assert!(full.caps().max_storage_buffers >= 8);
    assert_eq!(
        full.adapter().kind == "cpu",
        full.caps().class == DeviceClass::Cpu
    );
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    assert_eq!(x.add(1.0)?.to_vec::<f32>()?, [2.0, 3.0]);
    let refused = device.time_on_device(|| Ok(()));
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
    Ok(())
}

fn send_and_sync() -> Result<()> {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>() {}
    both::<Device>();
    both::<Tensor>();
    both::<Gradients>();
    both::<Error>();
    both::<affekt::tensor::Exported>();
    send::<TensorReadback<f32>>();
    Ok(())
}

fn two_devices() -> Result<()> {
    let (a, b) = (open(), open());
    let x = Tensor::from_slice(&a, &[1.0f32, 2.0], [2])?;
    let y = Tensor::from_slice(&b, &[10.0f32, 20.0], [2])?;
    let (xs, ys) = (x.mul(3.0)?, y.mul(3.0)?);
    assert!(matches!(xs.add(&ys), Err(Error::OtherDevice { op: "add" })));
    drop(a);
    assert_eq!(xs.to_vec::<f32>()?, [3.0, 6.0]);
    assert_eq!(ys.to_vec::<f32>()?, [30.0, 60.0]);
    xs.device().destroy();
    assert!(is_lost(xs.to_vec::<f32>()));
    assert_eq!(ys.add(1.0)?.to_vec::<f32>()?, [31.0, 61.0]);
    Ok(())
}

// --- An app's own device ---

fn invalid_buffer(device: &wgpu::Device) {
    let _invalid = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("refused by validation"),
        size: 16,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE,
        mapped_at_creation: false,
    });
}

struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    errors: Arc<AtomicUsize>,
    losses: Arc<AtomicUsize>,
}

fn app(choose: impl FnOnce(wgpu::Limits) -> wgpu::Limits) -> App {
    let (device, queue) = app_device(choose);
    let errors = Arc::new(AtomicUsize::new(0));
    let losses = Arc::new(AtomicUsize::new(0));
    let seen = errors.clone();
    device.on_uncaptured_error(Arc::new(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
    }));
    let seen = losses.clone();
    device.set_device_lost_callback(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    App {
        device,
        queue,
        errors,
        losses,
    }
}

fn app_handlers() -> Result<()> {
    let app = app(|limits| limits);
    let device = Device::from_wgpu(app.device.clone(), app.queue.clone());
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], [3])?;
    assert_eq!(
        x.gelu()?.sum(&[], false)?.to_vec::<f32>()?.len(),
        1,
        "work runs on the app's device"
    );
    assert_eq!(app.errors.load(Ordering::SeqCst), 0);
    invalid_buffer(&app.device);
    assert_eq!(
        app.errors.load(Ordering::SeqCst),
        1,
        "the app's handler is in place"
    );
    app.device.destroy();
    let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
    assert_eq!(
        app.losses.load(Ordering::SeqCst),
        1,
        "the app's lost callback is in place"
    );
    Ok(())
}

/// What we do wrong stays between us and our caller: refusals, exhausted memory, work on a lost device.
fn app_sees_no_errors() -> Result<()> {
    let app = app(|limits| limits);
    let device = Device::from_wgpu(app.device.clone(), app.queue.clone());
    let x = Tensor::from_slice(&device, &[1.0f32; 12], [3, 4])?;
    device.fail_allocation(Some(1));
    assert!(x.softmax(-1).is_err());
    device.fail_allocation(None);
    let too_large = device.caps().max_buffer_bytes as usize / 4 + 1;
    let refused = Tensor::empty(&device, DType::F32, [too_large].into_shape()?);
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    let y = x.add(1.0)?;
    let waiting = y.to_vec_async::<f32>()?;
    y.mul(2.0)?.softmax(-1)?;
    app.device.destroy();
    let unnoticed = Tensor::from_slice(&device, &[1.0f32; 12], [3, 4]);
    let recorded = x.softmax(0);
    let _ = waiting.wait();
    assert!(is_lost(y.to_vec::<f32>()));
    assert!(is_lost(x.softmax(-1)));
    drop((unnoticed, recorded));
    drop((x, y, device));
    assert_eq!(app.errors.load(Ordering::SeqCst), 0);
    Ok(())
}

fn read_raw(app: &App, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Vec<f32> {
    let staging = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = app.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, size);
    app.queue.submit([encoder.finish()]);
    staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
    app.device
        .poll(wgpu::PollType::wait_indefinitely())
        .unwrap();
    let view = staging.slice(..).get_mapped_range().unwrap();
    bytemuck::pod_collect_to_vec(&view)
}

fn export() -> Result<()> {
    let app = app(|limits| limits);
    let device = Device::from_wgpu(app.device.clone(), app.queue.clone());
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], [4])?;
    // Pending, with a batch open: exporting computes and submits it.
    let y = x.mul(2.0)?;
    x.softmax(0)?;
    let exported = y.export()?;
    assert_eq!(exported.size, 16);
    drop((x, y));
    for i in 0..20 {
        // Same size class as the exported buffer, which must not be handed out again.
        Tensor::from_slice(&device, &[i as f32; 4], [4])?.softmax(0)?;
    }
    device.trim();
    let got = read_raw(&app, exported.buffer(), exported.offset, exported.size);
    assert_eq!(got, [2.0, 4.0, 6.0, 8.0]);
    Ok(())
}

// --- Limits ---

fn folding() -> Result<()> {
    let device = open();
    let before = device.stream_stats().n_dispatches;
    let n = 65_535 * 256 + 777;
    let x = Tensor::from_slice(&device, &[1u32], [1])?.expand([n])?;
    let data: Vec<u32> = (0..n as u32).collect();
    let y = Tensor::from_slice(&device, &data, [n])?.add(&x)?;
    y.buffer_of_test()?;
    assert_eq!(device.stream_stats().n_dispatches - before, 1);
    let got = y.to_vec::<u32>()?;
    assert!(got.iter().zip(&data).all(|(y, x)| *y == x + 1));
    device.trim();
    Ok(())
}

/// Computes a pending tensor without reading it.
trait Computed {
    fn buffer_of_test(&self) -> Result<()>;
}

impl Computed for Tensor {
    fn buffer_of_test(&self) -> Result<()> {
        self.export().map(drop)
    }
}

fn folding_at_small_limits() -> Result<()> {
    let app = app(|mut limits| {
        limits.max_compute_workgroups_per_dimension = 7;
        limits
    });
    let device = Device::from_wgpu(app.device, app.queue);
    let n = 256 * 40 + 3;
    let data: Vec<i32> = (0..n).collect();
    let x = Tensor::from_slice(&device, &data, [n as usize])?;
    let y: Vec<i32> = x.mul(3)?.to_vec()?;
    assert!(y.iter().zip(&data).all(|(y, x)| *y == 3 * x));
    let rows = Tensor::from_slice(&device, &data[..40 * 64], [64 * 40, 1])?;
    assert_eq!(rows.sum(&[1], false)?.to_vec::<i32>()?, data[..40 * 64]);
    // An odd number is not worked through by quads.
    let n = 256 * 50 - 1;
    let wide = Tensor::from_slice(&device, &vec![1.0f32; n], [n])?;
    let error = wide.mul(2.0)?.to_vec::<f32>().unwrap_err();
    let Error::Limit {
        requested, limit, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((requested, limit), (50, 49));
    // What failed leaves nothing behind.
    assert_eq!(x.add(1)?.to_vec::<i32>()?[5], 6);
    Ok(())
}

fn beyond_one_binding() -> Result<()> {
    let device = open();
    let n = 40 << 20;
    if device.caps().max_binding_bytes >= 4 * n as u64 {
        // This adapter binds it whole; chunks_at_small_limits covers the rest.
        return Ok(());
    }
    let data: Vec<u32> = (0..n as u32)
        .map(|i| i.wrapping_mul(2_654_435_761))
        .collect();
    let x = Tensor::from_slice(&device, &data, [n])?;
    let y = x.add(7)?;
    drop(x);
    let got = y.to_vec::<u32>()?;
    let wrong = got
        .iter()
        .zip(&data)
        .position(|(y, x)| *y != x.wrapping_add(7));
    assert_eq!(wrong, None);
    drop(got);
    let refused = y.sum(&[], false);
    assert!(
        matches!(refused, Err(Error::Limit { requested, limit, .. }) if requested > limit),
        "{refused:?}"
    );
    drop(y);
    device.trim();
    Ok(())
}

/// Bytes of one binding on [`small_bindings`].
const SMALL: usize = 64 << 10;

fn small_bindings() -> (Device, Arc<AtomicUsize>) {
    let app = app(|mut limits| {
        limits.max_storage_buffer_binding_size = SMALL as u64;
        limits
    });
    (Device::from_wgpu(app.device, app.queue), app.errors)
}

fn chunks_at_small_limits() -> Result<()> {
    let (device, errors) = small_bindings();
    let mut numbers = Numbers(5);
    for n in [SMALL / 4 + 1, SMALL - 1, 3 * SMALL / 4 + 129] {
        let a: Vec<i32> = (0..n).map(|_| numbers.next() as i32).collect();
        let b: Vec<i32> = (0..n).map(|_| numbers.next() as i32).collect();
        let x = Tensor::from_slice(&device, &a, [n])?;
        let y = Tensor::from_slice(&device, &b, [n])?;
        let one = Tensor::from_slice(&device, &[5i32], [])?;
        let got: Vec<i32> = x.mul(&y)?.add(&one)?.to_vec()?;
        let expected: Vec<i32> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| a.wrapping_mul(*b).wrapping_add(5))
            .collect();
        assert!(got == expected, "{n}");
    }
    // Rows that are broadcast, and f16, whose pairs share a word.
    let (rows, cols) = (129, 1031);
    let a: Vec<f16> = (0..rows * cols)
        .map(|i| f16::from_f32((i % 2039) as f32))
        .collect();
    let b: Vec<f16> = (0..cols).map(|i| f16::from_f32((i % 7) as f32)).collect();
    let x = Tensor::from_slice(&device, &a, [rows, cols])?;
    let y = Tensor::from_slice(&device, &b, [cols])?;
    let got: Vec<f16> = x.add(&y)?.to_vec()?;
    for (i, got) in got.iter().enumerate() {
        let expected = f16::from_f32(a[i].to_f32() + b[i % cols].to_f32());
        assert_eq!(*got, expected, "{i}");
    }
    // One number of a large tensor, stretched: the binding need not hold all of it.
    let last = Tensor::from_slice(&device, &vec![1.0f32; SMALL], [SMALL, 1])?.permute(&[1, 0])?;
    let sum = last.add(1.0)?;
    assert_eq!(sum.to_vec::<f32>()?, vec![2.0; SMALL]);
    assert_eq!(errors.load(Ordering::SeqCst), 0);
    Ok(())
}

fn operators_beyond_one_binding() -> Result<()> {
    let (device, errors) = small_bindings();
    let n = SMALL / 4 + 64;
    let big = Tensor::from_slice(&device, &vec![1.0f32; n], [n / 64, 64])?;
    let small = Tensor::from_slice(&device, &[1.0f32; 64], [64])?;
    let index = Tensor::from_slice(&device, &vec![0u32; n], [n / 64, 64])?;
    let few = Tensor::from_slice(&device, &[0u32; 64], [1, 64])?;
    let tall = Tensor::from_slice(&device, &vec![1.0f32; n], [n])?;
    let wide = Tensor::from_slice(&device, &vec![1.0f32; n], [1, n])?;
    let strided = big.permute(&[1, 0])?;
    type Call<'a> = Box<dyn Fn() -> Result<Tensor> + 'a>;
    let calls: Vec<(&str, Call)> = vec![
        ("sum of all", Box::new(|| big.sum(&[], false))),
        ("sum of rows", Box::new(|| big.sum(&[1], false))),
        ("sum of a view", Box::new(|| strided.sum(&[1], false))),
        ("max", Box::new(|| big.max(&[0], true))),
        ("softmax", Box::new(|| big.softmax(-1))),
        ("softmax of a view", Box::new(|| strided.softmax(-1))),
        ("softmax of one row", Box::new(|| wide.softmax(-1))),
        (
            "layer_norm",
            Box::new(|| big.layer_norm(&small, &small, 1e-5)),
        ),
        (
            "layer_norm, weights",
            Box::new(|| wide.layer_norm(&tall, &tall, 1e-5)),
        ),
        ("gather from", Box::new(|| big.gather(0, &few))),
        ("gather to", Box::new(|| big.gather(0, &index))),
        (
            "scatter_add to",
            Box::new(|| big.scatter_add(0, &few, &small.reshape([1, 64])?)),
        ),
        (
            "scatter_add from",
            Box::new(|| {
                small
                    .reshape([1, 64])?
                    .expand([n / 64, 64])?
                    .scatter_add(0, &index, &big)
            }),
        ),
    ];
    for (name, call) in &calls {
        let before = device.stream_stats().n_dispatches;
        let refused = call().and_then(|t| t.to_vec::<f32>());
        let after = device.stream_stats().n_dispatches;
        match refused {
            Err(Error::Limit {
                requested, limit, ..
            }) => assert!(requested > limit, "{name}: {requested} within {limit}"),
            other => panic!("{name}: {:?}", other.map(|v| v.len())),
        }
        // A strided input is made dense in chunks first; nothing else may run.
        if !name.contains("view") && !name.contains("scatter_add from") {
            assert_eq!(after, before, "{name} dispatched before it refused");
        }
    }
    // Gradients that need what does not fit say so as well.
    let x = big.requires_grad()?;
    let refused = x.mul(2.0)?.backward_from(&big)?;
    assert_eq!(refused.get(&x).unwrap().to_vec::<f32>()?[..2], [2.0, 2.0]);
    let bias = small.requires_grad()?;
    let refused = big.add(&bias)?.backward_from(&big);
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    device.wait()?;
    assert_eq!(
        errors.load(Ordering::SeqCst),
        0,
        "the driver refused something"
    );
    assert_eq!(small.add(1.0)?.to_vec::<f32>()?, [2.0; 64]);
    Ok(())
}

fn sizes_beyond_limits() -> Result<()> {
    let device = open();
    let elements = device.caps().max_buffer_bytes / 4 + 1;
    let shape = [elements as usize];
    let refused = shape
        .into_shape()
        .and_then(|s| Tensor::empty(&device, DType::F32, s));
    let Err(Error::Limit {
        requested, limit, ..
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(requested > limit);
    Ok(())
}

fn expanding_beyond_u32() -> Result<()> {
    let device = open();
    let one = Tensor::from_slice(&device, &[1.0f32], [1, 1])?;
    let limit = |r: Result<Tensor>| matches!(r, Err(Error::Limit { .. }));
    assert!(limit(one.expand([1 << 16, 1 << 16])));
    assert!(limit(Tensor::full(&device, 1.0f32, [1 << 20, 1 << 20])));
    let column = Tensor::full(&device, 1.0f32, [1 << 20, 1])?;
    let row = Tensor::full(&device, 1.0f32, [1, 1 << 20])?;
    assert!(limit(column.add(&row)));
    // The largest that kernels can count.
    let sum = Tensor::full(&device, 1u32, [1 << 12, 1 << 10])?.sum(&[], false)?;
    assert_eq!(sum.to_vec::<u32>()?, [1 << 22]);
    Ok(())
}

// --- Loss ---

fn lost_device() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    let parameter = x.requires_grad()?;
    let pending = x.mul(2.0)?;
    let loss = parameter.mul(&x)?.sum(&[], false)?;
    let row = x.softmax(0)?;
    device.destroy();
    assert!(is_lost(Tensor::from_slice(&device, &[1.0f32], [1])));
    assert!(is_lost(Tensor::full(&device, 1.0f32, [4])));
    assert!(is_lost(Tensor::empty(
        &device,
        DType::F32,
        [4].into_shape()?
    )));
    assert!(is_lost(x.add(1.0)));
    assert!(is_lost(pending.add(1.0)));
    assert!(is_lost(x.softmax(0)));
    assert!(is_lost(x.sum(&[], false)));
    assert!(is_lost(pending.to_vec::<f32>()));
    assert!(is_lost(row.to_vec::<f32>()));
    assert!(is_lost(row.item::<f32>()) || row.numel() != 1);
    assert!(is_lost(row.to_vec_async::<f32>().map(drop)));
    assert!(is_lost(row.export().map(drop)));
    assert!(is_lost(loss.backward()));
    assert!(is_lost(x.cast(DType::F16).and_then(|t| t.contiguous())));
    assert!(is_lost(device.flush()));
    assert!(is_lost(device.wait()));
    assert!(is_lost(device.time_on_device(|| Ok(()))));
    assert!(is_lost(pollster::block_on(
        device.prepare(&affekt::ops::all().collect::<Vec<_>>())
    )));
    device.trim();
    let _ = (device.memory(), device.stream_stats());
    let again = device.recover()?;
    let y = Tensor::from_slice(&again, &[1.0f32, 2.0], [2])?;
    assert!(matches!(
        y.add(&x),
        Err(Error::OtherDevice { .. } | Error::DeviceLost { .. })
    ));
    assert_eq!(y.add(1.0)?.to_vec::<f32>()?, [2.0, 3.0]);
    // Whatever refers to the lost device goes quietly, in any order.
    drop(device);
    drop((pending, loss));
    drop((x, parameter, row));
    assert_eq!(y.softmax(0)?.to_vec::<f32>()?.len(), 2);
    Ok(())
}

fn lost_in_mid_batch() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32; 64], [64])?;
    let mut rows = Vec::new();
    for _ in 0..70 {
        rows.push(x.softmax(0)?);
    }
    // The driver's device goes without a word to us, with a batch open and one in flight.
    device.wgpu().0.destroy();
    for row in &rows {
        let read = row.to_vec::<f32>();
        assert!(is_lost(read.clone()), "{read:?}");
    }
    assert!(is_lost(device.flush()));
    Ok(())
}

fn lost_with_readbacks() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &vec![1.0f32; 1 << 16], [256, 256])?;
    let mut readbacks = Vec::new();
    for _ in 0..8 {
        readbacks.push(x.softmax(-1)?.to_vec_async::<f32>()?);
    }
    device.destroy();
    for readback in readbacks {
        match readback.wait() {
            Ok(numbers) => assert_eq!(numbers.len(), 1 << 16),
            Err(Error::DeviceLost { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    Ok(())
}

fn lost_app_device() -> Result<()> {
    let first = app(|limits| limits);
    let device = Device::from_wgpu(first.device.clone(), first.queue.clone());
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    device.mark_lost("the app says so");
    let error = x.to_vec::<f32>().unwrap_err();
    assert!(error.to_string().contains("the app says so"), "{error}");
    assert!(matches!(device.recover(), Err(Error::Unsupported { .. })));
    let second = app(|limits| limits);
    let recovered = device.recover_with(second.device.clone(), second.queue.clone());
    let y = Tensor::from_slice(&recovered, &[1.0f32, 2.0], [2])?;
    assert_eq!(y.add(1.0)?.to_vec::<f32>()?, [2.0, 3.0]);
    // A loss that nobody tells: the next readback notices, and everything after it.
    second.device.destroy();
    let read = y.to_vec::<f32>();
    assert!(is_lost(read.clone()), "{read:?}");
    assert!(is_lost(y.add(1.0)));
    let _ = second.device.poll(wgpu::PollType::Poll);
    assert_eq!(second.losses.load(Ordering::SeqCst), 1);
    assert_eq!(second.errors.load(Ordering::SeqCst), 0);
    // The same by an asynchronous readback.
    let third = app(|limits| limits);
    let device = Device::from_wgpu(third.device.clone(), third.queue.clone());
    let z = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    third.device.destroy();
    let lost = z.to_vec_async::<f32>().and_then(TensorReadback::wait);
    assert!(is_lost(lost));
    assert!(is_lost(device.flush()));
    Ok(())
}

// --- Memory ---

struct Step {
    weight: Tensor,
    bias: Tensor,
}

impl Step {
    fn new(device: &Device) -> Result<Self> {
        let mut numbers = Numbers(3);
        Ok(Step {
            weight: Tensor::from_slice(device, &numbers.units(20), [4, 5])?.requires_grad()?,
            bias: Tensor::from_slice(device, &numbers.units(5), [5])?.requires_grad()?,
        })
    }

    /// Forward, backward and an update of a small model; what it returns is read back both ways.
    fn run(&self, device: &Device, seed: u64) -> Result<(Step, Vec<u32>)> {
        let mut numbers = Numbers(seed);
        let x = Tensor::from_slice(device, &numbers.units(60), [3, 4, 5])?;
        let h = x.mul(&self.weight)?.add(&self.bias)?.gelu()?;
        let ones = Tensor::full(device, 1.0f32, [5])?;
        let zeros = Tensor::full(device, 0.0f32, [5])?;
        let h = h.layer_norm(&ones, &zeros, 1e-5)?;
        let loss = h.softmax(-1)?.mul(&x)?.sum(&[], false)?;
        let gradients = loss.backward()?;
        let update = |parameter: &Tensor| -> Result<Tensor> {
            let gradient = gradients.get(parameter).expect("the loss depends on it");
            parameter
                .detach()
                .add(&gradient.detach().mul(-0.1)?)?
                .requires_grad()
        };
        let next = Step {
            weight: update(&self.weight)?,
            bias: update(&self.bias)?,
        };
        let loss = loss.to_vec_async::<f32>()?;
        let mut out = bits(&next.weight.to_vec::<f32>()?);
        out.extend(bits(&next.bias.to_vec::<f32>()?));
        out.extend(bits(&loss.wait()?));
        Ok((next, out))
    }
}

fn failed_allocations() -> Result<()> {
    let device = open();
    let start = Step::new(&device)?;
    let (after, undisturbed) = start.run(&device, 1)?;
    let (_, second) = after.run(&device, 2)?;
    let before = device.n_allocations();
    start.run(&device, 1)?;
    let n = device.n_allocations() - before;
    assert!(n > 10, "{n} allocations");
    let held = start.weight.detach().mul(3.0)?;
    let expected: Vec<f32> = {
        let w: Vec<f32> = start.weight.to_vec()?;
        w.iter().map(|x| x * 3.0).collect()
    };
    let mut in_use = None;
    for nth in 1..=n {
        device.fail_allocation(Some(nth));
        match start.run(&device, 1).map(|(_, bits)| bits) {
            Err(Error::OutOfMemory { requested, .. }) => assert!(requested > 0),
            other => panic!("allocation {nth} of {n}: {other:?}"),
        }
        device.fail_allocation(None);
        let (next, again) = start.run(&device, 1)?;
        assert_eq!(again, undisturbed, "after allocation {nth} of {n} failed");
        assert_eq!(next.run(&device, 2)?.1, second, "the step after");
        drop(next);
        // A failed step keeps nothing.
        let now = device.memory().in_use;
        assert_eq!(*in_use.get_or_insert(now), now, "allocation {nth} of {n}");
    }
    assert_eq!(held.to_vec::<f32>()?, expected);
    Ok(())
}

fn budget() -> Result<()> {
    let device = Device::open(DeviceOptions {
        memory_budget: Some(1 << 20),
        ..options()
    })?;
    let quarter = || Tensor::from_slice(&device, &vec![1.0f32; 1 << 16], [1 << 16]);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(quarter()?);
    }
    let used = device.memory().in_use;
    let half = || Tensor::from_slice(&device, &vec![1.0f32; 1 << 17], [1 << 17]);
    match half() {
        Err(Error::OutOfMemory { requested, in_use }) => {
            assert_eq!((requested, in_use), (1 << 19, used));
        }
        other => panic!("{other:?}"),
    }
    // A freed buffer of another class makes room: the pool gives it back and tries again.
    held.pop();
    assert_eq!(device.memory().pool, used);
    let larger = half()?;
    assert!(device.memory().pool <= 1 << 20);
    assert_eq!(
        larger.add(1.0).and_then(|y| y.to_vec::<f32>()).unwrap_err(),
        {
            Error::OutOfMemory {
                requested: 1 << 19,
                in_use: 2 * (1 << 18) + (1 << 19),
            }
        }
    );
    held.clear();
    assert_eq!(larger.add(1.0)?.to_vec::<f32>()?[0], 2.0);
    Ok(())
}

fn high_water() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32; 1024], [1024])?;
    let one = device.memory().in_use;
    device.reset_high_water();
    assert_eq!(device.memory().high_water, one);
    let (a, b) = (x.softmax(0)?, x.softmax(0)?);
    drop((a, b));
    let stats = device.memory();
    assert_eq!((stats.in_use, stats.high_water), (one, 3 * one));
    assert_eq!(stats.pool, 3 * one);
    device.trim();
    let stats = device.memory();
    assert_eq!((stats.pool, stats.n_buffers), (one, 1));
    device.reset_high_water();
    assert_eq!(device.memory().high_water, one);
    // The number of bind groups does not grow when their buffers are gone.
    assert_eq!(device.memory().n_bind_groups, 0);
    assert_eq!(x.to_vec::<f32>()?, [1.0; 1024]);
    Ok(())
}

// --- Uploads ---

fn uploads_keep_order() -> Result<()> {
    let device = open();
    let mut results = Vec::new();
    for i in 0..200u32 {
        // The upload's buffer is free as soon as its sum is recorded, and of the class the next upload asks for.
        let x = Tensor::from_slice(&device, &[i; 64], [64])?;
        results.push((x.sum(&[0], false)?, i));
        drop(x);
        if i % 37 == 36 {
            device.flush()?;
        }
    }
    for (sum, i) in results {
        assert_eq!(sum.item::<u32>()?, 64 * i);
    }
    // The pool does reuse buffers of submitted batches: without that, 200 would be needed.
    let buffers = device.memory().n_buffers;
    assert!(buffers < 300, "{buffers} buffers");
    Ok(())
}

fn uploads_of_one_batch() -> Result<()> {
    let device = open();
    // A result that is dropped before anything reads it frees a buffer that recorded work still writes.
    let x = Tensor::from_slice(&device, &[1.0f32; 64], [64])?;
    for i in 0..100 {
        drop(x.softmax(0)?);
        let y = Tensor::from_slice(&device, &[i as f32; 64], [64])?;
        assert_eq!(y.device().stream_stats().n_submissions, (i as u64 + 1) / 64);
        if i == 99 {
            assert_eq!(y.to_vec::<f32>()?, [99.0; 64]);
        }
    }
    Ok(())
}

// --- Readback ---

fn readback_of_views() -> Result<()> {
    let device = open();
    let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&device, &data, [2, 3, 4])?;
    let t: Vec<f32> = x.permute(&[2, 0, 1])?.to_vec()?;
    let expected: Vec<f32> = (0..4)
        .flat_map(|k| (0..2).flat_map(move |i| (0..3).map(move |j| (i * 12 + j * 4 + k) as f32)))
        .collect();
    assert_eq!(t, expected);
    let row = Tensor::from_slice(&device, &[7.0f32, 8.0], [2, 1])?;
    assert_eq!(
        row.expand([3, 2, 2])?.to_vec::<f32>()?,
        [7.0, 7.0, 8.0, 8.0].repeat(3)
    );
    let empty = Tensor::from_slice::<f32>(&device, &[], [0, 3])?;
    assert_eq!(empty.to_vec::<f32>()?, [0.0; 0]);
    assert_eq!(empty.add(1.0)?.to_vec::<f32>()?, [0.0; 0]);
    assert_eq!(pollster::block_on(empty.to_vec_async::<f32>()?)?, [0.0; 0]);
    assert_eq!(empty.sum(&[0], false)?.to_vec::<f32>()?, [0.0; 3]);
    for n in [1usize, 2, 3, 5, 127] {
        let halves: Vec<f16> = (0..n).map(|i| f16::from_f32(i as f32)).collect();
        let h = Tensor::from_slice(&device, &halves, [n])?;
        assert_eq!(h.to_vec::<f16>()?, halves);
        assert_eq!(pollster::block_on(h.to_vec_async::<f16>()?)?, halves);
        let plus: Vec<f16> = (0..n).map(|i| f16::from_f32(i as f32 + 1.0)).collect();
        assert_eq!(h.add(1.0)?.to_vec::<f16>()?, plus);
    }
    assert!(matches!(x.to_vec::<u32>(), Err(Error::Dtype { .. })));
    assert!(matches!(x.item::<f32>(), Err(Error::Shape { .. })));
    Ok(())
}

/// A waker that counts, remembers the thread that called it, and unparks the one that made it.
struct Alarm {
    thread: std::thread::Thread,
    rang: AtomicBool,
    by: Mutex<Option<(ThreadId, Option<String>)>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let current = std::thread::current();
        *self.by.lock().unwrap() = Some((current.id(), current.name().map(str::to_string)));
        self.rang.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn alarm() -> Arc<Alarm> {
    Arc::new(Alarm {
        thread: std::thread::current(),
        rang: AtomicBool::new(false),
        by: Mutex::new(None),
    })
}

/// Enough for any device to be busy with while the host takes a step.
fn heavy(device: &Device) -> Result<Tensor> {
    let mut x = Tensor::from_slice(device, &vec![0.5f32; 1 << 20], [1024, 1024])?;
    for _ in 0..8 {
        x = x.softmax(-1)?;
    }
    Ok(x)
}

fn async_does_not_block() -> Result<()> {
    let device = open();
    // Compiled beforehand, so that only the device's work is waited for.
    heavy(&device)?.to_vec::<f32>()?;
    let result = heavy(&device)?.sum(&[], false)?;
    let readback = result.to_vec_async::<f32>()?;
    let alarm = alarm();
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    let mut readback = pin!(readback);
    let mut steps = 0u64;
    let mut polls = 0;
    // The thread does work of its own and polls only when it has been called.
    let numbers = loop {
        polls += 1;
        match readback.as_mut().poll(&mut context) {
            Poll::Ready(numbers) => break numbers?,
            Poll::Pending => {}
        }
        while !alarm.rang.swap(false, Ordering::SeqCst) {
            steps += 1;
            std::thread::yield_now();
        }
    };
    assert!((numbers[0] - 1024.0).abs() < 0.1, "{numbers:?}");
    assert_eq!(polls, 2, "once to ask, once when called");
    assert!(steps > 0, "the thread was free while the device worked");
    let by = alarm.by.lock().unwrap().clone().unwrap();
    assert_ne!(by.0, std::thread::current().id());
    assert_eq!(by.1.as_deref(), Some("affekt-readback"));
    Ok(())
}

fn async_in_flight() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32; 64], [64])?;
    let mut late = Vec::new();
    let mut total = Tensor::from_slice(&device, &[0u32], [1])?;
    for step in 0..100u32 {
        total = total.add(1)?;
        let now = total.to_vec_async::<u32>()?;
        late.push((step, now));
        drop(x.softmax(0)?);
        // Scalars are read ten steps late.
        if late.len() > 10 {
            let (step, readback) = late.remove(0);
            assert_eq!(readback.wait()?, [step + 1]);
        }
    }
    late.reverse();
    for (step, readback) in late {
        assert_eq!(pollster::block_on(readback)?, [step + 1]);
    }
    Ok(())
}

fn async_dropped() -> Result<()> {
    let device = open();
    let x = heavy(&device)?;
    drop(x.to_vec_async::<f32>()?);
    let kept = x.sum(&[1], false)?.to_vec_async::<f32>()?;
    drop(x);
    // The last handle goes while a readback is in flight; the numbers still come.
    drop(device);
    assert_eq!(kept.wait()?.len(), 1024);
    let device = open();
    let unheard = heavy(&device)?.to_vec_async::<f32>()?;
    drop(device);
    drop(unheard);
    Ok(())
}

/// A waker that polls and records inline, as simple executors do: no lock of ours may be held when it is called.
fn waker_uses_device() -> Result<()> {
    struct Inline {
        device: Device,
        called: Mutex<Option<Result<Vec<f32>>>>,
        done: AtomicBool,
    }
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            let work = || {
                let x = Tensor::from_slice(&self.device, &[1.0f32, 2.0], [2])?;
                x.add(1.0)?.to_vec::<f32>()
            };
            let result = work();
            *self.called.lock().unwrap() = Some(result);
            self.done.store(true, Ordering::SeqCst);
        }
    }
    let device = open();
    heavy(&device)?.to_vec::<f32>()?;
    let small = Tensor::from_slice(&device, &[1.0f32; 4], [4])?;
    let inline = Arc::new(Inline {
        device: device.clone(),
        called: Mutex::new(None),
        done: AtomicBool::new(false),
    });
    let waker = Waker::from(inline.clone());
    let mut readback = pin!(heavy(&device)?.to_vec_async::<f32>()?);
    let mut context = Context::from_waker(&waker);
    if readback.as_mut().poll(&mut context).is_ready() {
        // A device too fast to be waited for has no waker to call.
        return Ok(());
    }
    let start = Instant::now();
    while !inline.done.load(Ordering::SeqCst) {
        assert!(start.elapsed().as_secs() < 60, "the waker deadlocked");
        // This thread waits for the device as well, and so may be the one that runs the callback: here, and wherever
        // recording waits until the device has caught up.
        for _ in 0..20 {
            small.softmax(0)?;
            device.flush()?;
        }
        device.wait()?;
    }
    let called = inline.called.lock().unwrap().take().unwrap();
    assert_eq!(called?, [2.0, 3.0]);
    assert!(readback.as_mut().poll(&mut context).is_ready());
    Ok(())
}

/// The helper thread may run the callback of a blocking read: that is not a loss.
fn readers_mix() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32; 256], [256])?;
    let expected: Vec<f32> = x.softmax(0)?.to_vec()?;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|t| {
                let (x, expected) = (&x, &expected);
                scope.spawn(move || -> Result<()> {
                    let mut late = Vec::new();
                    for i in 0..300 {
                        let y = x.softmax(0)?;
                        if (i + t) % 2 == 0 {
                            assert_eq!(y.to_vec::<f32>()?, *expected);
                        } else {
                            late.push(y.to_vec_async::<f32>()?);
                        }
                        if late.len() > 4 {
                            assert_eq!(late.remove(0).wait()?, *expected);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        readers
            .into_iter()
            .try_for_each(|r| r.join().expect("no reader panics"))
    })
}

// --- Timestamps ---

fn timestamps() -> Result<()> {
    let device = open();
    if !device.caps().timestamps {
        let refused = device.time_on_device(|| Ok(()));
        assert!(matches!(refused, Err(Error::Unsupported { .. })));
        return Ok(());
    }
    let small = Tensor::from_slice(&device, &[1.0f32; 64], [1, 64])?;
    let large = Tensor::from_slice(&device, &vec![1.0f32; 1 << 20], [1024, 1024])?;
    small.softmax(-1)?;
    device.wait()?;
    let time = |x: &Tensor| {
        let start = Instant::now();
        let ns = device.time_on_device(|| x.softmax(-1).map(drop))?;
        let wall = start.elapsed().as_nanos() as f64;
        assert!(ns > 0.0 && ns <= wall, "{ns} ns in {wall} ns of wall time");
        Ok::<f64, Error>(ns)
    };
    let (few, many) = (time(&small)?, time(&large)?);
    assert!(many > few, "{few} ns for 64 elements, {many} ns for 2^20");
    // An error inside is handed on, and the stream goes on.
    let failed = device.time_on_device(|| {
        Err(Error::Gradient {
            message: "no".into(),
        })
    });
    assert!(matches!(failed, Err(Error::Gradient { .. })));
    assert_eq!(small.add(1.0)?.to_vec::<f32>()?[0], 2.0);
    Ok(())
}

fn timing_of_many_batches() -> Result<()> {
    let device = open();
    if !device.caps().timestamps {
        return Ok(());
    }
    let x = Tensor::from_slice(&device, &vec![1.0f32; 1 << 16], [64, 1024])?;
    x.softmax(-1)?;
    let time = |n: usize| {
        device.time_on_device(|| {
            for _ in 0..n {
                x.softmax(-1)?;
            }
            Ok(())
        })
    };
    let (one, ten) = (time(60)?, time(600)?);
    assert!(ten > 3.0 * one, "60: {one} ns, 600: {ten} ns");
    Ok(())
}

// --- Caches ---

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("affekt-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn cached(dir: &Path) -> Result<Device> {
    Device::open(DeviceOptions {
        cache_dir: Some(dir.to_path_buf()),
        verify: true,
        ..options()
    })
}

fn cache_file(dir: &Path) -> Option<PathBuf> {
    std::fs::read_dir(dir)
        .ok()?
        .map(|e| e.unwrap().path())
        .find(|p| !p.to_string_lossy().contains("verdicts"))
}

fn pipeline_cache() -> Result<()> {
    let (a, b) = (folder("cache-a"), folder("cache-b"));
    let use_softmax = |device: &Device| -> Result<()> {
        let x = Tensor::from_slice(device, &[0.0f32; 4], [4])?;
        assert_eq!(x.softmax(0)?.to_vec::<f32>()?, [0.25; 4]);
        Ok(())
    };
    let use_sum = |device: &Device| -> Result<()> {
        let x = Tensor::from_slice(device, &[1.0f32; 4], [4])?;
        assert_eq!(x.sum(&[], false)?.to_vec::<f32>()?, [4.0]);
        Ok(())
    };
    let device = cached(&a)?;
    let supported = device.caps().pipeline_cache;
    use_softmax(&device)?;
    drop(device);
    let verdicts = std::fs::read_dir(&a).unwrap().any(|e| {
        e.unwrap()
            .file_name()
            .to_string_lossy()
            .contains("verdicts")
    });
    assert!(verdicts, "verdicts are kept");
    if supported {
        let first = std::fs::read(cache_file(&a).expect("it was written")).unwrap();
        assert!(!first.is_empty());
        // A device that compiles another kernel writes both back only if it has read the first.
        let device = cached(&a)?;
        use_sum(&device)?;
        drop(device);
        let device = cached(&b)?;
        use_sum(&device)?;
        drop(device);
        let both = std::fs::read(cache_file(&a).unwrap()).unwrap();
        let one = std::fs::read(cache_file(&b).unwrap()).unwrap();
        // lavapipe's cache is a header and nothing else, whatever was compiled.
        let empty = one.len() < 256;
        assert!(
            empty || both.len() > one.len(),
            "{} and {}",
            both.len(),
            one.len()
        );
    }
    let left = std::fs::read_dir(&a)
        .unwrap()
        .any(|e| e.unwrap().path().extension().is_some_and(|x| x == "tmp"));
    assert!(!left, "temporary files stay behind");
    let _ = std::fs::remove_dir_all(&a);
    let _ = std::fs::remove_dir_all(&b);
    Ok(())
}

fn bad_cache() -> Result<()> {
    let dir = folder("cache-bad");
    let softmax = |device: &Device| -> Result<Vec<f32>> {
        Tensor::from_slice(device, &[0.0f32; 4], [4])?
            .softmax(0)?
            .to_vec()
    };
    let device = cached(&dir)?;
    softmax(&device)?;
    drop(device);
    let files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    for rubbish in [&b""[..], b"rubbish", &[0xff; 4096]] {
        for file in &files {
            std::fs::write(file, rubbish).unwrap();
        }
        assert_eq!(softmax(&cached(&dir)?)?, [0.25; 4]);
    }
    // Cut short in the middle.
    for file in &files {
        let data = std::fs::read(file).unwrap();
        std::fs::write(file, &data[..data.len() / 2]).unwrap();
    }
    assert_eq!(softmax(&cached(&dir)?)?, [0.25; 4]);
    // A folder that cannot be made, as its parent is a file; permissions would not stop root.
    let below = dir.join("file");
    std::fs::write(&below, b"").unwrap();
    assert_eq!(softmax(&cached(&below.join("cache"))?)?, [0.25; 4]);
    let mut permissions = std::fs::metadata(&dir).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&dir, permissions.clone()).unwrap();
    assert_eq!(softmax(&cached(&dir)?)?, [0.25; 4]);
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "a temporary folder of this test"
    )]
    permissions.set_readonly(false);
    std::fs::set_permissions(&dir, permissions).unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}

// --- Threads ---

fn two_threads() -> Result<()> {
    let device = open();
    let shared = Tensor::from_slice(&device, &[2.0f32; 32], [32])?.mul(1.5)?;
    let work = |seed: u64| -> Result<Vec<u32>> {
        let mut numbers = Numbers(seed);
        let mut step = Step::new(&device)?;
        let mut out = Vec::new();
        for i in 0..60 {
            let (next, bits) = step.run(&device, numbers.next())?;
            step = next;
            out = bits;
            // Both threads compute one pending value at once.
            assert_eq!(shared.mul(2.0)?.to_vec::<f32>()?, [6.0; 32]);
            if i % 7 == 0 {
                device.trim();
            }
        }
        Ok(out)
    };
    std::thread::scope(|scope| {
        let a = scope.spawn(|| work(1));
        let b = scope.spawn(|| work(1));
        let (a, b) = (a.join().unwrap()?, b.join().unwrap()?);
        assert_eq!(a, b);
        Ok(())
    })
}

fn busy_neighbour() -> Result<()> {
    let train = |device: &Device| -> Result<Vec<u32>> {
        let mut step = Step::new(device)?;
        let mut out = Vec::new();
        for seed in 0..40 {
            let (next, bits) = step.run(device, seed)?;
            step = next;
            out.extend(bits);
        }
        Ok(out)
    };
    let alone = train(&open())?;
    let device = open();
    let stop = AtomicBool::new(false);
    let disturbed = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| -> Result<u64> {
            let mut rounds = 0;
            let x = Tensor::from_slice(&device, &[0.5f32; 60], [3, 4, 5])?;
            while !stop.load(Ordering::SeqCst) {
                let y = x.add(rounds as f64)?.softmax(-1)?.sum(&[0], false)?;
                y.to_vec::<f32>()?;
                Tensor::from_slice(&device, &[9.0f32; 60], [60])?;
                rounds += 1;
            }
            Ok(rounds)
        });
        let disturbed = train(&device);
        stop.store(true, Ordering::SeqCst);
        assert!(neighbour.join().unwrap()? > 0);
        disturbed
    })?;
    assert_eq!(disturbed, alone);
    Ok(())
}
