//! Handlers and tools that are compiled in. Those that block run on a thread of their own, of which
//! there is a bounded number.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use super::ExecutionEnv;
use super::invocation::ExecutionContext;
use crate::handler::{HandlerInput, HandlerMode};

/// Runs the handler of an agent, and checks what it gives.
pub(super) async fn execute(ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
    let (env, job) = (ctx.env, ctx.job);
    let name = job.agent.spec().implementation.handler.as_deref().unwrap_or_default();
    let Some(handler) = env.handlers.get(name).cloned() else {
        return Err(Cause::new(ErrorCode::RuntimeUnavailable, format!("this release has no native handler `{name}`")));
    };
    let work = HandlerInput {
        agent: Arc::clone(&job.agent),
        inputs: job.invoke.inputs.clone(),
        context: job.invoke.context.clone(),
        key: job.key(),
        run: job.grant.run().cloned(),
        now: env.clock.now(),
        deadline: job.grant.deadline(),
    };
    let outputs = match handler.mode() {
        HandlerMode::Async => handler.run(&work, &env.files).await?,
        HandlerMode::Blocking => {
            let files = env.files.clone();
            run_blocking(env, async move { handler.run(&work, &files).await }).await??
        }
    };
    job.agent.validate_outputs(&job.invoke.inputs, outputs)
}

/// Runs a tool.
pub(super) async fn call_tool(env: &ExecutionEnv, name: &str, arguments: Values) -> Result<Json, Cause> {
    let Some(tool) = env.tools.get(name).cloned() else {
        return Err(Cause::new(ErrorCode::UnknownTool, format!("there is no native tool `{name}`")));
    };
    match tool.mode() {
        // A tool runs in its caller's task, which may be the pipeline's: its panic must end here.
        HandlerMode::Async => {
            let called = AssertUnwindSafe(tool.call(&arguments, &env.files)).catch_unwind().await;
            called.unwrap_or_else(|_| Err(Cause::new(ErrorCode::AgentCrashed, format!("the tool {name} panicked"))))
        }
        HandlerMode::Blocking => {
            let files = env.files.clone();
            run_blocking(env, async move { tool.call(&arguments, &files).await }).await?
        }
    }
}

/// Drives a future on a thread that it may block. The thread's place is given back when the work is
/// over, not when somebody stops waiting for it, since a thread cannot be stopped.
async fn run_blocking<T: Send + 'static>(
    env: &ExecutionEnv,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Cause> {
    let closed = || Cause::new(ErrorCode::ShuttingDown, "the process is about to end");
    let ticket = Arc::clone(&env.blocking).acquire_owned().await.map_err(|_| closed())?;
    let runtime = tokio::runtime::Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
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
