//! h2gate
fn main() {}
