//! The trait behind which each kind of agent is executed, and the context that an attempt gets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_definitions::Agent;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, Reply, Request, RequestId, Timestamp, Values};
use tokio::time::Instant;

use super::ExecutionEnv;
use super::invocation::{Invocation, UsageMeter};
use super::log_lines::LogLines;
use crate::failure::RetryBudget;
use crate::handler::FileAccess;
use crate::pipeline::CallScope;

/// Executes the agents whose definitions name its kind.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// The kind that a definition names in `implementation.runtime`.
    fn kind(&self) -> RuntimeKind;

    /// True if an execution of this agent sends its inputs to something outside of the organization, which may pass
    /// them to a model. The rule `deny_external_models` depends on it.
    fn is_external(&self, _agent: &Agent) -> bool {
        false
    }

    /// Makes one attempt: computes the outputs and validates them against the definition.
    ///
    /// # Errors
    /// The cause that the attempt failed with; a retryable one may be followed by another attempt.
    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause>;
}

/// The context of one attempt.
pub struct ExecutionContext<'a> {
    pub(crate) env: &'a ExecutionEnv,
    pub(crate) invocation: &'a Invocation,
    pub(crate) files: &'a FileAccess,
    pub(crate) meter: &'a UsageMeter,
    pub(crate) budget: &'a Arc<RetryBudget>,
    /// Counts the lines that a handler has written to the log, over all attempts.
    pub(crate) log_lines: &'a LogLines,
    /// The end of the execution: the deadline of the request, or the timeout of the agent if that is earlier.
    pub(crate) ends_at: Instant,
}

impl ExecutionContext<'_> {
    /// The call that this attempt serves.
    #[must_use]
    pub fn invocation(&self) -> &Invocation {
        self.invocation
    }

    /// The access to files and artifacts.
    #[must_use]
    pub fn files(&self) -> &FileAccess {
        self.files
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.env.clock.now()
    }

    /// The time that is left to the execution.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        let until_deadline = self.invocation.grant.deadline().remaining(self.env.clock.now());
        until_deadline.min(self.ends_at.saturating_duration_since(Instant::now()))
    }

    /// Waits until the pod has its lease: an effect outside of the pod begins with it only.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::LeaseLost`] if another pod has declared this one dead.
    pub async fn wait_lease(&self) -> Result<(), Cause> {
        self.env.accounting.wait_lease().await
    }

    /// Issues a nested request as the agent itself, waits for its reply and adds its usage.
    pub async fn issue_request(&self, request: Request) -> Reply {
        self.issue_request_with_id(RequestId::from_u128(self.env.ids.next_id()), request).await
    }

    /// As [`ExecutionContext::issue_request`], for a request that each attempt of the call makes under the same id.
    pub(super) async fn issue_request_with_id(&self, id: RequestId, request: Request) -> Reply {
        let request = self.invocation.grant.issue_request(id, request);
        let settlements = self.invocation.settlements.clone();
        let scope = CallScope { settlements, ..CallScope::default() };
        let reply = self.env.pipeline.handle_within(request, scope).await;
        self.meter.add_nested(&reply.usage());
        reply
    }
}
