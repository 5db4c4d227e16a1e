//! Calls of a run while the server of a store that pods share is away. What fails because of that before anything of a
//! call was executed is repeated until the server is there again: it is no failure of the step, and takes none of its
//! retries. The deadline of the run and the death of the pod end the repetition.

use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::plan::{Plan, PlanStep};
use greenroom_definitions::{Agent, Scope};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, MicroUsd, Reply, Request, Tokens, WorkflowId};
use greenroom_registry::StoreError;

use super::{Call, EffectContext};
use crate::pipeline::CallScope;
use crate::run::machine::CallTarget;

/// How long the entries before a call may take to become durable until the call is requested anew.
const ENTRIES_WAIT_MAX: Duration = Duration::from_secs(3);
/// Interval of the repetitions.
const REPETITION_INTERVAL: Duration = Duration::from_millis(200);

impl EffectContext {
    /// Requests a call and awaits its reply. Returns the agent beside it, if it is the call of one.
    ///
    /// # Errors
    /// The cause by which the request cannot be built; [`greenroom_protocol::ErrorCode::StoreUnavailable`] if the entries
    /// before it are not written.
    pub(super) async fn request_call(
        &self,
        call: &Call,
        step: &PlanStep,
        values: &Scope<'_>,
        scope: CallScope,
    ) -> Result<(Reply, Option<Arc<Agent>>), Cause> {
        loop {
            let (request, agent) = self.build_request(call, step, values).await?;
            match self.issue_in_time(call, step.timeout, request, scope.clone()).await {
                Some(reply) if self.has_started_no_run(call, &reply) => tokio::time::sleep(REPETITION_INTERVAL).await,
                Some(reply) => return Ok((reply, agent)),
                None => scope.commit.clone().wait().await?,
            }
        }
    }

    /// The plan of a workflow that a step calls, in the version that is pinned with this run.
    pub(in crate::run) async fn called_plan(&self, workflow: &WorkflowId) -> Result<Arc<Plan>, Cause> {
        let version = self.started.inner.workflows.get(workflow);
        loop {
            match self.env.resolver.workflow(workflow, version).await {
                Ok(workflow) => return Ok(workflow.plan().clone()),
                Err(cause) if self.is_outage(&cause) => tokio::time::sleep(REPETITION_INTERVAL).await,
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Issues the request of a call. It is authorized while the entries before it become durable. `None` if that takes
    /// long, and then nothing of the call was executed: its time, which is bounded by the step, begins with its next
    /// request.
    async fn issue_in_time(
        &self,
        call: &Call,
        time_max: Option<Duration>,
        request: Request,
        scope: CallScope,
    ) -> Option<Reply> {
        let commit = scope.commit.clone();
        let reply = self.issue(call, time_max, request, scope);
        if !self.env.stores.cluster.is_shared() {
            return Some(reply.await);
        }
        let overdue = async {
            if tokio::time::timeout(ENTRIES_WAIT_MAX, commit.wait()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // First, so that a call which sees its entries written is not dropped.
            biased;
            reply = reply => Some(reply),
            () = overdue => None,
        }
    }

    /// True if a call has not started its run, because the server is away. To request it again finds the run that it has
    /// started all the same.
    fn has_started_no_run(&self, call: &Call, reply: &Reply) -> bool {
        let calls_run = match call.target {
            CallTarget::Workflow { .. } | CallTarget::Team { .. } => true,
            CallTarget::Agent { .. } => false,
        };
        let Usage { tokens, cost, agents, steps, .. } = reply.usage();
        let is_unused = tokens == Tokens::default() && cost == MicroUsd::default() && agents.is_empty() && steps == 0;
        calls_run && is_unused && reply.error.as_ref().is_some_and(|cause| self.is_outage(cause))
    }

    /// True if the server of a store that pods share is away, and the same may succeed later.
    fn is_outage(&self, cause: &Cause) -> bool {
        self.env.stores.cluster.is_shared() && StoreError::is_outage_cause(cause)
    }
}
