//! Handlers and tools that are compiled in. Those that block run on a thread of their own, of which
//! there is a bounded number.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use greenroom_protocol::{Cause, Code, Json, Values};

use super::Backstage;
use super::invocation::Scene;
use crate::handler::{Manner, Work};

/// Runs the handler of an agent, and checks what it gives.
pub(super) async fn execute(scene: &Scene<'_>) -> Result<Values, Cause> {
    let (backstage, job) = (scene.backstage, scene.job);
    let name = job.agent.spec().implementation.handler.as_deref().unwrap_or_default();
    let Some(handler) = backstage.handlers.get(name).cloned() else {
        return Err(Cause::new(Code::RuntimeUnavailable, format!("this release has no native handler `{name}`")));
    };
    let work = Work {
        agent: Arc::clone(&job.agent),
        inputs: job.invoke.inputs.clone(),
        context: job.invoke.context.clone(),
        key: job.key(),
        run: job.grant.run().cloned(),
        now: backstage.clock.now(),
        deadline: job.grant.deadline(),
    };
    let outputs = match handler.manner() {
        Manner::Yields => handler.run(&work, &backstage.desk).await?,
        Manner::Blocks => {
            let desk = backstage.desk.clone();
            blocking(backstage, async move { handler.run(&work, &desk).await }).await??
        }
    };
    job.agent.validate_outputs(&job.invoke.inputs, outputs)
}

/// Runs a tool.
pub(super) async fn use_tool(backstage: &Backstage, name: &str, arguments: Values) -> Result<Json, Cause> {
    let Some(tool) = backstage.tools.get(name).cloned() else {
        return Err(Cause::new(Code::UnknownTool, format!("there is no native tool `{name}`")));
    };
    match tool.manner() {
        // A tool runs in its caller's task, which may be the pipeline's: its panic must end here.
        Manner::Yields => {
            let called = AssertUnwindSafe(tool.call(&arguments, &backstage.desk)).catch_unwind().await;
            called.unwrap_or_else(|_| Err(Cause::new(Code::AgentCrashed, format!("the tool {name} panicked"))))
        }
        Manner::Blocks => {
            let desk = backstage.desk.clone();
            blocking(backstage, async move { tool.call(&arguments, &desk).await }).await?
        }
    }
}

/// Drives a future on a thread that it may block. The thread's place is given back when the work is
/// over, not when somebody stops waiting for it, since a thread cannot be stopped.
async fn blocking<T: Send + 'static>(
    backstage: &Backstage,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Cause> {
    let closed = || Cause::new(Code::ShuttingDown, "the process is about to end");
    let place = Arc::clone(&backstage.blocking).acquire_owned().await.map_err(|_| closed())?;
    let runtime = tokio::runtime::Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let _place = place;
        runtime.block_on(work)
    });
    thread.await.map_err(|error| {
        if error.is_panic() {
            tracing::error!("handler panicked");
            Cause::new(Code::AgentCrashed, "the handler panicked")
        } else {
            closed()
        }
    })
}
