//! The command `kafka-dlq`, for `promises/dlq_command.rs` to run as its user does: the same `main`, in a package whose tests
//! can find the binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kafka_dlq::cli::main()
}
