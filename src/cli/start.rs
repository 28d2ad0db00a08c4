//! Where a program of ours starts: its threads and its runtime; and where it ends, with an exit code.

use std::process::ExitCode;

use super::{Exit, Failure};

/// Stack of each thread. The client library decodes header tables by recursion, and a frame has room
/// for some 18,000 tables one inside the other: with the usual 2 MiB such a message ends the process.
/// Memory that is not used is not taken.
pub const STACK_BYTES: usize = 1 << 30;

/// Runs `command` to its end and returns its exit code; a failure is printed, after the name of the `program`.
pub fn start<F>(program: &'static str, command: impl FnOnce() -> F + Send + 'static) -> ExitCode
where
    F: Future<Output = Result<Exit, Failure>>,
{
    // not on the main thread: its stack is the system's, and a sweep reads messages on it
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    match thread.spawn(move || block_on(command)).map(|thread| thread.join()) {
        Ok(Ok(Ok(exit))) => exit.into(),
        Ok(Ok(Err(failure))) => failure.report(program),
        Ok(Err(_)) => ExitCode::FAILURE, // it has said why
        Err(error) => Failure::failed(format!("cannot start a thread: {error}")).report(program),
    }
}

fn block_on<F>(command: impl FnOnce() -> F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(command());
    // a blocked read of standard input must not keep the process
    runtime.shutdown_background();
    done
}
