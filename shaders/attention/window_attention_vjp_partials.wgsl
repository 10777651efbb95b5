// dbias[d, head] = Σ over parts, and over the blocks of queries side by side, of what the query kernel left for d
// One invocation per number of the table; the order of the sum is fixed.

#import shared/window

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>;

@compute @workgroup_size(WG)
fn window_attention_vjp_partials(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let table_rows = 2u * params.window_height - 1u;
    let table_cols = 2u * params.window_width - 1u;
    let at = invocation / params.heads;
    if at >= table_rows * table_cols {
        return;
    }
    let head = invocation % params.heads;
    let row = at / table_cols;
    let col = at % table_cols;
    let blocks = (params.window_width + params.block_cols - 1u) / params.block_cols;
    let slots = params.window_width + params.block_cols - 1u;
    var total = 0.0f;
    for (var part = 0u; part < params.n_parts; part++) {
        var sum = 0.0f;
        for (var block = 0u; block < blocks; block++) {
            // Slot 0 of a block is its first query against the last key. What lies before wraps around.
            let slot = col - block * params.block_cols;
            if slot < slots {
                let start = ((part * params.heads + head) * blocks + block) * table_rows + row;
                sum += partials[params.partials_offset + start * slots + slot];
            }
        }
        total += sum;
    }
    dbias[params.dbias_offset + invocation] = total;
}
