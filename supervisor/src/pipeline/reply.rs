//! The last stage: what came of a request, as its reply, its audit record, its log line and its
//! metrics. A cause becomes a reply here and nowhere else.

use greenroom_actors::agent::ExecutionFailure;
use greenroom_protocol::audit::Closing;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{
    ContentHash, Json, Metadata, MicroUsd, Outcome, PodId, Reply, Request, RequestId, Status, Values,
};
use greenroom_rego::{Denied, Grant, Permitted};

use super::request_info::RequestInfo;
use crate::telemetry::EXECUTION;

/// What the guard said. A yes is kept as the grant itself and spelled out when the answer is made: who
/// waits for a model holds no copy of it.
#[derive(Debug, Clone, Default)]
pub enum PolicyOutcome {
    /// It was not asked.
    #[default]
    NotEvaluated,
    /// Yes.
    Allowed(Grant),
    /// No: the rules that denied, and the revision of the policy that they belong to.
    Denied {
        /// The codes of the rules.
        rules: Vec<String>,
        /// The policy's revision, where one decided.
        revision: Option<String>,
    },
}

impl PolicyOutcome {
    /// A yes.
    #[must_use]
    pub fn yes(permit: &Permitted<Request>) -> Self {
        Self::Allowed(permit.grant().clone())
    }

    /// A no.
    #[must_use]
    pub fn no(denied: &Denied) -> Self {
        Self::Denied { rules: denied.codes(), revision: denied.revision().map(str::to_owned) }
    }

    /// The checks that were passed, or the rules that denied.
    #[must_use]
    pub fn checks(&self) -> Vec<String> {
        match self {
            Self::NotEvaluated => Vec::new(),
            Self::Allowed(grant) => grant.checks().to_vec(),
            Self::Denied { rules, .. } => rules.clone(),
        }
    }

    /// The revision of the policy that decided.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::NotEvaluated => None,
            Self::Allowed(grant) => Some(grant.revision()),
            Self::Denied { revision, .. } => revision.as_deref(),
        }
    }

    /// The version of the target that was judged.
    #[must_use]
    pub fn version(&self) -> Option<&ContentHash> {
        match self {
            Self::Allowed(grant) => grant.version(),
            Self::NotEvaluated | Self::Denied { .. } => None,
        }
    }

    /// True once the guard has decided at all.
    #[must_use]
    pub const fn was_evaluated(&self) -> bool {
        match self {
            Self::NotEvaluated => false,
            Self::Allowed(_) | Self::Denied { .. } => true,
        }
    }
}

/// What came of the act behind the guard: the outcome of this hop, or the whole reply of a run.
pub enum Dispatched {
    /// The act's own outcome.
    Outcome(Outcome),
    /// A reply that was made elsewhere: of a run, or kept under an idempotency key.
    Reply(Box<Reply>),
}

impl Dispatched {
    /// A reply that was made elsewhere.
    #[must_use]
    pub fn from_reply(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// What is kept under an idempotency key; the next one who asks with it sees this.
#[must_use]
pub fn stored_reply(id: &RequestId, came: &Result<Dispatched, ExecutionFailure>) -> Reply {
    match came {
        Ok(Dispatched::Outcome(outcome)) => reply_from_outcome(id.to_string(), outcome.clone()),
        Ok(Dispatched::Reply(reply)) => (**reply).clone(),
        Err(failure) => refused(id.to_string(), failure.clone()),
    }
}

/// Makes the reply.
#[must_use]
pub fn reply(
    info: &RequestInfo,
    pod: &PodId,
    decision: &PolicyOutcome,
    came: Result<Dispatched, ExecutionFailure>,
) -> Reply {
    let duration_ms = u64::try_from(info.elapsed().as_millis()).unwrap_or(u64::MAX);
    let own = u32::from(decision.was_evaluated());
    let mut reply = match came {
        Ok(Dispatched::Outcome(outcome)) => reply_from_outcome(info.reply_id(), outcome),
        Ok(Dispatched::Reply(reply)) => *reply,
        // Where it was refused there may be no run to name.
        Err(failure) => refused(info.id.to_string(), failure),
    };
    let metadata = &mut reply.metadata;
    metadata.duration_ms = duration_ms;
    metadata.policy_decisions = metadata.policy_decisions.saturating_add(own);
    if metadata.policy_checks.is_empty() && reply.error.is_none() {
        metadata.policy_checks = decision.checks();
    }
    metadata.trace_id = Some(info.trace.clone());
    metadata.pod = Some(pod.clone());
    reply
}

fn refused(id: String, failure: ExecutionFailure) -> Reply {
    let ExecutionFailure { cause, usage } = failure;
    let metadata = Metadata::from(usage);
    Reply { id, status: Status::of(&cause), outputs: Values::new(), error: Some(cause), metadata }
}

fn reply_from_outcome(id: String, outcome: Outcome) -> Reply {
    let Outcome { outputs, usage } = outcome;
    Reply { id, status: Status::Success, outputs, error: None, metadata: Metadata::from(usage) }
}

/// The audit's closing record.
#[must_use]
pub fn closing(info: &RequestInfo, decision: &PolicyOutcome, reply: &Reply) -> Closing {
    Closing {
        status: reply.status,
        code: reply.error.as_ref().map(|cause| cause.code),
        checks: decision.checks(),
        policy_revision: decision.revision().map(str::to_owned),
        version: decision.version().copied(),
        elapsed_us: u64::try_from(info.elapsed().as_micros()).unwrap_or(u64::MAX),
        tokens: reply.metadata.tokens_used,
        cost: MicroUsd::from_usd(reply.metadata.cost_usd).unwrap_or_default(),
    }
}

/// Writes the document's line for an execution: one for each invocation of an agent, refused ones too.
pub fn log(info: &RequestInfo, decision: &PolicyOutcome, reply: &Reply) {
    let Some(agent) = &info.agent else { return };
    tracing::info!(
        target: EXECUTION,
        agent_id = agent.as_str(),
        team_id = info.team.as_ref().map_or("", |team| team.as_str()),
        workflow_id = info.workflow.as_ref().map_or("", |workflow| workflow.as_str()),
        user_id = info.user.as_deref().unwrap_or(""),
        action = "execute",
        duration_ms = reply.metadata.duration_ms,
        status = reply.status.as_str(),
        tokens_used = reply.metadata.tokens_used.total(),
        policy_checks = decision.checks().join(","),
        trace_id = info.trace.as_str(),
    );
}

/// What a look gives back, as an outcome.
#[must_use]
pub fn query_outcome(outputs: impl IntoIterator<Item = (&'static str, Json)>) -> Outcome {
    let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Outcome { outputs, usage: Usage::default() }
}
