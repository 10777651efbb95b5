// Index arithmetic that every kernel shares.
//
// A dispatch of more than 65 535 workgroups is folded into two dimensions; the last row may run past the end, so
// kernels compare the linear number with the number of things to do.

fn linear_workgroup(workgroup: vec3<u32>, workgroups: vec3<u32>) -> u32 {
    return workgroup.x + workgroup.y * workgroups.x;
}

// The number of this invocation over the whole dispatch, for workgroups of `size` invocations along x.
fn linear_invocation(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32, size: u32) -> u32 {
    return linear_workgroup(workgroup, workgroups) * size + local;
}
