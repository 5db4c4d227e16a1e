//! The last stage: the outcome of a request becomes its reply, the closing of its audit entry and its log
//! line. Only this module turns a cause into a reply.

use std::fmt::{self, Write as _};

use greenroom_actors::agent::ExecutionFailure;
use greenroom_protocol::audit::Closing;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{
    ContentHash, Json, Metadata, Outcome, PodId, Reply, Request, RequestId, Status, Values, WrittenVersion,
};
use greenroom_rego::{Denied, Grant, Permitted};

use super::request_info::RequestInfo;
use crate::telemetry::{EXECUTION, LIST_SEPARATOR};

/// The decision of the guard. An allow is held as the grant and expanded when the reply is made, so that a
/// request that waits for a model needs no copy of it.
#[derive(Debug, Clone, Default)]
pub enum PolicyOutcome {
    /// The guard has not evaluated the request.
    #[default]
    NotEvaluated,
    /// The policy allowed it.
    Allowed(Grant),
    /// The policy denied it.
    Denied {
        /// The codes of the reasons.
        codes: Vec<String>,
        /// The revision of the policy, if one decided.
        revision: Option<String>,
    },
}

impl PolicyOutcome {
    /// The outcome of an allow.
    #[must_use]
    pub fn from_permit(permit: &Permitted<Request>) -> Self {
        Self::Allowed(permit.grant().clone())
    }

    /// The outcome of a denial.
    #[must_use]
    pub fn from_denial(denied: &Denied) -> Self {
        Self::Denied { codes: denied.codes(), revision: denied.revision().map(str::to_owned) }
    }

    /// The checks that passed, or the codes of the reasons for a denial.
    #[must_use]
    pub fn checks(&self) -> Vec<String> {
        match self {
            Self::NotEvaluated => Vec::new(),
            Self::Allowed(grant) => grant.checks().to_vec(),
            Self::Denied { codes, .. } => codes.clone(),
        }
    }

    /// The same as [`PolicyOutcome::checks`], as the log has them: joined by [`LIST_SEPARATOR`].
    #[must_use]
    pub const fn check_list(&self) -> impl fmt::Display + '_ {
        CheckList(self)
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

    /// The version of the resource that was authorized.
    #[must_use]
    pub fn version(&self) -> Option<&ContentHash> {
        match self {
            Self::Allowed(grant) => grant.version(),
            Self::NotEvaluated | Self::Denied { .. } => None,
        }
    }

    /// True if the guard denied the request.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::NotEvaluated | Self::Allowed(_) => false,
        }
    }

    /// True once the guard has decided.
    #[must_use]
    pub const fn was_evaluated(&self) -> bool {
        match self {
            Self::NotEvaluated => false,
            Self::Allowed(_) | Self::Denied { .. } => true,
        }
    }
}

/// The names of the checks of an outcome, for the log.
struct CheckList<'o>(&'o PolicyOutcome);

impl fmt::Display for CheckList<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = |index: usize, name: &str| {
            if index > 0 {
                formatter.write_char(LIST_SEPARATOR)?;
            }
            formatter.write_str(name)
        };
        match self.0 {
            PolicyOutcome::NotEvaluated => Ok(()),
            PolicyOutcome::Allowed(grant) => {
                grant.checks().iter().enumerate().try_for_each(|(index, name)| write(index, name))
            }
            PolicyOutcome::Denied { codes, .. } => {
                codes.iter().enumerate().try_for_each(|(index, code)| write(index, code))
            }
        }
    }
}

/// What dispatching a permit returned.
pub enum Dispatched {
    /// The outcome of this hop.
    Outcome(Outcome),
    /// A complete reply: of a run, or stored under an idempotency key.
    Reply(Box<Reply>),
}

impl Dispatched {
    /// A complete reply.
    #[must_use]
    pub fn from_reply(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// The reply that is stored under an idempotency key and returned when the key is repeated.
#[must_use]
pub fn stored_reply(id: &RequestId, outcome: &Result<Dispatched, ExecutionFailure>) -> Reply {
    match outcome {
        Ok(Dispatched::Outcome(outcome)) => reply_from_outcome(id.to_string(), outcome.clone()),
        Ok(Dispatched::Reply(reply)) => (**reply).clone(),
        Err(failure) => reply_from_failure(id.to_string(), failure.clone()),
    }
}

/// Makes the reply.
#[must_use]
pub fn make_reply(
    info: &RequestInfo,
    pod: &PodId,
    decision: &PolicyOutcome,
    outcome: Result<Dispatched, ExecutionFailure>,
) -> Reply {
    let duration_ms = u64::try_from(info.elapsed().as_millis()).unwrap_or(u64::MAX);
    let own_decisions = u32::from(decision.was_evaluated());
    let mut reply = match outcome {
        Ok(Dispatched::Outcome(outcome)) => reply_from_outcome(info.reply_id(), outcome),
        Ok(Dispatched::Reply(reply)) => *reply,
        // A rejected request may have no run whose id its reply could have.
        Err(failure) => reply_from_failure(info.id.to_string(), failure),
    };
    let metadata = &mut reply.metadata;
    metadata.duration_ms = duration_ms;
    metadata.policy_decisions = metadata.policy_decisions.saturating_add(own_decisions);
    metadata.policy_denials = metadata.policy_denials.saturating_add(u32::from(decision.is_denial()));
    if let Some(revision) =
        decision.revision().filter(|revision| !metadata.policy_revisions.iter().any(|known| known == revision))
    {
        metadata.policy_revisions.push(revision.to_owned());
    }
    if metadata.policy_checks.is_empty() && reply.error.is_none() {
        metadata.policy_checks = decision.checks();
    }
    metadata.trace_id = Some(info.trace.clone());
    metadata.pod = Some(pod.clone());
    reply
}

fn reply_from_failure(id: String, failure: ExecutionFailure) -> Reply {
    let ExecutionFailure { cause, usage } = failure;
    let metadata = Metadata::from(usage);
    Reply {
        id,
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata,
        protocol_version: WrittenVersion::OWN,
    }
}

fn reply_from_outcome(id: String, outcome: Outcome) -> Reply {
    let Outcome { outputs, usage } = outcome;
    Reply {
        id,
        status: Status::Success,
        outputs,
        error: None,
        metadata: Metadata::from(usage),
        protocol_version: WrittenVersion::OWN,
    }
}

/// The closing of the audit entry.
#[must_use]
pub fn make_closing(info: &RequestInfo, decision: &PolicyOutcome, reply: &Reply) -> Closing {
    Closing {
        status: reply.status,
        code: reply.error.as_ref().map(|cause| cause.code),
        checks: decision.checks(),
        policy_revision: decision.revision().map(str::to_owned),
        version: decision.version().copied(),
        elapsed_us: u64::try_from(info.elapsed().as_micros()).unwrap_or(u64::MAX),
        tokens: reply.metadata.tokens_used,
        cost: reply.metadata.cost,
    }
}

/// Writes the execution line of the log: one for each invocation of an agent, rejected ones included.
pub fn log_execution(info: &RequestInfo, decision: &PolicyOutcome, reply: &Reply) {
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
        policy_checks = %decision.check_list(),
        trace_id = info.trace.as_str(),
    );
}

/// The outcome of a query or a memory request: these outputs, no usage.
#[must_use]
pub fn query_outcome(outputs: impl IntoIterator<Item = (&'static str, Json)>) -> Outcome {
    let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Outcome { outputs, usage: Usage::default() }
}
