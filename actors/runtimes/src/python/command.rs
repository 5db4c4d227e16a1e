//! Executes a command of the machine: an interpreter, `unshare`, an installer of packages.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::group::ProcessGroup;
use super::output::{self, Tail};

/// Where programs are searched, here and by handlers: the environment of the pod is not passed on.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) is_success: bool,
    /// The end of what it has printed.
    pub(super) printed: Tail,
    /// The end of its messages.
    pub(super) messages: Tail,
}

impl Completed {
    /// What it says about itself.
    pub(super) fn explain(&self) -> String {
        if self.messages.is_empty() { self.printed.text() } else { self.messages.text() }
    }
}

/// A command without the environment of the pod.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Waits until a command ends; kills its group if it takes longer than this, or if the caller stops waiting.
///
/// # Errors
/// A sentence: it cannot be started, or it has not ended in time.
pub(super) async fn run(mut command: Command, timeout: Duration) -> Result<Completed, String> {
    let mut running = RunningCommand(command.spawn().map_err(|error| error.to_string())?);
    let child = &mut running.0;
    let (printed, messages) = (output::read_all(child.stdout.take()), output::read_all(child.stderr.take()));
    let ended = async { tokio::join!(child.wait(), printed, messages) };
    match tokio::time::timeout(timeout, ended).await {
        Ok((Ok(status), printed, messages)) => Ok(Completed { is_success: status.success(), printed, messages }),
        Ok((Err(error), ..)) => Err(error.to_string()),
        Err(_) => Err(format!("it has not ended within {} s", timeout.as_secs())),
    }
}

/// A child whose group is killed with it.
struct RunningCommand(Child);

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // A child that was collected has no id, and its number may be that of another process.
        if let Some(group) = ProcessGroup::for_child(&self.0) {
            group.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command(Path::new("sh"));
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn a_command_has_no_environment_and_its_output_and_status_are_returned() {
        let completed = run(shell("env; echo problem >&2; exit 3"), Duration::from_secs(10)).await.unwrap();
        assert!(!completed.is_success);
        assert_eq!(completed.explain(), "problem");
        let names: Vec<_> =
            completed.printed.text().lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
        assert!(
            names.iter().all(|name| ["PATH", "LANG", "PWD", "_", "SHLVL", "OLDPWD"].contains(&name.as_str())),
            "{names:?}"
        );
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed() {
        let error = run(shell("sleep 600 & wait"), Duration::from_millis(200)).await.unwrap_err();
        assert!(error.contains("not ended"), "{error}");
        assert!(run(command(Path::new("/no/such/program")), Duration::from_secs(1)).await.is_err());
    }
}
