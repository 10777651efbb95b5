// y[offset] with its second highest bit turned over: 0 becomes 2, 1 becomes infinite, an integer far away.
// One invocation. What a broken driver might do, for trials of the verification.

struct Params {
    offset: u32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(1)
fn corrupt() {
    y[params.offset] = y[params.offset] ^ 0x40000000u;
}
