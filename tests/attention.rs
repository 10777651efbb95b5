//! Window attention as its callers count on it: nothing leaks over the seam, the table's rows are Swin's, it equals the
//! same thing composed of rolls, permutes, products and a softmax, and it needs neither their memory nor their kernels.

mod support_runtime;

use std::process::ExitCode;

use affekt::ops::attention::WindowAttention;
use affekt::ops::probe::Numbers;
use affekt::{Device, Result, Shape, Tensor};
use support_runtime::{main as run, open};

fn main() -> ExitCode {
    run(&[
        ("the_seam_is_tight", the_seam_is_tight),
        ("table_rows_are_swins", table_rows_are_swins),
        ("equals_the_composition", equals_the_composition),
        ("a_large_window_is_the_grid", a_large_window_is_the_grid),
        ("memory_stays_linear", memory_stays_linear),
        ("one_dispatch_and_three", one_dispatch_and_three),
    ])
}

fn made_up(n: usize, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers::new(seed);
    (0..n)
        .map(|_| (2.0 * numbers.unit() - 1.0) as f32)
        .collect()
}

fn tensor(device: &Device, shape: &[usize], seed: u64) -> Result<Tensor> {
    Tensor::from_slice(device, &made_up(shape.iter().product(), seed), shape)
}

/// Windows of 4 columns in 16, shifted by 2: columns 14, 15, 0 and 1 share the last window, and the seam between 15 and
/// 0 keeps a change of column 0 from 14 and 15 to the last bit, and their gradients from column 0.
fn the_seam_is_tight() -> Result<()> {
    let device = open();
    let (height, width, channels) = (3, 16, 8);
    let options = WindowAttention {
        heads: 2,
        window: [height, 4],
        shift: [0, 2],
        ..WindowAttention::default()
    };
    let bias = tensor(&device, &[(2 * height - 1) * 7, 2], 1)?;
    let numbers = made_up(height * width * 3 * channels, 2);
    let attend = |numbers: &[f32]| -> Result<(Tensor, Tensor)> {
        let qkv = Tensor::from_slice(&device, numbers, [1, height, width, 3 * channels])?;
        let qkv = qkv.requires_grad()?;
        Ok((qkv.window_attention(Some(&bias), options)?, qkv))
    };
    let (before, qkv) = attend(&numbers)?;
    let mut changed = numbers.clone();
    for h in 0..height {
        for c in 0..3 * channels {
            changed[h * width * 3 * channels + c] += 1.0 + 3.0 * c as f32;
        }
    }
    let (after, _) = attend(&changed)?;
    let (first, second): (Vec<f32>, Vec<f32>) = (before.to_vec()?, after.to_vec()?);
    for (i, (a, b)) in first.iter().zip(&second).enumerate() {
        let column = i / channels % width;
        if column > 1 {
            assert_eq!(a.to_bits(), b.to_bits(), "column {column} changed");
        }
    }
    for column in 0..2 {
        let changes = (0..first.len())
            .filter(|i| i / channels % width == column && first[*i] != second[*i])
            .count();
        assert!(
            changes > height * channels / 2,
            "column {column} hardly changed"
        );
    }
    // The gradient of columns 14 and 15 by the others.
    let mut dy = vec![0.0f32; height * width * channels];
    for (i, g) in dy.iter_mut().enumerate() {
        if i / channels % width >= 14 {
            *g = 1.0 + (i % 5) as f32;
        }
    }
    let dy = Tensor::from_slice(&device, &dy, [1, height, width, channels])?;
    let gradients = before.backward_from(&dy)?;
    let dqkv: Vec<f32> = gradients.get(&qkv).expect("it is a leaf").to_vec()?;
    let reached = |column: usize| {
        dqkv.iter()
            .enumerate()
            .any(|(i, g)| i / (3 * channels) % width == column && *g != 0.0)
    };
    let columns: Vec<usize> = (0..width).filter(|c| reached(*c)).collect();
    assert_eq!(columns, [14, 15]);
    Ok(())
}

/// Queries and keys of zero leave the softmax of the table's numbers, and one-hot values read it off.
fn table_rows_are_swins() -> Result<()> {
    let device = open();
    for (window, rows) in [
        (
            [2, 2],
            vec![
                vec![4, 3, 1, 0],
                vec![5, 4, 2, 1],
                vec![7, 6, 4, 3],
                vec![8, 7, 5, 4],
            ],
        ),
        ([2, 3], vec![vec![7, 6, 5, 2, 1, 0]]),
    ] {
        let [wh, ww] = window;
        let tokens = wh * ww;
        let mut qkv = vec![0.0f32; tokens * 3 * tokens];
        for i in 0..tokens {
            qkv[i * 3 * tokens + 2 * tokens + i] = 1.0;
        }
        let qkv = Tensor::from_slice(&device, &qkv, [1, wh, ww, 3 * tokens])?;
        let n_rows = (2 * wh - 1) * (2 * ww - 1);
        let weights: Vec<f32> = (0..n_rows).map(|i| 1.0 + i as f32).collect();
        let logarithms: Vec<f32> = weights.iter().map(|w| w.ln()).collect();
        let bias = Tensor::from_slice(&device, &logarithms, [n_rows, 1])?;
        let options = WindowAttention {
            window,
            ..WindowAttention::default()
        };
        let y: Vec<f32> = qkv.window_attention(Some(&bias), options)?.to_vec()?;
        for (i, row) in rows.iter().enumerate() {
            let sum: f32 = row.iter().map(|r| weights[*r]).sum();
            for (j, r) in row.iter().enumerate() {
                let (got, expected) = (y[i * tokens + j], weights[*r] / sum);
                assert!(
                    (got - expected).abs() <= 1e-6,
                    "window {window:?}, query {i}, key {j}: {got}, expected {expected}"
                );
            }
        }
    }
    Ok(())
}

/// Swin's own way: roll, cut, attend with a gathered bias and a mask of −100, put together, roll back.
fn composed(
    qkv: &Tensor,
    bias: &Tensor,
    heads: usize,
    [wh, ww]: [usize; 2],
    [sh, sw]: [usize; 2],
) -> Result<Tensor> {
    let device = qkv.device();
    let &[batch, height, width, packed] = &qkv.shape()[..] else {
        panic!("a grid")
    };
    let (channels, tokens) = (packed / 3, wh * ww);
    let head_dim = channels / heads;
    let (down, across) = (height / wh, width / ww);
    let n_windows = down * across;
    let rolled = qkv.roll(&[-(sh as i64), -(sw as i64)], &[1, 2])?;
    let parts = rolled.split(3, &[channels; 3])?;
    let cut = |x: &Tensor| -> Result<Tensor> {
        x.reshape([batch * down, wh, across, ww, channels])?
            .permute(&[0, 2, 1, 3, 4])?
            .reshape([batch, n_windows, tokens, heads, head_dim])?
            .permute(&[0, 1, 3, 2, 4])
    };
    let [q, k, v] = [cut(&parts[0])?, cut(&parts[1])?, cut(&parts[2])?];
    let place = |i: usize| (i / ww, i % ww);
    let mut rows = Vec::new();
    for i in 0..tokens {
        for j in 0..tokens {
            let ((pi, qi), (pj, qj)) = (place(i), place(j));
            rows.push(((pi + wh - 1 - pj) * (2 * ww - 1) + qi + ww - 1 - qj) as i32);
        }
    }
    let rows = Tensor::from_slice(device, &rows, [tokens * tokens])?;
    let bias = bias
        .index_select(0, &rows)?
        .reshape([tokens, tokens, heads])?
        .permute(&[2, 0, 1])?;
    let region = |at: usize, n: usize, window: usize, shift: usize| {
        if at < n - window {
            0
        } else if at < n - shift {
            1
        } else {
            2
        }
    };
    let mut mask = vec![0.0f32; n_windows * tokens * tokens];
    for window in 0..n_windows {
        let of = |i: usize| {
            let (p, q) = place(i);
            let (h, w) = (window / across * wh + p, window % across * ww + q);
            3 * region(h, height, wh, sh) + region(w, width, ww, sw)
        };
        for i in 0..tokens {
            for j in 0..tokens {
                if of(i) != of(j) {
                    mask[(window * tokens + i) * tokens + j] = -100.0;
                }
            }
        }
    }
    let mask = Tensor::from_slice(device, &mask, [n_windows, 1, tokens, tokens])?;
    let scores = q
        .mul(1.0 / (head_dim as f32).sqrt())?
        .matmul(&k.permute(&[0, 1, 2, 4, 3])?)?
        .add(&bias)?
        .add(&mask)?;
    scores
        .softmax(-1)?
        .matmul(&v)?
        .permute(&[0, 1, 3, 2, 4])?
        .reshape([batch * down, across, wh, ww, channels])?
        .permute(&[0, 2, 1, 3, 4])?
        .reshape([batch, height, width, channels])?
        .roll(&[sh as i64, sw as i64], &[1, 2])
}

fn equals_the_composition() -> Result<()> {
    let device = open();
    for (grid, heads, window, shift) in [
        ([2, 8, 16], 2, [8, 8], [0, 4]),
        ([1, 6, 9], 2, [3, 3], [1, 2]),
        ([3, 4, 10], 1, [2, 5], [1, 0]),
    ] {
        let [batch, height, width] = grid;
        let channels = 16 * heads;
        let n_rows = (2 * window[0] - 1) * (2 * window[1] - 1);
        let qkv = tensor(&device, &[batch, height, width, 3 * channels], 3)?.requires_grad()?;
        let bias = tensor(&device, &[n_rows, heads], 4)?.requires_grad()?;
        let dy = tensor(&device, &[batch, height, width, channels], 5)?;
        let options = WindowAttention {
            heads,
            window,
            shift,
            ..WindowAttention::default()
        };
        let one = qkv.window_attention(Some(&bias), options)?;
        let many = composed(&qkv, &bias, heads, window, shift)?;
        near("y", &one, &many, 2e-6)?;
        let (one, many) = (one.backward_from(&dy)?, many.backward_from(&dy)?);
        let of = |g: &affekt::Gradients, t: &Tensor| g.get(t).expect("a leaf").detach();
        near("dqkv", &of(&one, &qkv), &of(&many, &qkv), 1e-5)?;
        // Sums over all windows of the batch.
        near("dbias", &of(&one, &bias), &of(&many, &bias), 2e-5)?;
    }
    Ok(())
}

/// Both are f32 sums in different orders: `bound` is some tens of roundings of numbers of size 1.
fn near(what: &str, a: &Tensor, b: &Tensor, bound: f32) -> Result<()> {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let (a, b): (Vec<f32>, Vec<f32>) = (a.to_vec()?, b.to_vec()?);
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= bound, "{what}[{i}] is {a}, composed {b}");
    }
    Ok(())
}

fn a_large_window_is_the_grid() -> Result<()> {
    let device = open();
    let qkv = tensor(&device, &[2, 3, 8, 24], 6)?;
    let attend = |window, shift| -> Result<Vec<f32>> {
        let options = WindowAttention {
            heads: 2,
            window,
            shift,
            ..WindowAttention::default()
        };
        qkv.window_attention(None, options)?.to_vec()
    };
    assert_eq!(attend([8, 4], [4, 2])?, attend([3, 4], [0, 2])?);
    assert_ne!(attend([8, 4], [4, 2])?, attend([3, 4], [0, 0])?);
    Ok(())
}

/// Sixteen windows of 1,024 tokens: one number per pair would take 64 MiB per head, and the grid takes 3.
fn memory_stays_linear() -> Result<()> {
    let device = open();
    let (batch, height, width, heads, head_dim) = (4, 64, 64, 2, 8);
    let channels = heads * head_dim;
    let options = WindowAttention {
        heads,
        window: [32, 32],
        shift: [16, 16],
        ..WindowAttention::default()
    };
    let qkv = tensor(&device, &[batch, height, width, 3 * channels], 7)?.requires_grad()?;
    let bias = tensor(&device, &[63 * 63, heads], 8)?.requires_grad()?;
    let dy = tensor(&device, &[batch, height, width, channels], 9)?;
    device.wait()?;
    device.reset_high_water();
    let before = device.memory().in_use;
    let y = qkv.window_attention(Some(&bias), options)?;
    let gradients = y.backward_from(&dy)?;
    device.wait()?;
    let peak = device.memory().high_water - before;
    assert_eq!(gradients.len(), 2);
    // y, dqkv; sums for the table at most as large as qkv; log-sum-exp, δ, the table's gradient. Size classes may
    // round each up to twice its size.
    let tokens = batch * height * width;
    let numbers = tokens * (channels + 2 * 3 * channels + 3 * heads) + 63 * 63 * heads;
    let bound = 2 * 4 * numbers as u64;
    assert!(peak <= bound, "{peak} bytes, expected at most {bound}");
    let pairs = (batch * 4 * heads * 1024 * 1024 * 4) as u64;
    assert!(
        peak * 8 < pairs,
        "{peak} bytes, one number per pair takes {pairs}"
    );
    Ok(())
}

fn one_dispatch_and_three() -> Result<()> {
    let device = open();
    let qkv = tensor(&device, &[2, 4, 8, 48], 10)?.requires_grad()?;
    let bias = tensor(&device, &[49, 2], 11)?.requires_grad()?;
    let options = WindowAttention {
        heads: 2,
        window: [4, 4],
        shift: [0, 2],
        ..WindowAttention::default()
    };
    let dy = tensor(&device, &[2, 4, 8, 16], 12)?;
    let count = |work: &mut dyn FnMut() -> Result<()>| -> Result<u64> {
        let before = device.stream_stats().n_dispatches;
        work()?;
        Ok(device.stream_stats().n_dispatches - before)
    };
    let mut y = qkv.detach();
    let forward = count(&mut || {
        y = qkv.window_attention(Some(&bias), options)?;
        Ok(())
    })?;
    assert_eq!(forward, 1);
    let backward = count(&mut || y.backward_from(&dy).map(drop))?;
    assert_eq!(backward, 3);
    assert_eq!(*y.shape(), Shape::new(&[2, 4, 8, 16])?);
    Ok(())
}
