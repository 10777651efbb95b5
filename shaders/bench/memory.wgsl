// sum_memory: y = the sum of READS equal parts of x, with READS = 1 a copy; read_memory: Σ x, which nobody needs;
// write_memory: y = a number
// An invocation serves QUADS quads a workgroup apart, so that neighbours touch neighbouring ones; where two are copied or
// written, and where many are read, they lie together, which a CPU's caches like better. The dispatch covers its
// blocks several times over where they are few, so that small working sets fill a dispatch too.

#import shared/index

override WG: u32 = 64u;
override QUADS: u32 = 4u;
override READS: u32 = 1u;

struct Params {
    // Blocks of QUADS · WG quads in a pass over the working set; the dispatch has a multiple of them.
    blocks: u32,
    n_workgroups: u32,
    value: f32,
    // Quads of a part of x.
    part: u32,
    // 1 / blocks, or 0 where there is one pass.
    passes_per_workgroup: f32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// Of the block of this workgroup in its pass. A CPU divides integers lane by lane, which would cost more than the memory; in
// f32 the middle of a block is far enough from its ends.
fn first_quad(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32) -> u32 {
    let at = linear_workgroup(workgroup, workgroups);
    let pass_number = u32((f32(at) + 0.5f) * params.passes_per_workgroup);
    return (at - pass_number * params.blocks) * (QUADS * WG) + local;
}

fn sum_of_parts(i: u32) -> vec4<f32> {
    var sum = x[i];
    if READS > 1u {
        sum += x[i + params.part];
    }
    if READS > 2u {
        sum += x[i + 2u * params.part];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn sum_memory(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if linear_workgroup(workgroup, workgroups) >= params.n_workgroups {
        return;
    }
    let in_line = QUADS == 2u;
    let i = first_quad(workgroup, workgroups, select(local, local * QUADS, in_line));
    y[i] = sum_of_parts(i);
    if in_line {
        y[i + 1u] = sum_of_parts(i + 1u);
    }
    if QUADS == 4u {
        y[i + WG] = sum_of_parts(i + WG);
        y[i + 2u * WG] = sum_of_parts(i + 2u * WG);
        y[i + 3u * WG] = sum_of_parts(i + 3u * WG);
    }
}

@compute @workgroup_size(WG)
fn read_memory(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if linear_workgroup(workgroup, workgroups) >= params.n_workgroups {
        return;
    }
    let in_line = QUADS > 4u;
    let step = select(WG, 1u, in_line);
    let i = first_quad(workgroup, workgroups, select(local, local * QUADS, in_line));
    var sum = x[i];
    if QUADS > 1u {
        sum = (sum + x[i + step]) + (x[i + 2u * step] + x[i + 3u * step]);
        for (var quad = 4u; quad < QUADS; quad += 4u) {
            let j = i + quad * step;
            sum += (x[j] + x[j + step]) + (x[j + 2u * step] + x[j + 3u * step]);
        }
    }
    // The working set holds ones; no compiler knows that.
    if any(sum != vec4<f32>(params.value)) {
        y[0] = sum;
    }
}

@compute @workgroup_size(WG)
fn write_memory(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if linear_workgroup(workgroup, workgroups) >= params.n_workgroups {
        return;
    }
    let in_line = QUADS == 2u;
    let i = first_quad(workgroup, workgroups, select(local, local * QUADS, in_line));
    let value = vec4<f32>(params.value);
    y[i] = value;
    if in_line {
        y[i + 1u] = value;
    }
    if QUADS == 4u {
        y[i + WG] = value;
        y[i + 2u * WG] = value;
        y[i + 3u * WG] = value;
    }
}
