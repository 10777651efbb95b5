// y = arcsin x
#import shared/trigonometry

fn asin(x: T) -> T {
    return asin_f32(x);
}

fn asin_d_x(x: T, y: T, dy: T) -> T {
    return dy * inverseSqrt((1.0f - x) * (1.0f + x));
}
