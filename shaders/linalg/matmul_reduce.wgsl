// out[.., i, j] = act(Σ_s partials[s, .., i, j] + bias[j])
//
// Second pass of a split product: one invocation per output element adds the chunks in order, so the bits
// repeat from run to run.
#import shared/matmul

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> partials: array<Acc>;
@group(0) @binding(1) var<storage, read> bias: array<Elem>;
@group(0) @binding(2) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(WG)
fn matmul_reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) n_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n_out = params.batches * params.rows * params.cols;
    let index = linear_workgroup(group, n_groups) * WG + lane;
    if (index >= n_out) {
        return;
    }
    var sum = partials[params.a_offset + index];
    for (var split = 1u; split < params.splits; split += 1u) {
        sum += partials[params.a_offset + split * n_out + index];
    }
    if (ACCUMULATE) {
        sum += Acc(out[params.out_offset + index]);
    }
    if (BIAS) {
        sum += Acc(bias[params.bias_offset + index % params.cols * params.bias_stride]);
    }
    out[params.out_offset + index] = Elem(activate(sum));
}
