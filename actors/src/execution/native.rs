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

use super::runtime::{ExecutionContext, Runtime};
use crate::concurrency::spawn_blocking;
use crate::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use crate::tool::{Tool, ToolDescription, ToolInput, ToolSource};

/// Handlers and tools that block a thread concurrently, per core of the machine.
const BLOCKING_PER_CORE: usize = 4;

/// Registers native handlers and tools. Both share one bound on blocking threads.
#[must_use]
pub fn register_native(handlers: Vec<Arc<dyn Handler>>, tools: Vec<Arc<dyn Tool>>) -> (NativeRuntime, NativeTools) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = BlockingThreads(Arc::new(Semaphore::new(cores * BLOCKING_PER_CORE)));
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
        env.accounting.wait_lease().await?;
        let outputs = match handler.mode() {
            HandlerMode::Async => handler.run(&input, ctx.files).await?,
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
struct BlockingThreads(Arc<Semaphore>);

impl BlockingThreads {
    /// Drives a future on a thread that it may block. The thread holds its ticket and those of the caller's task until
    /// the work ends, also if the caller has stopped waiting.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Cause> {
        let closed = || Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down");
        let ticket = Arc::clone(&self.0).acquire_owned().await.map_err(|_| closed())?;
        let runtime = tokio::runtime::Handle::current();
        let thread = spawn_blocking(move || {
            let _ticket = ticket;
            runtime.block_on(work)
        });
        thread.await.map_err(|error| {
            if error.is_panic() {
                tracing::error!("handler panicked");
                Cause::new(ErrorCode::AgentCrashed, "the handler panicked")
            } else {
                closed()
            }
        })
    }
}
