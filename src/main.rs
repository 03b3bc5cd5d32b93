//! The job `pulse`.
fn main() {}
