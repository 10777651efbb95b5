//! How light a program is: `cargo run --release --example product -- 512`.
//!
//! Opens a device, multiplies two square matrices, and says when the first result was there, counted from `main`.

use std::time::Instant;

use affekt::{Device, Result, Tensor};

fn main() -> Result<()> {
    let begin = Instant::now();
    let n: usize = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(512);
    let device = Device::open_default()?;
    let opened = begin.elapsed();
    let numbers: Vec<f32> = (0..n * n).map(|i| (i % 7) as f32).collect();
    let a = Tensor::from_slice(&device, &numbers, [n, n])?;
    let product = a.matmul(&a)?.to_vec::<f32>()?;
    println!("device    {:.3} s", opened.as_secs_f64());
    println!("product   {:.3} s", begin.elapsed().as_secs_f64());
    println!(
        "trace     {}",
        (0..n).map(|i| product[i * n + i]).sum::<f32>()
    );
    Ok(())
}
