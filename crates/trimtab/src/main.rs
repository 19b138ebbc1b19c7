//! trimtab.
fn main() {}
