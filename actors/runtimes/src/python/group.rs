//! The group of a process: it and what it has started. All of them end together.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

/// A process group whose first process is a child of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessGroup(Pid);

impl ProcessGroup {
    /// The group that a child has begun; `None` if it has ended already.
    pub(super) fn for_child(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        // Zero would be the group of this process.
        (id > 0).then(|| Self(Pid::from_raw(id)))
    }

    /// Kills every process of the group.
    pub(super) fn kill(self) {
        // They may have ended.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}
