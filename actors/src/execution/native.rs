//! Handlers and tools that are compiled in. Those that block run on blocking threads, of which there is
//! a bounded number.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use greenroom_definitions::Catalogue;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use tokio::sync::Semaphore;

use super::accounting::Accounting;
use super::runtime::{ExecutionContext, Runtime};
use crate::concurrency::spawn_blocking;
use crate::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use crate::tool::{Tool, ToolDescription, ToolInput, ToolSource};

/// Handlers and tools that block a thread concurrently, per core of the machine.
const BLOCKING_PER_CORE: usize = 4;

/// Registers native handlers and tools. Both share one bound on blocking threads, and begin with the lease of the pod
/// only.
#[must_use]
pub fn register_native(
    handlers: Vec<Arc<dyn Handler>>,
    tools: Vec<Arc<dyn Tool>>,
    accounting: Accounting,
) -> (NativeRuntime, NativeTools) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = BlockingThreads { tickets: Arc::new(Semaphore::new(cores * BLOCKING_PER_CORE)), accounting };
    let runtime = NativeRuntime {
        handlers: handlers.into_iter().map(|handler| (Arc::from(handler.name()), handler)).collect(),
        threads: threads.clone(),
    };
    let tools = tools.into_iter().map(|tool| (Arc::from(tool.name()), tool)).collect();
    (runtime, NativeTools { tools, threads })
}

/// Executes agents by native handlers.
pub struct NativeRuntime {
    handlers: HashMap<Arc<str>, Arc<dyn Handler>>,
    threads: BlockingThreads,
}

#[async_trait]
impl Runtime for NativeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Native
    }

    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let (env, invocation) = (ctx.env, ctx.invocation);
        let name = invocation.agent.spec().implementation.handler.as_deref().unwrap_or_default();
        let Some(handler) = self.handlers.get(name).cloned() else {
            let message = format!("this release has no native handler `{name}`");
            return Err(Cause::new(ErrorCode::RuntimeUnavailable, message));
        };
        let input = HandlerInput {
            agent: Arc::clone(&invocation.agent),
            inputs: invocation.invoke.inputs.clone(),
            context: invocation.invoke.context.clone(),
            key: invocation.key(),
            run: invocation.grant.run().cloned(),
            now: env.clock.now(),
            deadline: invocation.grant.deadline(),
        };
        let outputs = match handler.mode() {
            HandlerMode::Async => {
                env.accounting.wait_lease().await?;
                handler.run(&input, ctx.files).await?
            }
            HandlerMode::Blocking => {
                let files = ctx.files.clone();
                self.threads.run(async move { handler.run(&input, &files).await }).await??
            }
        };
        invocation.agent.validate_outputs(&invocation.invoke.inputs, outputs)
    }
}

/// The native tools, `native:NAME`.
pub struct NativeTools {
    tools: HashMap<Arc<str>, Arc<dyn Tool>>,
    threads: BlockingThreads,
}

#[async_trait]
impl ToolSource for NativeTools {
    fn scheme(&self) -> &str {
        "native"
    }

    fn list(&self, _: &Catalogue) -> Vec<ToolDescription> {
        let mut tools: Vec<_> = self.tools.values().map(|tool| describe(&**tool)).collect();
        tools.sort_by(|one, other| one.name.cmp(&other.name));
        tools
    }

    fn describe(&self, name: &str, _: &Catalogue) -> Option<ToolDescription> {
        self.tools.get(name).map(|tool| describe(&**tool))
    }

    async fn call(&self, name: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let Some(tool) = self.tools.get(name).cloned() else {
            return Err(Cause::new(ErrorCode::UnknownTool, format!("there is no native tool `{name}`")));
        };
        match tool.mode() {
            // A tool runs in its caller's task, which may be the pipeline's: its panic must not unwind
            // further.
            HandlerMode::Async => {
                let result = AssertUnwindSafe(tool.call(&input, files)).catch_unwind().await;
                let crashed = || Cause::new(ErrorCode::AgentCrashed, format!("the tool {name} panicked"));
                result.unwrap_or_else(|_| Err(crashed()))
            }
            HandlerMode::Blocking => {
                let files = files.clone();
                self.threads.run(async move { tool.call(&input, &files).await }).await?
            }
        }
    }
}

fn describe(tool: &dyn Tool) -> ToolDescription {
    ToolDescription {
        name: tool.name().to_owned(),
        description: tool.description().to_owned(),
        parameters: tool.parameters(),
    }
}

/// A bounded number of blocking threads.
#[derive(Clone)]
struct BlockingThreads {
    tickets: Arc<Semaphore>,
    accounting: Accounting,
}

impl BlockingThreads {
    /// Drives a future on a thread that it may block. The thread holds its ticket and those of the caller's task until
    /// the work ends, also if the caller has stopped waiting. The work begins with the lease of the pod only, which may
    /// have lapsed while it has waited for a thread.
    async fn run<T, W>(&self, mut work: W) -> Result<T, Cause>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let closed = || Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down");
        loop {
            let ticket = Arc::clone(&self.tickets).acquire_owned().await.map_err(|_| closed())?;
            self.accounting.wait_lease().await?;
            let (accounting, runtime) = (self.accounting.clone(), tokio::runtime::Handle::current());
            let thread = spawn_blocking(move || {
                let _ticket = ticket;
                // The process may have been stopped until this thread has started.
                if accounting.has_lease() { Ok(runtime.block_on(work)) } else { Err(work) }
            });
            work = match thread.await {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(work)) => work,
                Err(error) if error.is_panic() => {
                    tracing::error!("handler panicked");
                    return Err(Cause::new(ErrorCode::AgentCrashed, "the handler panicked"));
                }
                Err(_) => return Err(closed()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use greenroom_protocol::BootTime;
    use greenroom_registry::Stores;
    use greenroom_registry::cluster::{PodLease, one_pod_with_lease};
    use tokio::sync::{oneshot, watch};

    use super::*;
    use crate::test_env::{TestEnv, TestEnvOptions};

    #[tokio::test]
    async fn what_has_waited_for_a_thread_begins_with_the_lease_of_the_pod_only() {
        for is_renewed in [true, false] {
            let test_env = TestEnv::new(TestEnvOptions::default());
            let lease = watch::Sender::new(PodLease::Unlimited);
            let cluster = one_pod_with_lease(lease.clone(), Arc::clone(&test_env.clock));
            let stores = Stores { cluster, ..test_env.stores.clone() };
            let accounting = Accounting::new(&stores, Arc::clone(&test_env.clock));
            let threads = BlockingThreads { tickets: Arc::new(Semaphore::new(1)), accounting };
            let (start_sender, start) = oneshot::channel();
            let (end_sender, end) = oneshot::channel::<()>();
            let mut first = Box::pin(threads.run(async move {
                start_sender.send(()).unwrap();
                end.await.unwrap();
            }));
            assert!(futures::poll!(&mut first).is_pending());
            start.await.unwrap();
            let has_started = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&has_started);
            let mut second = Box::pin(threads.run(async move { flag.store(true, Ordering::SeqCst) }));
            assert!(futures::poll!(&mut second).is_pending(), "the thread is in use");
            lease.send_replace(PodLease::Until(BootTime::default()));
            end_sender.send(()).unwrap();
            first.await.unwrap();
            assert!(futures::poll!(&mut second).is_pending(), "the lease has lapsed");
            lease.send_replace(if is_renewed { PodLease::Unlimited } else { PodLease::Lost });
            let code = second.await.err().map(|cause| cause.code);
            assert_eq!(code, (!is_renewed).then_some(ErrorCode::LeaseLost));
            assert_eq!(has_started.load(Ordering::SeqCst), is_renewed);
        }
    }
}
