// With Pᵢⱼ the softmax, dPᵢⱼ = dyᵢ·vⱼ, δᵢ = dyᵢ·yᵢ and dSᵢⱼ = Pᵢⱼ (dPᵢⱼ − δᵢ):
// dqᵢ = scale Σⱼ dSᵢⱼ kⱼ, dkⱼ = scale Σᵢ dSᵢⱼ qᵢ, dvⱼ = Σᵢ Pᵢⱼ dyᵢ, dbias[d] = Σ dSᵢⱼ over the pairs d apart
// One invocation per token and channel, or per part of the windows and number of the table; everything is computed anew
// from the saved log-sum-exp. The oracle.

#import shared/window

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> qkv: array<Elem>;
@group(0) @binding(1) var<storage, read> bias: array<Elem>;
@group(0) @binding(2) var<storage, read> y: array<Elem>;
@group(0) @binding(3) var<storage, read> dy: array<Elem>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<Elem>;
@group(0) @binding(6) var<storage, read_write> partials: array<f32>;

struct Pair {
    probability: f32,
    dscore: f32,
}

struct Places {
    q: u32,
    k: u32,
    v: u32,
    y: u32,
    dy: u32,
}

// q·k, dy·v and dy·y of one channel; zero past the last of the head.
fn products(at: Places, c: u32) -> vec3<f32> {
    if c < params.head_dim {
        let g = Acc(dy[at.dy + c]);
        return vec3(Acc(qkv[at.q + c]) * Acc(qkv[at.k + c]), g * Acc(qkv[at.v + c]), g * Acc(y[at.y + c]));
    }
    return vec3(0.0f);
}

// P and dS of a query and a key on the same side of the seam. Eight channels per step: a software driver ends the loops
// of an invocation after 65 536 steps in all.
fn pair(query: u32, key: u32, head: u32, bias_at: u32) -> Pair {
    let c0 = head * params.head_dim;
    let at = Places(
        params.qkv_offset + query * 3u * params.channels + c0,
        params.qkv_offset + (key * 3u + 1u) * params.channels + c0,
        params.qkv_offset + (key * 3u + 2u) * params.channels + c0,
        params.y_offset + query * params.channels + c0,
        params.dy_offset + query * params.channels + c0,
    );
    var sums = vec3(0.0f);
    for (var c = 0u; c < params.head_dim; c += 8u) {
        sums += products(at, c) + products(at, c + 1u) + products(at, c + 2u) + products(at, c + 3u)
            + products(at, c + 4u) + products(at, c + 5u) + products(at, c + 6u) + products(at, c + 7u);
    }
    var score = params.scale * sums.x;
    if (BIAS) {
        score += Acc(bias[params.bias_offset + bias_at * params.heads + head]);
    }
    let probability = exp(score - lse[params.lse_offset + query * params.heads + head]);
    return Pair(probability, probability * (sums.y - sums.z));
}

@compute @workgroup_size(WG)
fn window_attention_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let tokens = params.window_height * params.window_width;
    if invocation >= params.batch * params.height * params.width * params.channels {
        return;
    }
    let c = invocation % params.channels;
    let head = c / params.head_dim;
    let i = invocation / params.channels % tokens;
    let window = window_of(invocation / params.channels / tokens);
    let p = i / params.window_width;
    let q = i % params.window_width;
    let token = stored_row(window, p) + stored_col(window, q);
    let cut = vec2(cut_row(window, p), cut_col(window, q));
    var dq = 0.0f;
    var dk = 0.0f;
    var dv = 0.0f;
    for (var j = 0u; j < tokens; j++) {
        let op = j / params.window_width;
        let oq = j % params.window_width;
        if all(cut == vec2(cut_row(window, op), cut_col(window, oq))) {
            let other = stored_row(window, op) + stored_col(window, oq);
            let as_key = bias_row(p, op) + q + params.window_width - 1u - oq;
            dq += pair(token, other, head, as_key).dscore
                * Acc(qkv[params.qkv_offset + (other * 3u + 1u) * params.channels + c]);
            let as_query = bias_row(op, p) + oq + params.window_width - 1u - q;
            let to_here = pair(other, token, head, as_query);
            dk += to_here.dscore * Acc(qkv[params.qkv_offset + other * 3u * params.channels + c]);
            dv += to_here.probability * Acc(dy[params.dy_offset + other * params.channels + c]);
        }
    }
    let at = params.dqkv_offset + token * 3u * params.channels + c;
    dqkv[at] = Elem(params.scale * dq);
    dqkv[at + params.channels] = Elem(params.scale * dk);
    dqkv[at + 2u * params.channels] = Elem(dv);
}

@compute @workgroup_size(WG)
fn window_attention_vjp_bias(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let table_cols = 2u * params.window_width - 1u;
    let table = (2u * params.window_height - 1u) * table_cols;
    if invocation >= params.n_parts * table * params.heads {
        return;
    }
    let head = invocation % params.heads;
    let bias_at = invocation / params.heads % table;
    let part = invocation / params.heads / table;
    // A query at (p, q) meets the key at (p + window_height − 1 − row, q + window_width − 1 − col).
    let row = bias_at / table_cols;
    let col = bias_at % table_cols;
    let end = min((part + 1u) * params.part, params.batch * windows_per_item());
    var total = 0.0f;
    for (var number = part * params.part; number < end; number++) {
        let window = window_of(number);
        var sum = 0.0f;
        for (var i = 0u; i < params.window_height * params.window_width; i++) {
            let p = i / params.window_width;
            let q = i % params.window_width;
            // What lies before the window wraps around to a large number.
            let kp = p + params.window_height - 1u - row;
            let kq = q + params.window_width - 1u - col;
            if kp < params.window_height && kq < params.window_width
                && cut_row(window, p) == cut_row(window, kp) && cut_col(window, q) == cut_col(window, kq) {
                let query = stored_row(window, p) + stored_col(window, q);
                let key = stored_row(window, kp) + stored_col(window, kq);
                sum += pair(query, key, head, bias_at).dscore;
            }
        }
        total += sum;
    }
    partials[params.partials_offset + invocation] = total;
}
