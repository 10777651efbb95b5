// copy_memory: y = x; read_memory: Σ x, which nobody needs; write_memory: y = a number
// An invocation serves QUADS quads a workgroup apart, so that neighbours touch neighbouring ones; where two are copied or
// written, and where many are read, they lie together, which a CPU's caches like better. The dispatch covers its
// blocks several times over where they are few, so that small working sets fill a dispatch too.

#import shared/index

override WG: u32 = 64u;
override QUADS: u32 = 4u;

struct Params {
    // Blocks of QUADS · WG quads in a pass over the working set; the dispatch has a multiple of them.
    blocks: u32,
    n_workgroups: u32,
    value: f32,
    padding: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn first_quad(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32) -> u32 {
    return linear_workgroup(workgroup, workgroups) % params.blocks * (QUADS * WG) + local;
}

@compute @workgroup_size(WG)
fn copy_memory(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if linear_workgroup(workgroup, workgroups) >= params.n_workgroups {
        return;
    }
    let in_line = QUADS == 2u;
    let i = first_quad(workgroup, workgroups, select(local, local * QUADS, in_line));
    y[i] = x[i];
    if in_line {
        y[i + 1u] = x[i + 1u];
    }
    if QUADS == 4u {
        y[i + WG] = x[i + WG];
        y[i + 2u * WG] = x[i + 2u * WG];
        y[i + 3u * WG] = x[i + 3u * WG];
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
