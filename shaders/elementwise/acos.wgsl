// y = arccos x
#import shared/trigonometry

fn acos(x: T) -> T {
    return acos_f32(x);
}

fn acos_d_x(x: T, y: T, dy: T) -> T {
    return -dy * inverseSqrt((1.0f - x) * (1.0f + x));
}
