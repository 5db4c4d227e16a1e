//! The runtime `python`: executes agents by functions in Python, in processes of their own.
//!
//! ```text
//! PythonRuntime   one execution: a process, a call, outputs or a cause
//! ├── environment   interpreter, packages, the module `greenroom`, what the machine isolates with
//! ├── pool          processes that wait for the next call; the bound on those that work
//! └── worker        one process: started, limited, killed
//!     ├── exchange    one call, with its calls of the host
//!     ├── watch       what is watched meanwhile; work_folder   its files
//!     └── frames, messages   the protocol, over a pipe
//! ```
//!
//! A handler is not trusted. Whatever its process does, it is killed with everything that it has started, and the call
//! ends with a code. What it may do beside computing are calls of the host, which the guard decides
//! ([`greenroom_actors::execution::host_calls`]). `docs/runtimes.md` describes what is and what is not prevented.

mod command;
mod environment;
pub mod events;
mod exchange;
mod frames;
mod group;
mod interpreter;
mod isolation;
mod messages;
mod output;
mod packages;
mod pool;
pub mod settings;
mod watch;
mod work_folder;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_actors::execution::runtime::{ExecutionContext, Runtime};
use greenroom_definitions::PythonHandler;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, ErrorCode, Values};
use tokio::time::Instant;

use environment::SharedEnvironment;
use events::{StopReason, WorkerObserver};
use exchange::Ended;
use frames::FrameError;
use output::Tail;
use pool::{BusyWorker, Pool, WorkerKey};
use settings::Settings;
use worker::{Worker, WorkerArgs, WorkerError};

/// How long before its deadline an execution is ended, so that it is this runtime that reports it.
const END_MARGIN: Duration = Duration::from_millis(50);
/// The policy that gives a handler the network, if the definition of its agent names it.
const NETWORK_POLICY: &str = "allow_network";

/// Executes agents by functions in Python.
pub struct PythonRuntime {
    settings: Settings,
    environment: SharedEnvironment,
    pool: Pool,
    /// Numbers processes and executions.
    next_number: AtomicU64,
}

impl PythonRuntime {
    /// A runtime without processes; the first call prepares what they need.
    #[must_use]
    pub fn new(settings: Settings, observer: Arc<dyn WorkerObserver>) -> Self {
        let pool = Pool::new(&settings, observer);
        Self { settings, environment: SharedEnvironment::default(), pool, next_number: AtomicU64::new(1) }
    }

    /// Prepares what the processes need, so that no call waits for it: the interpreter and the packages.
    ///
    /// # Errors
    /// [`ErrorCode::RuntimeUnavailable`], with what is missing.
    pub async fn prepare(&self) -> Result<(), Cause> {
        self.environment.get(&self.settings).await.map(drop)
    }

    /// What the execution needs of a process.
    fn worker_key(&self, ctx: &ExecutionContext<'_>) -> Result<WorkerKey, Cause> {
        let invocation = ctx.invocation();
        let spec = invocation.agent.spec();
        let name = spec.implementation.handler.as_deref().unwrap_or_default();
        let handler = PythonHandler::parse(name).ok_or_else(|| {
            let message = format!("`{name}` is not a handler in Python, such as `agents.report.execute`");
            Cause::new(ErrorCode::RuntimeUnavailable, message)
        })?;
        let file = existing_file(&handler, &self.settings.handlers)?;
        // The guard decides; an agent does not inherit the network from its callers, whose policies bind it too.
        let network =
            invocation.grant.obligations().network_allowed && spec.policies.iter().any(|name| name == NETWORK_POLICY);
        Ok(WorkerKey {
            tenant: invocation.grant.principal().id.tenant.clone(),
            changed_at: std::fs::metadata(&file).and_then(|metadata| metadata.modified()).ok(),
            handler,
            memory_mib: spec.implementation.memory.unwrap_or(self.settings.memory_mib),
            network,
        })
    }

    /// A process for the call: one that waits, or a new one.
    async fn worker(&self, key: &WorkerKey) -> Result<BusyWorker<'_>, Cause> {
        if let Some(worker) = self.pool.take(key) {
            return Ok(worker);
        }
        let environment = self.environment.get(&self.settings).await?;
        let args = WorkerArgs {
            handler: &key.handler,
            memory_mib: key.memory_mib,
            network: key.network,
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
        };
        let since = Instant::now();
        let started = Box::pin(Worker::start(&environment, &self.settings, args)).await;
        let worker = started.inspect_err(|cause| {
            self.pool.observer().on_stop(StopReason::Died);
            tracing::warn!(error.code = cause.code.as_str(), error.message = cause.message, "a handler did not start");
        })?;
        self.pool.observer().on_start(since.elapsed());
        Ok(self.pool.busy(worker))
    }

    /// Makes the call in a process, which returns to the pool or is ended.
    async fn call(&self, ctx: &ExecutionContext<'_>, key: WorkerKey, frame: (u64, &[u8])) -> Result<Values, Cause> {
        let mut busy = self.worker(&key).await?;
        let mut output = Tail::default();
        let Some(worker) = busy.worker() else {
            return Err(Cause::new(ErrorCode::Internal, "a call has no process"));
        };
        let call = Box::pin(exchange::call(worker, ctx, frame, &mut output));
        let ended = match tokio::time::timeout(ctx.time_left().saturating_sub(END_MARGIN), call).await {
            Ok(ended) => ended,
            Err(_) => {
                busy.stop(StopReason::TimedOut);
                exchange::log_output(ctx, &output).await;
                return Err(timeout_error(ctx.invocation().agent.timeout()));
            }
        };
        let result = match ended {
            Ok(Ended { result, retire: false }) => {
                busy.release(key);
                result
            }
            Ok(Ended { result, retire: true }) => {
                busy.stop(StopReason::Recycled);
                result
            }
            Err(error) => Err(end_broken(busy, &error, &mut output).await),
        };
        exchange::log_output(ctx, &output).await;
        result
    }
}

#[async_trait]
impl Runtime for PythonRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Python
    }

    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let invocation = ctx.invocation();
        let key = self.worker_key(ctx)?;
        let depth = invocation.grant.chain().len();
        let admitted = tokio::time::timeout(ctx.time_left(), self.pool.admit(depth)).await;
        let Ok(Some(_permit)) = admitted else {
            let message =
                "no process for handlers in Python was free before the deadline; see `runtimes.python.workers_max`";
            return Err(Cause::new(ErrorCode::TimedOut, message));
        };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let frame = exchange::call_frame(ctx, number)?;
        ctx.wait_lease().await?;
        let outputs = Box::pin(self.call(ctx, key, (number, &frame))).await?;
        invocation.agent.validate_outputs(&invocation.invoke.inputs, outputs)
    }
}

/// Ends a process that is of no use any more, and returns the cause.
async fn end_broken(mut busy: BusyWorker<'_>, error: &WorkerError, output: &mut Tail) -> Cause {
    let reason = match error {
        WorkerError::Frame(FrameError::Closed | FrameError::Pipe(_)) => StopReason::Died,
        WorkerError::Frame(FrameError::TooLarge(_) | FrameError::TooManyValues | FrameError::Invalid(_))
        | WorkerError::Unexpected => StopReason::Broken,
        WorkerError::Files(_) => StopReason::Files,
    };
    if let (StopReason::Died, Some(worker)) = (reason, busy.worker()) {
        worker.read_rest(output).await;
    }
    busy.stop(reason);
    tracing::warn!(python.reason = reason.as_str(), "the process of a handler was ended");
    exchange::worker_cause(error, output)
}

/// The file of the module.
fn existing_file(handler: &PythonHandler, folder: &Path) -> Result<PathBuf, Cause> {
    handler.existing_file(folder).ok_or_else(|| {
        let file = handler.file(folder);
        let message = format!("there is no module `{}`: the file {} does not exist", handler.module(), file.display());
        Cause::new(ErrorCode::RuntimeUnavailable, message)
    })
}

fn timeout_error(timeout: Duration) -> Cause {
    let message = format!("the handler did not return before its deadline; its agent has {} s", timeout.as_secs());
    Cause::new(ErrorCode::TimedOut, message)
}

#[cfg(test)]
mod tests;
