// The input of a reduction: up to three kept and three reduced axes, merged by the host. Result `r`, part `p` is
// written to y[y_offset + r * n_parts + p]; a part is a range of the one reduced axis that a split reduction has.

struct Params {
    kept_lengths: vec4<u32>,
    kept_strides: vec4<u32>,
    reduced_lengths: vec4<u32>,
    reduced_strides: vec4<u32>,
    n_results: u32,
    n_parts: u32,
    part: u32,
    x_offset: u32,
    y_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

// Where the elements of result `r` start.
fn kept_place(r: u32, p: Params) -> u32 {
    let c2 = r % p.kept_lengths.z;
    let rest = r / p.kept_lengths.z;
    let c1 = rest % p.kept_lengths.y;
    let c0 = rest / p.kept_lengths.y;
    return p.x_offset + c0 * p.kept_strides.x + c1 * p.kept_strides.y + c2 * p.kept_strides.z;
}
