//! The `tetryx-cli` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tetryx_cli::main()
}
