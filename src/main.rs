//! The doorbell: parses arguments, calls `cli`, returns an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sentinelops::cli::main(std::env::args_os())
}
