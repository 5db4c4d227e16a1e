//! What the machine has to isolate a process: namespaces, by `unshare` of util-linux, and a control group.
//!
//! The restrictions of files and system calls are set by the process itself (`greenroom/_limits.py`), because they need
//! no rights. Those here end every process of a handler with it, and count them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use tokio::process::Command;

use super::command;

/// The program that creates namespaces.
const UNSHARE: &str = "unshare";
/// A user without rights, as which a process sees itself: it has no capability in its namespace.
const INNER_USER: &str = "65534";
/// How long `unshare` may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The controllers that a control group needs.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isolation {
    /// The machine creates namespaces of users, processes and the network.
    pub(super) has_namespaces: bool,
    /// The control group below which each process gets one of its own.
    pub(super) cgroup: Option<PathBuf>,
    /// The processes of a handler are counted, so it may start some.
    pub(super) counts_processes: bool,
}

/// Tries what the machine has.
pub(super) async fn probe(cgroup: Option<&Path>) -> Isolation {
    let mut unshare = command::command(Path::new(UNSHARE));
    unshare.args(namespace_arguments(false)).arg("true");
    let has_namespaces = match command::run(unshare, PROBE_TIMEOUT).await {
        Ok(completed) if completed.is_success => true,
        Ok(completed) => {
            tracing::warn!(error.message = completed.explain(), "handlers have no namespaces of their own");
            false
        }
        Err(error) => {
            tracing::warn!(error.message = error, "handlers have no namespaces of their own");
            false
        }
    };
    let cgroup = cgroup.filter(|folder| match check_cgroup(folder) {
        Ok(()) => true,
        Err(problem) => {
            tracing::warn!(cgroup = %folder.display(), error.message = problem, "handlers have no control group");
            false
        }
    });
    // The kernel counts the processes of a user by the namespace of users, but never those of root.
    let counts_processes = cgroup.is_some() || (has_namespaces && !Uid::effective().is_root());
    if !counts_processes {
        tracing::warn!("handlers cannot start processes, because the machine does not count them here");
    }
    Isolation { has_namespaces, cgroup: cgroup.map(Path::to_owned), counts_processes }
}

impl Isolation {
    /// The command that executes a program within the namespaces that the machine has.
    pub(super) fn command(&self, program: &Path, network: bool) -> Command {
        if !self.has_namespaces {
            return command::command(program);
        }
        let mut unshare = command::command(Path::new(UNSHARE));
        unshare.args(namespace_arguments(network)).arg(program);
        unshare
    }

    /// What a required isolation lacks, given the restrictions that a process has set.
    pub(super) fn missing(&self, in_effect: &[String]) -> Vec<&'static str> {
        let has = |name: &str| in_effect.iter().any(|known| known == name);
        let all = [
            (self.has_namespaces, "namespaces of users and processes (`unshare`)"),
            (has("files"), "restrictions of files (Landlock)"),
            (has("calls"), "a filter of system calls (seccomp)"),
        ];
        all.into_iter().filter_map(|(is_available, name)| (!is_available).then_some(name)).collect()
    }
}

fn namespace_arguments(network: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--user", "--pid", "--ipc", "--fork", "--kill-child"].into_iter().map(OsString::from).collect();
    arguments.push(format!("--map-user={INNER_USER}").into());
    arguments.push(format!("--map-group={INNER_USER}").into());
    if !network {
        arguments.push("--net".into());
    }
    arguments.push("--".into());
    arguments
}

/// Whether groups with both controllers can be created in a folder.
fn check_cgroup(folder: &Path) -> Result<(), String> {
    let file = folder.join("cgroup.subtree_control");
    let enabled = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let missing: Vec<_> =
        CONTROLLERS.into_iter().filter(|name| !enabled.split_whitespace().any(|known| known == *name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{} lacks {}", file.display(), missing.join(" and "))) }
}

/// The control group of one process; it is removed with everything in it.
#[derive(Debug)]
pub(super) struct ControlGroup(PathBuf);

impl ControlGroup {
    /// Creates a group with these limits.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(parent: &Path, name: &str, memory_bytes: u64, processes: u32) -> std::io::Result<Self> {
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join("memory.max"), memory_bytes.to_string())?;
        std::fs::write(group.0.join("pids.max"), processes.to_string())?;
        // A kernel without swap accounting does not have it.
        let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
        let _ = std::fs::write(group.0.join("memory.oom.group"), "1");
        Ok(group)
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Both fail if it does not exist; a group whose processes have not ended yet remains, empty, until the next start.
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_control_group_is_refused_with_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_cgroup(folder.path()).unwrap_err().contains("cgroup.subtree_control"));
        std::fs::write(folder.path().join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        assert!(check_cgroup(folder.path()).unwrap_err().ends_with("lacks pids"));
        std::fs::write(folder.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        assert_eq!(check_cgroup(folder.path()), Ok(()));
    }

    #[test]
    fn a_group_has_its_limits() {
        let parent = tempfile::tempdir().unwrap();
        let group = ControlGroup::create(parent.path(), "worker_1", 1024, 7).unwrap();
        assert_eq!(std::fs::read_to_string(group.folder().join("memory.max")).unwrap(), "1024");
        assert_eq!(std::fs::read_to_string(group.folder().join("pids.max")).unwrap(), "7");
        assert!(ControlGroup::create(parent.path(), "worker_1", 1024, 7).is_err(), "two processes share no group");
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = Isolation { has_namespaces: false, cgroup: None, counts_processes: false };
        assert_eq!(none.missing(&[]).len(), 3);
        let all = Isolation { has_namespaces: true, ..none };
        assert!(all.missing(&["files".into(), "calls".into()]).is_empty());
    }
}
