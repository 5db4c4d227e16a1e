//! The settings of the runtime: where handlers are, and the bounds of the processes that execute them.

use std::path::PathBuf;
use std::time::Duration;

/// Whether a handler is executed where the machine cannot isolate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationMode {
    /// It is executed with what the machine has; the log names what it lacks.
    BestEffort,
    /// It is not executed: the call fails with `runtime_unavailable`.
    Required,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder below which the modules of handlers are.
    pub handlers: PathBuf,
    /// The interpreter: a path, or a name that is searched in the PATH of the pod.
    pub interpreter: PathBuf,
    /// The packages that the handlers need, in the format of pip; `None` for `requirements.txt` of the handlers, if it
    /// exists.
    pub requirements: Option<PathBuf>,
    /// The folder of what the runtime writes: the packages, and the working folders of its processes. It belongs to this
    /// process alone.
    pub folder: PathBuf,
    /// Executions that run at the same time, for each depth of the call chain; also the idle processes that are retained.
    pub workers_max: usize,
    /// Calls that one process serves.
    pub worker_calls_max: u32,
    /// How long one process serves.
    pub worker_age_max: Duration,
    /// Memory of a process in MiB, unless the definition of its agent has another bound.
    pub memory_mib: u64,
    /// Processes and threads of one handler, where the machine counts them.
    pub processes_max: u32,
    /// Bytes of a file, and of all files that one execution has at the same time.
    pub file_bytes_max: u64,
    /// Whether a handler is executed where the machine cannot isolate it.
    pub isolation: IsolationMode,
    /// A folder of a control group (version 2) that belongs to the user of the pod, with the controllers `memory` and
    /// `pids`; `None` limits the memory of each process by itself.
    pub cgroup: Option<PathBuf>,
}
