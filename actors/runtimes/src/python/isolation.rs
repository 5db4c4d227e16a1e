//! What the machine has to isolate a process: namespaces, by `unshare` of util-linux, and a control group.
//!
//! The restrictions of files and system calls are set by the process itself (`greenroom/_limits.py`), because they need
//! no rights. Those here end every process of a handler with it, and count them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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

/// The limits of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLimits {
    pub(super) memory_bytes: u64,
    pub(super) processes: u32,
}

/// The groups whose processes were killed and had not ended yet: only an empty group can be removed.
#[derive(Debug, Default)]
pub(super) struct EndedGroups(Mutex<Vec<PathBuf>>);

impl EndedGroups {
    fn add(&self, folder: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
    }

    fn remove(&self) {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|folder| std::fs::remove_dir(folder).is_err() && folder.is_dir());
    }
}

/// Removes the empty groups of processes that another start of the pod has left.
pub(super) fn remove_old_groups(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"worker-")) {
        // One that has processes is in use, and remains.
        let _ = std::fs::remove_dir(entry.path());
    }
}

/// The control group of one process; it is removed with everything in it.
#[derive(Debug)]
pub(super) struct ControlGroup {
    folder: PathBuf,
    ended: Arc<EndedGroups>,
}

impl ControlGroup {
    /// Creates a group with these limits.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(
        parent: &Path,
        name: &str,
        limits: GroupLimits,
        ended: &Arc<EndedGroups>,
    ) -> std::io::Result<Self> {
        ended.remove();
        let folder = parent.join(name);
        std::fs::create_dir(&folder)?;
        let group = Self { folder, ended: Arc::clone(ended) };
        std::fs::write(group.folder.join("memory.max"), limits.memory_bytes.to_string())?;
        std::fs::write(group.folder.join("pids.max"), limits.processes.to_string())?;
        // A kernel without swap accounting does not have it.
        let _ = std::fs::write(group.folder.join("memory.swap.max"), "0");
        let _ = std::fs::write(group.folder.join("memory.oom.group"), "1");
        Ok(group)
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.folder.join("cgroup.kill"), "1");
        if std::fs::remove_dir(&self.folder).is_err() {
            self.ended.add(std::mem::take(&mut self.folder));
        }
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
        let (limits, ended) = (GroupLimits { memory_bytes: 1024, processes: 7 }, Arc::default());
        let group = ControlGroup::create(parent.path(), "worker-1", limits, &ended).unwrap();
        assert_eq!(std::fs::read_to_string(group.folder().join("memory.max")).unwrap(), "1024");
        assert_eq!(std::fs::read_to_string(group.folder().join("pids.max")).unwrap(), "7");
        assert!(
            ControlGroup::create(parent.path(), "worker-1", limits, &ended).is_err(),
            "two processes share no group"
        );
    }

    #[test]
    fn a_group_whose_processes_have_not_ended_is_removed_later() {
        let (parent, ended) = (tempfile::tempdir().unwrap(), Arc::default());
        let limits = GroupLimits { memory_bytes: 1024, processes: 7 };
        let first = ControlGroup::create(parent.path(), "worker-1", limits, &ended).unwrap();
        let folder = first.folder().to_owned();
        // The files of this folder keep it, as processes keep a group.
        drop(first);
        assert!(folder.is_dir());
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let second = ControlGroup::create(parent.path(), "worker-2", limits, &ended).unwrap();
        assert!(!folder.exists() && second.folder().is_dir());
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(parent.path().join("other")).unwrap();
        remove_old_groups(parent.path());
        assert!(!folder.exists() && second.folder().is_dir() && parent.path().join("other").is_dir());
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = Isolation { has_namespaces: false, cgroup: None, counts_processes: false };
        assert_eq!(none.missing(&[]).len(), 3);
        let all = Isolation { has_namespaces: true, ..none };
        assert!(all.missing(&["files".into(), "calls".into()]).is_empty());
    }
}
