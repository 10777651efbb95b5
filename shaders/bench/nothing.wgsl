// A kernel of one invocation that writes one number: what a dispatch costs beside its work.

@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn nothing() {
    y[0] = 1.0f;
}
