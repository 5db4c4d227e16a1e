//! One process: it is started with its limits, serves calls over a pipe, and is killed with everything that it has
//! started.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_definitions::PythonHandler;
use greenroom_protocol::{Cause, ErrorCode};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::environment::Environment;
use super::frames::{self, FrameError};
use super::group::ProcessGroup;
use super::isolation::{ControlGroup, GroupLimits};
use super::messages::{LimitsMessage, StartMessage, WorkerMessage};
use super::output::{self, Tail};
use super::settings::{IsolationMode, Settings};
use super::watch::Watch;
use super::work_folder::{FilesExceeded, WorkFolder};

/// How long a process may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the end of a process is waited for, and what it has printed.
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the size of the working folder is looked at during a call.
const FILES_INTERVAL: Duration = Duration::from_millis(500);
/// File descriptors of a process.
const OPEN_FILES_MAX: u32 = 256;
/// Memory that a process needs to start, in MiB.
const MEMORY_MIB_MIN: u64 = 64;
/// What a process may read beside its own folders: programs and libraries, certificates, time zones, random numbers.
const READABLE: [&str; 16] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/opt",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];
/// What a process may read to use the network.
const READABLE_FOR_NETWORK: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"];
/// What the worker executes.
const PROGRAM: &str = "import sys; sys.path.insert(0, sys.argv[1]); from greenroom._worker import main; main()";

/// What a process is started for.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkerArgs<'a> {
    pub(super) handler: &'a PythonHandler,
    pub(super) memory_mib: u64,
    pub(super) network: bool,
    /// A number that no other process of this pod has.
    pub(super) number: u64,
}

/// Why a process can serve no further call.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// The pipe has ended, or has no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It has sent a message at a time when none such is expected.
    #[error("the process has sent a message that is not expected")]
    Unexpected,
    /// Its files exceed their bound.
    #[error(transparent)]
    Files(#[from] FilesExceeded),
}

/// A process that serves one call at a time. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    group: Option<ProcessGroup>,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    buffer: Vec<u8>,
    ticks: Interval,
    file_bytes_max: u64,
    started_at: Instant,
    pub(super) calls: u32,
    /// Ended before the folder is removed.
    cgroup: Option<ControlGroup>,
    folder: WorkFolder,
}

impl Worker {
    /// Starts a process and waits until it has set its limits.
    ///
    /// # Errors
    /// [`ErrorCode::RuntimeUnavailable`] if it cannot be started or isolated as the settings require;
    /// [`ErrorCode::AgentCrashed`] if it ends before it is ready.
    pub(super) async fn start(
        environment: &Environment,
        settings: &Settings,
        args: WorkerArgs<'_>,
    ) -> Result<Self, Cause> {
        let mut worker = Self::spawn(environment, settings, args)?;
        let mut output = Tail::default();
        let ready = worker.get_ready(environment, settings, args, &mut output);
        let in_effect = match tokio::time::timeout(START_TIMEOUT, ready).await {
            Ok(Ok(in_effect)) => in_effect,
            Ok(Err(error)) => {
                worker.read_rest(&mut output).await;
                return Err(start_error(&error.to_string(), &output));
            }
            Err(_) => {
                return Err(start_error(&format!("it is not ready after {} s", START_TIMEOUT.as_secs()), &output));
            }
        };
        let missing = environment.isolation.missing(&in_effect);
        if settings.isolation == IsolationMode::Required && !missing.is_empty() {
            let message = format!(
                "this machine cannot isolate handlers as `runtimes.python.isolation` requires: it lacks {}",
                missing.join(", ")
            );
            return Err(Cause::new(ErrorCode::RuntimeUnavailable, message));
        }
        if !missing.is_empty() && !environment.is_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(python.missing = missing.join(", "), "handlers are executed without all of their isolation");
        }
        Ok(worker)
    }

    fn spawn(environment: &Environment, settings: &Settings, args: WorkerArgs<'_>) -> Result<Self, Cause> {
        let name = format!("worker-{}-{}", std::process::id(), args.number);
        let failed = |error: std::io::Error| {
            Cause::new(ErrorCode::RuntimeUnavailable, format!("a process cannot be started: {error}"))
        };
        let folder = WorkFolder::create(&environment.workers, &name).map_err(failed)?;
        let limits = GroupLimits { memory_bytes: memory_bytes(args.memory_mib), processes: settings.processes_max };
        let cgroup = environment.isolation.cgroup.as_deref();
        let cgroup = cgroup.map(|parent| ControlGroup::create(parent, &name, limits, &environment.ended_groups));
        let cgroup = cgroup.transpose().map_err(failed)?;
        let mut command = environment.isolation.command(&environment.interpreter.executable, args.network);
        command
            .args(["-I", "-S", "-B", "-X", "utf8", "-c", PROGRAM])
            .arg(&environment.library)
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            // Each arena of malloc reserves 64 MiB of the limit of memory.
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir(folder.path())
            .stdin(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let group = ProcessGroup::for_child(&child);
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| Cause::new(ErrorCode::Internal, "a process has no pipes"))?;
        let mut ticks = interval(FILES_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            stderr: child.stderr.take(),
            child,
            group,
            stdin,
            stdout,
            buffer: Vec::new(),
            ticks,
            file_bytes_max: settings.file_bytes_max,
            started_at: Instant::now(),
            calls: 0,
            cgroup,
            folder,
        })
    }

    /// Sends the first message, and returns the restrictions that the process has set.
    async fn get_ready(
        &mut self,
        environment: &Environment,
        settings: &Settings,
        args: WorkerArgs<'_>,
        output: &mut Tail,
    ) -> Result<Vec<String>, WorkerError> {
        let Environment { interpreter, isolation, handlers, library, packages, .. } = environment;
        let folder = self.folder.path().to_owned();
        // Programs may be beside the data directory, such as in `/opt`; then they are not readable.
        let has_no_data = |path: &&Path| !environment.workers.starts_with(path);
        let mut readable: Vec<&Path> = READABLE.into_iter().map(Path::new).filter(has_no_data).collect();
        if args.network {
            readable.extend(READABLE_FOR_NETWORK.into_iter().map(Path::new));
        }
        readable.extend(interpreter.folders.iter().map(PathBuf::as_path));
        readable.extend([interpreter.executable.as_path(), handlers.as_path(), library.as_path()]);
        readable.extend(packages.as_deref());
        let packages: Vec<&Path> = packages.as_deref().into_iter().collect();
        let memory_bytes = memory_bytes(args.memory_mib);
        let cgroup = self.cgroup.as_ref().map(|group| group.folder().to_owned());
        let start = StartMessage {
            handlers,
            packages: &packages,
            module: args.handler.module(),
            function: args.handler.function(),
            work: &folder,
            limits: LimitsMessage {
                memory_bytes: cgroup.is_none().then_some(memory_bytes),
                file_bytes: settings.file_bytes_max,
                open_files: OPEN_FILES_MAX,
                processes: isolation.counts_processes.then_some(settings.processes_max),
                cgroup: cgroup.as_deref(),
                network: args.network,
                namespaces: isolation.has_namespaces,
                readable: &readable,
                writable: &[folder.as_path(), Path::new("/dev/null")],
            },
        };
        let frame = frames::encode(&start)?;
        self.send(&frame, output).await?;
        match self.receive(output).await? {
            WorkerMessage::Ready { in_effect } => Ok(in_effect),
            WorkerMessage::HostCall { .. } | WorkerMessage::Done { .. } | WorkerMessage::Failed(_) => {
                Err(WorkerError::Unexpected)
            }
        }
    }

    /// How long ago it was started.
    pub(super) fn age(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// True if it has not ended.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Writes a frame, and watches the process meanwhile, which need not read it.
    ///
    /// # Errors
    /// [`FrameError::Pipe`] if the process has ended; those of [`Worker::watch`].
    pub(super) async fn send(&mut self, frame: &[u8], output: &mut Tail) -> Result<(), WorkerError> {
        let (pipe, watch) = self.pipes();
        let written = watch.during(pipe.stdin.write_all(frame), output).await?;
        written.map_err(|error| WorkerError::Frame(FrameError::Pipe(error)))
    }

    /// Waits for a message, and watches the process meanwhile.
    ///
    /// # Errors
    /// [`WorkerError`]; the process is of no use then.
    pub(super) async fn receive(&mut self, output: &mut Tail) -> Result<WorkerMessage, WorkerError> {
        let (pipe, watch) = self.pipes();
        Ok(watch.during(frames::read(pipe.stdout), output).await??)
    }

    /// Waits for work of the host, and watches the process meanwhile: its threads may print and write files.
    ///
    /// # Errors
    /// [`WorkerError::Files`]; the work is dropped then.
    pub(super) async fn watch<T>(
        &mut self,
        work: impl Future<Output = T>,
        output: &mut Tail,
    ) -> Result<T, WorkerError> {
        Ok(self.pipes().1.during(work, output).await?)
    }

    fn pipes(&mut self) -> (Pipes<'_>, Watch<'_>) {
        let Self { stdin, stdout, stderr, buffer, ticks, folder, file_bytes_max, .. } = self;
        let watch = Watch { stderr, buffer, ticks, folder, file_bytes_max: *file_bytes_max };
        (Pipes { stdin, stdout }, watch)
    }

    /// Reads what the process has printed before it has ended; its last line is how it has ended.
    pub(super) async fn read_rest(&mut self, output: &mut Tail) {
        // Its group has no number of its own once the process was collected.
        self.kill();
        let Self { child, stderr, buffer, .. } = self;
        let reading = async {
            if let Some(reader) = stderr {
                while output::read_some(reader, buffer, output).await {}
            }
        };
        // A process that the handler has started may hold the pipe open.
        let _ = tokio::time::timeout(END_TIMEOUT, reading).await;
        let _ = tokio::time::timeout(END_TIMEOUT, child.wait()).await;
    }

    fn kill(&self) {
        // A process that was collected has no id any more, and its number may be that of another one.
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            group.kill();
        }
    }
}

/// The pipes of the frames.
struct Pipes<'a> {
    stdin: &'a mut ChildStdin,
    stdout: &'a mut ChildStdout,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

const fn memory_bytes(memory_mib: u64) -> u64 {
    let mib = if memory_mib < MEMORY_MIB_MIN { MEMORY_MIB_MIN } else { memory_mib };
    mib.saturating_mul(1024 * 1024)
}

fn start_error(problem: &str, output: &Tail) -> Cause {
    let message = format!("the process of the handler did not start: {problem}");
    Cause::new(ErrorCode::AgentCrashed, message).with_details(serde_json::json!({ "output": output.text() }))
}
