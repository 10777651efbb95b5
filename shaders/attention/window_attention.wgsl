// y[i] = Σⱼ softmaxⱼ(scale · qᵢ·kⱼ + bias[i − j]) vⱼ over the tokens j of the window of i on its side of the seam
// One invocation per token and channel, two walks over the keys: the largest score, then the sums. The oracle.

#import shared/window

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> qkv: array<Elem>;
@group(0) @binding(1) var<storage, read> bias: array<Elem>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

// Zero past the last channel of the head.
fn product(q_at: u32, k_at: u32, c: u32) -> f32 {
    if c < params.head_dim {
        return Acc(qkv[q_at + c]) * Acc(qkv[k_at + c]);
    }
    return 0.0f;
}

// Eight channels per step: a software driver ends the loops of an invocation after 65 536 steps in all.
fn score(query: u32, key: u32, head: u32, bias_at: u32) -> f32 {
    let q_at = params.qkv_offset + query * 3u * params.channels + head * params.head_dim;
    let k_at = params.qkv_offset + (key * 3u + 1u) * params.channels + head * params.head_dim;
    var s = 0.0f;
    for (var c = 0u; c < params.head_dim; c += 8u) {
        s += product(q_at, k_at, c) + product(q_at, k_at, c + 1u)
            + product(q_at, k_at, c + 2u) + product(q_at, k_at, c + 3u)
            + product(q_at, k_at, c + 4u) + product(q_at, k_at, c + 5u)
            + product(q_at, k_at, c + 6u) + product(q_at, k_at, c + 7u);
    }
    s *= params.scale;
    if (BIAS) {
        s += Acc(bias[params.bias_offset + bias_at * params.heads + head]);
    }
    return s;
}

@compute @workgroup_size(WG)
fn window_attention(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let tokens = params.window_height * params.window_width;
    if invocation >= params.batch * params.height * params.width * params.channels {
        return;
    }
    let channel = invocation % params.channels;
    let head = channel / params.head_dim;
    let i = invocation / params.channels % tokens;
    let window = window_of(invocation / params.channels / tokens);
    let p = i / params.window_width;
    let q = i % params.window_width;
    let token = stored_row(window, p) + stored_col(window, q);
    let cut = vec2(cut_row(window, p), cut_col(window, q));

    var largest = LOWEST;
    for (var j = 0u; j < tokens; j++) {
        let kp = j / params.window_width;
        let kq = j % params.window_width;
        if all(cut == vec2(cut_row(window, kp), cut_col(window, kq))) {
            let key = stored_row(window, kp) + stored_col(window, kq);
            let bias_at = bias_row(p, kp) + q + params.window_width - 1u - kq;
            largest = max(largest, score(token, key, head, bias_at));
        }
    }
    var sum = 0.0f;
    var value = 0.0f;
    for (var j = 0u; j < tokens; j++) {
        let kp = j / params.window_width;
        let kq = j % params.window_width;
        if all(cut == vec2(cut_row(window, kp), cut_col(window, kq))) {
            let key = stored_row(window, kp) + stored_col(window, kq);
            let bias_at = bias_row(p, kp) + q + params.window_width - 1u - kq;
            let e = exp(score(token, key, head, bias_at) - largest);
            sum += e;
            value += e * Acc(qkv[params.qkv_offset + (key * 3u + 2u) * params.channels + channel]);
        }
    }
    y[params.y_offset + token * params.channels + channel] = Elem(value / sum);
    if channel % params.head_dim == 0u {
        lse[params.lse_offset + token * params.heads + head] = largest + log(sum);
    }
}
