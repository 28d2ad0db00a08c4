//! A child process that ends with its owner, however the owner ends.
//!
//! The child joins the process group of a watchdog, a shell that reads a pipe of ours. When the pipe closes (drop,
//! panic, exit, `kill -9`), the watchdog kills the group and so itself. `PR_SET_PDEATHSIG` would be shorter, but it
//! fires when the *thread* that spawned the child ends, which a node shared by several tests does not survive.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::NodeError;

/// Carries out `SIGNAL PID` lines until the pipe closes, then runs its last words, then kills its own group.
/// A shell, not a C call, so that the crate needs neither `unsafe` nor `libc`.
const WATCHDOG: &str =
    r#"while read -r signal pid; do kill -s "$signal" "$pid"; done; "$@"; kill -s KILL 0"#;

/// A shell that outlives its owner just long enough to clean up.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// `last_words` is a command to run when the owner is gone; empty for none.
    pub(super) fn new(last_words: &[&str]) -> Result<Watchdog, NodeError> {
        let shell = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "dormouse-watchdog"])
            .args(last_words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| NodeError::Spawn { program: "/bin/sh".into(), source })?;
        Ok(Watchdog { shell })
    }

    fn send(&mut self, signal: &str, pid: u32) -> io::Result<()> {
        match &mut self.shell.stdin {
            Some(pipe) => writeln!(pipe, "{signal} {pid}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It can only fail if someone else reaped the shell, and then there is nothing left to wait for.
        let _ = self.shell.wait();
    }
}

/// One child process and its watchdog. Dropping it kills both and waits until they are gone.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    watchdog: Watchdog,
}

impl Process {
    /// Runs `command`, whose process id must be that of the program that matters: wrappers have to `exec`.
    pub(super) fn spawn(mut command: Command) -> Result<Process, NodeError> {
        let watchdog = Watchdog::new(&[])?;
        let group = i32::try_from(watchdog.shell.id()).expect("a process id is a positive i32");
        let child =
            command.stdin(Stdio::null()).process_group(group).spawn().map_err(|source| {
                NodeError::Spawn {
                    program: command.get_program().to_string_lossy().into_owned(),
                    source,
                }
            })?;
        Ok(Process { child, watchdog })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end.
    pub(super) fn terminate(&mut self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Sends it a signal, such as `STOP`. One that has ended needs none.
    pub(super) fn signal(&mut self, signal: &str) -> io::Result<()> {
        match self.ended() {
            Some(_) => Ok(()),
            None => self.watchdog.send(signal, self.child.id()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns its standard output.
pub(super) async fn output(mut command: Command) -> Result<String, NodeError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let line = format!("{program} {}", words.join(" "));
    command.stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|source| NodeError::Spawn { program, source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(NodeError::Command {
        command: line,
        output: text(&[output.stdout, output.stderr].concat()),
    })
}
