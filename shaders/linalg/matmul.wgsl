// out[.., i, j] = act(Σ_k a[.., i, k] · b[.., k, j] + bias[j])
//
// One invocation per output element, any strides: the oracle that the tuned rungs are held against, and the
// only rung for an empty inner axis. It ignores `splits`.
#import shared/matmul

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> a: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;
@group(0) @binding(2) var<storage, read> bias: array<Elem>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(WG)
fn matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) n_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, n_groups) * WG + lane;
    if (index >= params.batches * params.rows * params.cols) {
        return;
    }
    let row = index / params.cols;
    let col = index % params.cols;
    let batch = row / params.rows;
    var a_at = params.a_offset + batch_start(batch, params.a_batch) + (row % params.rows) * params.a_row;
    var b_at = params.b_offset + batch_start(batch, params.b_batch) + col * params.b_col;
    var sum = Acc();
    for (var k = 0u; k < params.inner; k += 1u) {
        sum += Acc(a[a_at]) * Acc(b[b_at]);
        a_at += params.a_col;
        b_at += params.b_row;
    }
    if (ACCUMULATE) {
        sum += Acc(out[params.out_offset + index]);
    }
    if (BIAS) {
        sum += Acc(bias[params.bias_offset + col * params.bias_stride]);
    }
    out[params.out_offset + index] = Elem(activate(sum));
}
