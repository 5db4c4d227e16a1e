//! The one document that answers a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorClass, ErrorCode};
use crate::id::{AgentId, PodId, TraceId};
use crate::money::{MicroUsd, PriceBasis, Tokens};
use crate::value::Values;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was done.
    Success,
    /// It was not done, or was refused as wrong.
    Failed,
    /// Policy said no.
    Denied,
    /// Somebody cancelled it.
    Cancelled,
    /// Its deadline or its timeout passed.
    TimedOut,
}

impl Status {
    /// The status that a cause leads to.
    #[must_use]
    pub const fn of(cause: &Cause) -> Self {
        match (cause.code, cause.code.class()) {
            (ErrorCode::Cancelled, _) => Self::Cancelled,
            (ErrorCode::TimedOut, _) => Self::TimedOut,
            (_, ErrorClass::Denied) => Self::Denied,
            (_, ErrorClass::Failed | ErrorClass::Rejected) => Self::Failed,
        }
    }

    /// The status as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What the work took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The team's members that ran, or the distinct agents where there is no team.
    pub agents_involved: u32,
    /// The distinct agents that ran, in the order of their first call.
    pub agents: Vec<AgentId>,
    /// Steps that ran.
    pub workflow_steps: u32,
    /// From arrival to answer.
    pub duration_ms: u64,
    /// Tokens, as the providers counted them.
    pub tokens_used: Tokens,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// True if a part of the cost is a reservation whose usage never arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// `assumed` if a part of the cost was reckoned by the price of a tier, for a model without one.
    #[serde(default, skip_serializing_if = "PriceBasis::is_listed")]
    pub price: PriceBasis,
    /// What answered: `provider.name`, or `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The checks that the policy proved for this request.
    pub policy_checks: Vec<String>,
    /// How many decisions of the guard this request took, inner calls included.
    pub policy_decisions: u32,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The pod that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodId>,
}

/// What the work gave back, and what it took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The outputs, by name.
    pub outputs: Values,
    /// What was used on the way.
    pub usage: Usage,
}

/// What work took, to be added up along the calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens, as the providers counted them.
    pub tokens: Tokens,
    /// What it cost.
    pub cost: MicroUsd,
    /// True if a part of the cost is a reservation whose usage never arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// `assumed` if a part of the cost was reckoned by the price of a tier, for a model without one.
    #[serde(default, skip_serializing_if = "PriceBasis::is_listed")]
    pub price: PriceBasis,
    /// What answered last: `provider.name`, or `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The distinct agents that ran, in the order of their first call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// The team's members among them, where there is a team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// Steps that ran.
    #[serde(default)]
    pub steps: u32,
    /// Decisions of the guard.
    #[serde(default)]
    pub decisions: u32,
}

impl From<Usage> for Metadata {
    /// Reports usage; the caller adds what usage does not know, such as the duration and the trace.
    fn from(usage: Usage) -> Self {
        Self {
            agents_involved: usage.members.unwrap_or_else(|| u32::try_from(usage.agents.len()).unwrap_or(u32::MAX)),
            agents: usage.agents,
            workflow_steps: usage.steps,
            tokens_used: usage.tokens,
            cost_usd: usage.cost.as_usd(),
            estimated: usage.estimated,
            price: usage.price,
            model: usage.model,
            policy_decisions: usage.decisions,
            ..Self::default()
        }
    }
}

impl Usage {
    /// Adds what an inner call took.
    pub fn add(&mut self, inner: &Self) {
        self.tokens += inner.tokens;
        self.cost += inner.cost;
        self.estimated |= inner.estimated;
        self.price = self.price.combine(inner.price);
        self.steps = self.steps.saturating_add(inner.steps);
        self.decisions = self.decisions.saturating_add(inner.decisions);
        if inner.model.is_some() {
            self.model.clone_from(&inner.model);
        }
        for agent in &inner.agents {
            if !self.agents.contains(agent) {
                self.agents.push(agent.clone());
            }
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The run's id where there is a run, else the request's.
    pub id: String,
    /// How it ended.
    pub status: Status,
    /// The outputs, by name.
    pub outputs: Values,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cause>,
    /// What it took.
    pub metadata: Metadata,
}

impl Reply {
    /// The exit code of a command that was answered so.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.error {
            Some(cause) => cause.code.exit_code(),
            None if self.status == Status::Success => 0,
            None => 1,
        }
    }

    /// What the work took, as a caller inside the platform adds it up.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let metadata = &self.metadata;
        Usage {
            tokens: metadata.tokens_used,
            cost: MicroUsd::from_usd(metadata.cost_usd).unwrap_or_default(),
            estimated: metadata.estimated,
            price: metadata.price,
            model: metadata.model.clone(),
            agents: metadata.agents.clone(),
            members: None,
            steps: metadata.workflow_steps,
            decisions: metadata.policy_decisions,
        }
    }
}
