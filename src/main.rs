//! The doorbell: parses arguments, calls `cli`, returns an exit code.

fn main() {}
