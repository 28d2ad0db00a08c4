fn main() -> std::process::ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RUST_MIN_STACK", dormouse::cli::STACK_BYTES.to_string()) };
    dormouse::cli::main()
}
