//! One execution of one agent, from its validated inputs to its validated outputs.
//!
//! ```text
//! execute      inputs → attempts, as the definition's `retry` allows → outputs
//! └── Runtime  the implementation of the definition's `runtime`
//!     ├── native   a handler that is compiled in
//!     ├── python   a handler in Python; it calls the host through `host_calls`
//!     └── llm      prompt, memory → turns { model calls, tool calls } → answer, repair
//! ```
//!
//! Everything that an execution needs from outside is in the [`ExecutionEnv`]. Actors are elsewhere: an
//! execution is one future, and the actor of its agent owns it.

pub mod accounting;
mod agent_tools;
mod answer_json;
mod conversation;
pub mod host_calls;
pub mod invocation;
mod llm;
mod log_lines;
mod memory;
mod model_call;
pub mod model_registry;
mod native;
mod repair;
pub mod runtime;
mod settlement;
pub(crate) mod stream;
mod suspension;
mod tool_results;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::Agent;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, Json, Values};
use tokio::time::Instant;

use crate::concurrency::PodConcurrency;
use crate::definition_resolver::DefinitionResolver;
use crate::failure::{ProviderBackoff, RetryBudgets, is_retried_by_calls};
use crate::handler::{FileAccess, FileSources};
use crate::observer::Observer;
use crate::pipeline::PipelineHandle;
use crate::tool::{ToolInput, ToolSource};

pub use accounting::Accounting;
pub use agent_tools::AgentTools;
pub use llm::LlmRuntime;
pub use model_registry::ModelRegistry;
pub use native::{NativeRuntime, NativeTools, register_native};
pub use stream::{AnswerEvent, DeltaSink};

use invocation::{Invocation, UsageMeter};
use log_lines::LogLines;
use runtime::{ExecutionContext, Runtime};

/// The parts of an [`ExecutionEnv`].
pub struct ExecutionEnvParts {
    /// The implementations of the runtimes that this pod has.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// The sources of the tools that agents may call.
    pub tool_sources: Vec<Arc<dyn ToolSource>>,
    /// The access to files and artifacts.
    pub files: FileSources,
    /// The configured models.
    pub models: ModelRegistry,
    /// Reserves and settles the cost of model calls.
    pub accounting: Accounting,
    /// Handles the nested requests of executions.
    pub pipeline: PipelineHandle,
    /// Resolves definitions.
    pub resolver: Arc<dyn DefinitionResolver>,
    /// Receives actor events.
    pub observer: Arc<dyn Observer>,
    /// Reads the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Generates ids.
    pub ids: Arc<dyn IdGenerator>,
}

/// The dependencies that all executions share.
pub struct ExecutionEnv {
    runtimes: Vec<Arc<dyn Runtime>>,
    tool_sources: Vec<Arc<dyn ToolSource>>,
    pub(crate) files: FileSources,
    pub(crate) models: ModelRegistry,
    pub(crate) accounting: Accounting,
    pub(crate) pipeline: PipelineHandle,
    pub(crate) resolver: Arc<dyn DefinitionResolver>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGenerator>,
    pub(crate) provider_backoff: ProviderBackoff,
    pub(crate) budgets: Arc<RetryBudgets>,
    concurrency: PodConcurrency,
}

impl ExecutionEnv {
    /// Assembles the environment.
    #[must_use]
    pub fn new(parts: ExecutionEnvParts) -> Arc<Self> {
        let ExecutionEnvParts {
            runtimes,
            tool_sources,
            files,
            models,
            accounting,
            pipeline,
            resolver,
            observer,
            clock,
            ids,
        } = parts;
        Arc::new(Self {
            runtimes,
            tool_sources,
            files,
            models,
            accounting,
            pipeline,
            resolver,
            observer,
            clock,
            ids,
            provider_backoff: ProviderBackoff::default(),
            budgets: Arc::default(),
            concurrency: PodConcurrency::default(),
        })
    }

    /// The retry budgets of the active runs.
    #[must_use]
    pub fn budgets(&self) -> &Arc<RetryBudgets> {
        &self.budgets
    }

    /// The executions of the agents of this pod.
    #[must_use]
    pub const fn concurrency(&self) -> &PodConcurrency {
        &self.concurrency
    }

    /// Executes a tool, by its name with the scheme, for the agent with this file access. Policy has permitted
    /// the call before.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownTool`]; [`ErrorCode::LeaseLost`]; a [`Cause`] of the tool.
    pub async fn call_tool(&self, tool: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let known = tool.split_once(':').and_then(|(scheme, name)| Some((self.tool_source(scheme)?, name)));
        self.accounting.wait_lease().await?;
        match known {
            Some((source, name)) => source.call(name, input, files).await,
            None => Err(Cause::new(ErrorCode::UnknownTool, format!("there is no tool `{tool}`"))),
        }
    }

    /// True if a call of this tool communicates with something outside of the organization. A tool of which the pod
    /// knows no source counts as one that does.
    #[must_use]
    pub fn is_external_tool(&self, tool: &str) -> bool {
        let known = tool.split_once(':').and_then(|(scheme, name)| Some((self.tool_source(scheme)?, name)));
        known.is_none_or(|(source, name)| source.is_external(name))
    }

    /// True if an execution of this agent, apart from the models that it calls, sends its inputs to something outside
    /// of the organization.
    #[must_use]
    pub fn is_external_agent(&self, agent: &Agent) -> bool {
        self.runtime(agent.spec().implementation.runtime).is_ok_and(|runtime| runtime.is_external(agent))
    }

    pub(crate) fn tool_source(&self, scheme: &str) -> Option<&Arc<dyn ToolSource>> {
        self.tool_sources.iter().find(|source| source.scheme() == scheme)
    }

    fn runtime(&self, kind: RuntimeKind) -> Result<&dyn Runtime, Cause> {
        let runtime = self.runtimes.iter().find(|runtime| runtime.kind() == kind);
        runtime.map(|runtime| &**runtime).ok_or_else(|| unavailable(kind))
    }
}

/// Executes an agent, and retries as far as its definition and the budget of the request allow. Usage is
/// recorded in `meter` as it occurs, so that it is known even if this future is dropped.
///
/// The calls of a model are retried one by one; an execution is not repeated for what failed in spite of that, because
/// the two would multiply.
///
/// # Errors
/// The cause of the last attempt.
pub async fn execute(
    env: Arc<ExecutionEnv>,
    mut invocation: Box<Invocation>,
    meter: UsageMeter,
) -> Result<Values, Cause> {
    let agent = Arc::clone(&invocation.agent);
    // The actor of the agent ends the execution at this time.
    let ends_at = Instant::now() + invocation.grant.deadline().remaining(env.clock.now()).min(agent.timeout());
    meter.record_agent(agent.id());
    let budget = env.budgets.for_grant(&invocation.grant, &invocation.key());
    // Futures that end before a model is awaited are boxed, here and below, so that an execution in
    // flight does not carry their state.
    let grant = &invocation.grant;
    let files = env.files.for_agent(&grant.principal().id.tenant, &agent, grant.run());
    Box::pin(invocation::load_artifacts(&files, &mut invocation)).await?;
    invocation.invoke.inputs = agent.validate_inputs(std::mem::take(&mut invocation.invoke.inputs))?;
    let runtime = env.runtime(agent.spec().implementation.runtime)?;
    let is_repeatable = |cause: &Cause| {
        let is_done = runtime.kind() == RuntimeKind::Llm && is_retried_by_calls(cause.code);
        cause.code.is_retryable() && !is_done
    };
    let log_lines = LogLines::default();
    let mut attempt = 1;
    loop {
        let ctx = ExecutionContext {
            env: &env,
            invocation: &invocation,
            files: &files,
            meter: &meter,
            budget: &budget,
            log_lines: &log_lines,
            ends_at,
        };
        let cause = match runtime.execute(&ctx).await {
            Ok(outputs) => return Ok(outputs),
            Err(cause) => cause,
        };
        let delay = agent.spec().retry.as_ref().and_then(|retry| retry.delay_after(attempt));
        // A service that says when it can be called again is not called before.
        let retry_after = Duration::from_millis(cause.retry_after_ms.unwrap_or_default());
        let delay =
            delay.map(|delay| delay.max(retry_after)).filter(|delay| retry_after.is_zero() || *delay < ctx.time_left());
        let Some(delay) = delay.filter(|_| is_repeatable(&cause) && budget.try_take()) else { return Err(cause) };
        tracing::debug!(agent.id = agent.id().as_str(), error.code = cause.code.as_str(), attempt, "attempt failed");
        Box::pin(tokio::time::sleep(delay)).await;
        attempt += 1;
    }
}

fn unavailable(kind: RuntimeKind) -> Cause {
    Cause::new(ErrorCode::RuntimeUnavailable, format!("this release does not execute the runtime `{}`", kind.as_str()))
}

#[cfg(test)]
mod tests;
