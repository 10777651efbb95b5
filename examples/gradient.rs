//! A gradient by hand and by the tape: `cargo run --release --example gradient`.

use affekt::{Device, Result, Tensor};

fn main() -> Result<()> {
    let device = Device::open_default()?;
    let x = Tensor::from_slice(&device, &[1.0f32, -2.0, 3.0, 0.5], [2, 2])?;
    let weight = Tensor::from_slice(&device, &[0.5f32, 2.0], [2])?.requires_grad()?;
    // y = Σ (x · weight)², so dy/dweight = 2 · weight · Σ x² over the rows: [10, 17].
    let scaled = x.mul(&weight)?;
    let loss = scaled.mul(&scaled)?.sum(&[], false)?;
    let gradients = loss.backward()?;
    let dweight = gradients
        .get(&weight)
        .expect("the loss depends on it")
        .to_vec::<f32>()?;
    println!("loss     {}", loss.item::<f32>()?);
    println!("dweight  {dweight:?}");
    println!("adapter  {}", device.adapter().label());
    Ok(())
}
