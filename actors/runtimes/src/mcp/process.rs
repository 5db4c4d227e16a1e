//! A server that is a process of this pod: in a group of its own, with no inherited environment, and ended with its
//! connection.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

pub(super) mod bounded_lines;
pub(super) mod stderr;

/// Bytes of one message of a server.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest wait of an orderly end for the process to end by itself.
const END_MAX: Duration = Duration::from_millis(500);

/// The process. Dropping it kills its group.
pub(super) struct ServerProcess {
    child: Child,
    group: Option<Pid>,
}

/// What the process reads and writes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl ServerProcess {
    /// Starts a program with this environment and no other.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub(super) fn start(
        command: &str,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<(Self, Pipes), String> {
        let mut child = Command::new(command)
            .args(args)
            .env_clear()
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{command}` cannot be started: {error}"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Self { child, group };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(format!("`{command}` has no pipes"));
        };
        Ok((process, Pipes { stdin, stdout, stderr }))
    }

    /// Waits until it has ended; returns how, in words.
    pub(super) async fn wait_ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("the process ended: {status}"),
            Err(error) => format!("the process cannot be observed: {error}"),
        }
    }

    /// Requests the end of the process, and waits for it.
    pub(super) async fn end(mut self) {
        self.signal(Signal::SIGTERM);
        let _ = tokio::time::timeout(END_MAX, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group is gone if all its processes have ended.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn environment() -> BTreeMap<String, String> {
        BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap()), ("MARK".to_owned(), "yes".to_owned())])
    }

    fn shell(script: &str) -> (ServerProcess, Pipes) {
        ServerProcess::start("sh", &["-c".to_owned(), script.to_owned()], &environment()).unwrap()
    }

    #[tokio::test]
    async fn a_process_has_a_group_and_an_environment_of_its_own() {
        let (mut process, mut pipes) = shell("env | sort | cut -d= -f1; ps -o pgid= -p $$ 2>/dev/null || echo $$");
        let mut text = String::new();
        pipes.stdout.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("MARK") && text.contains("PATH"), "{text}");
        assert!(!text.contains("CARGO") && !text.contains("HOME"), "{text}");
        let group = process.group.unwrap().as_raw().to_string();
        assert!(text.lines().any(|line| line.trim() == group), "{text}");
        assert!(process.wait_ended().await.contains("exit status: 0"));
    }

    #[tokio::test]
    async fn the_children_of_a_dropped_process_are_killed_with_it() {
        let (process, mut pipes) = shell("sleep 600 & echo started; wait");
        let mut first = [0; 8];
        pipes.stdout.read_exact(&mut first).await.unwrap();
        drop(process);
        // The child holds the pipe open until it ends.
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), pipes.stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let error = ServerProcess::start("no-such-program", &[], &environment()).err().unwrap();
        assert!(error.contains("`no-such-program` cannot be started"), "{error}");
    }
}
