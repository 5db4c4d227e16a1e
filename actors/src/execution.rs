//! One execution of one agent, from its validated inputs to its validated outputs.
//!
//! ```text
//! perform       inputs → attempts, as the definition's `retry` says → outputs
//! ├── native    a handler that is compiled in
//! └── llm       prompt, memory → turns { ask { models, spend, stream }, tools } → repair
//! ```
//!
//! Everything that an execution needs from outside stands in the [`Backstage`]. What does not live
//! here: actors. An execution is one future, and its agent's actor owns it.

pub mod accounting;
mod conversation;
pub mod invocation;
mod llm;
mod memory;
mod model_call;
pub mod model_registry;
mod native;
mod repair;
mod stream;
mod tools;

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, Values};
use tokio::sync::Semaphore;

use crate::definition_resolver::DefinitionResolver;
use crate::failure::{ProviderBackoff, RetryBudgets};
use crate::handler::{FileAccess, Handler};
use crate::observer::Observer;
use crate::pipeline::PipelineHandle;
use crate::tool::Tool;

pub use accounting::Accounting;
pub use model_registry::ModelRegistry;
pub use stream::{AnswerEvent, DeltaSink};

use invocation::{Invocation, UsageMeter};

/// Handlers and tools that block a thread at the same time, for each core of the machine.
const BLOCKING_PER_CORE: usize = 4;

/// What is handed in to make a [`Backstage`].
pub struct ExecutionEnvParts {
    /// Native handlers.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Native tools.
    pub tools: Vec<Arc<dyn Tool>>,
    /// What handlers and tools may reach.
    pub files: FileAccess,
    /// Which models there are.
    pub models: ModelRegistry,
    /// Who pays.
    pub accounting: Accounting,
    /// The way back in.
    pub pipeline: PipelineHandle,
    /// Where definitions are found.
    pub resolver: Arc<dyn DefinitionResolver>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Reads the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes numbers.
    pub ids: Arc<dyn IdGenerator>,
}

/// Everything that executions share.
pub struct ExecutionEnv {
    pub(crate) handlers: HashMap<Arc<str>, Arc<dyn Handler>>,
    pub(crate) tools: HashMap<Arc<str>, Arc<dyn Tool>>,
    pub(crate) files: FileAccess,
    pub(crate) models: ModelRegistry,
    pub(crate) accounting: Accounting,
    pub(crate) pipeline: PipelineHandle,
    pub(crate) resolver: Arc<dyn DefinitionResolver>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGenerator>,
    pub(crate) clocks: ProviderBackoff,
    pub(crate) budgets: Arc<RetryBudgets>,
    pub(crate) blocking: Arc<Semaphore>,
}

impl ExecutionEnv {
    /// Sets the stage up.
    #[must_use]
    pub fn new(props: ExecutionEnvParts) -> Arc<Self> {
        let ExecutionEnvParts {
            handlers,
            tools,
            files: desk,
            models,
            accounting: treasury,
            pipeline: doorway,
            resolver: library,
            observer,
            clock,
            ids,
        } = props;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            handlers: handlers.into_iter().map(|handler| (Arc::from(handler.name()), handler)).collect(),
            tools: tools.into_iter().map(|tool| (Arc::from(tool.name()), tool)).collect(),
            files: desk,
            models,
            accounting: treasury,
            pipeline: doorway,
            resolver: library,
            observer,
            clock,
            ids,
            clocks: ProviderBackoff::default(),
            budgets: Arc::default(),
            blocking: Arc::new(Semaphore::new(cores * BLOCKING_PER_CORE)),
        })
    }

    /// The retry budgets of the runs under way.
    #[must_use]
    pub fn budgets(&self) -> &Arc<RetryBudgets> {
        &self.budgets
    }

    /// Uses a native tool. Who may use which was judged before.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownTool`]; what the tool says.
    pub async fn use_tool(&self, name: &str, arguments: Values) -> Result<greenroom_protocol::Json, Cause> {
        native::call_tool(self, name, arguments).await
    }
}

/// Lets an agent work once, and again as far as its definition and the run's budget allow. What it
/// takes is written on `tab` as it happens, so that nothing is lost if this future is dropped.
///
/// # Errors
/// The cause of the last attempt.
pub async fn execute(env: Arc<ExecutionEnv>, assignment: Box<Invocation>, meter: UsageMeter) -> Result<Values, Cause> {
    let agent = Arc::clone(&assignment.agent);
    meter.record_agent(agent.id());
    let budget = env.budgets.for_grant(&assignment.grant, &assignment.key());
    let mut assignment = assignment;
    // What is over before a model is waited for is boxed, here and below: who waits does not hold it.
    Box::pin(invocation::load_artifacts(&env.files, &mut assignment)).await?;
    assignment.invoke.inputs = agent.validate_inputs(std::mem::take(&mut assignment.invoke.inputs))?;
    let mut attempt = 1;
    loop {
        let ctx = invocation::ExecutionContext { env: &env, job: &assignment, meter: &meter, budget: &budget };
        // Boxed, so that a held execution of one runtime does not carry the other's state.
        let result = match agent.spec().implementation.runtime {
            RuntimeKind::Native => Box::pin(native::execute(&ctx)).await,
            RuntimeKind::Llm => Box::pin(llm::execute(&ctx)).await,
            other @ (RuntimeKind::Wasm | RuntimeKind::Python | RuntimeKind::Http) => Err(unavailable(other)),
        };
        let cause = match result {
            Ok(outputs) => return Ok(outputs),
            Err(cause) => cause,
        };
        let wait = agent.spec().retry.as_ref().and_then(|retry| retry.delay_after(attempt));
        let Some(wait) = wait.filter(|_| cause.code.is_retryable() && budget.try_take()) else { return Err(cause) };
        tracing::debug!(agent.id = agent.id().as_str(), error.code = cause.code.as_str(), attempt, "attempt failed");
        Box::pin(tokio::time::sleep(wait)).await;
        attempt += 1;
    }
}

fn unavailable(runtime: RuntimeKind) -> Cause {
    Cause::new(
        ErrorCode::RuntimeUnavailable,
        format!("this release does not execute the runtime `{}`", runtime.as_str()),
    )
}

#[cfg(test)]
mod tests;
