use std::process::ExitCode;

use dormouse::cli::STACK_BYTES;

fn main() -> ExitCode {
    #[expect(
        unsafe_code,
        reason = "the standard library reads the variable once, at the first thread"
    )]
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("RUST_MIN_STACK", STACK_BYTES.to_string())
    };
    dormouse_lab::cli::main()
}
