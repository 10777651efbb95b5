pub fn html(_: &crate::bench::Report) -> String {
    String::new()
}
