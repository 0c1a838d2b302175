//! The command `kafka-dlq`; see `kafka-dlq --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kafka_dlq::cli::main()
}
