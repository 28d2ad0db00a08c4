use std::process::ExitCode;

use dormouse::cli::{self, STACK_BYTES};

/// A message is some dozens of small strings, each read, copied and written: an eighth of a worker's CPU time was the
/// system's allocator (docs/shipping.md).
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[expect(
        unsafe_code,
        reason = "the standard library reads the variable once, at the first thread"
    )]
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("RUST_MIN_STACK", STACK_BYTES.to_string())
    };
    cli::main()
}
