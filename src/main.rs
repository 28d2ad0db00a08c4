use std::process::ExitCode;

use dormouse::cli::{self, STACK_BYTES};

fn main() -> ExitCode {
    #[expect(
        unsafe_code,
        reason = "the standard library reads the variable once, at the first thread"
    )]
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("RUST_MIN_STACK", STACK_BYTES.to_string())
    };
    // not on the main thread: its stack is the system's, and a sweep reads messages on it
    let command = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(cli::main);
    match command.map(|command| command.join()) {
        Ok(Ok(exit)) => exit,
        Ok(Err(_)) => ExitCode::FAILURE, // it has said why
        Err(error) => {
            eprintln!("dormouse: cannot start a thread: {error}");
            ExitCode::FAILURE
        }
    }
}
