//! The reply to a request, and the usage in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorClass, ErrorCode};
use crate::id::{AgentId, PodId, TraceId};
use crate::money::{MicroUsd, PriceBasis, Tokens, cost_members};
use crate::peek::document;
use crate::value::Values;
use crate::version::WrittenVersion;

/// The status of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The request succeeded.
    Success,
    /// Policy denied the request.
    Denied,
    /// A user cancelled the request.
    Cancelled,
    /// The deadline or a timeout passed.
    TimedOut,
    /// The request failed, or was rejected as invalid. A status of a later release is read as this one: whatever it is,
    /// it is no success.
    #[serde(other)]
    Failed,
}

impl Status {
    /// Derives the status of a reply with this cause.
    #[must_use]
    pub const fn from_cause(cause: &Cause) -> Self {
        match (cause.code, cause.code.class()) {
            (ErrorCode::Cancelled, _) => Self::Cancelled,
            (ErrorCode::TimedOut, _) => Self::TimedOut,
            (_, ErrorClass::Denied) => Self::Denied,
            (_, ErrorClass::Failed | ErrorClass::Rejected) => Self::Failed,
        }
    }

    /// The status as it is written in JSON.
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

/// The usage and the circumstances of a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The number of the team's members that ran; without a team, the number of distinct agents.
    pub agents_involved: u32,
    /// The distinct agents that ran, in the order of their first call.
    pub agents: Vec<AgentId>,
    /// The number of steps that ran.
    pub workflow_steps: u32,
    /// The time from arrival to reply.
    pub duration_ms: u64,
    /// Tokens, as reported by the providers.
    pub tokens_used: Tokens,
    /// The cost, as the members `cost_micro_usd` (the exact whole number) and `cost_usd` (for display).
    #[serde(flatten, with = "cost_members")]
    #[schemars(with = "cost_members::CostMembers")]
    pub cost: MicroUsd,
    /// True if a part of the cost is a reservation whose actual usage is unknown, or if another pod may have paid for the
    /// call whose reply is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// `assumed` if a part of the cost was computed with the price of a tier, for a model without its own.
    #[serde(default, skip_serializing_if = "PriceBasis::is_listed")]
    pub price: PriceBasis,
    /// The `models`, separated by commas. Without one, the model that was called last and cost nothing
    /// (`provider.name`), or `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The distinct models that answered or cost money, in the order of their first call; native agents have none. Of
    /// a run, those whose calls did not return follow, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The disclaimer of the outputs, if one of the `models` is not a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclaimer: Option<String>,
    /// The checks that the policy passed for this request.
    pub policy_checks: Vec<String>,
    /// The number of policy decisions for this request, nested requests included.
    pub policy_decisions: u32,
    /// The number of them that denied a request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub policy_denials: u32,
    /// The distinct revisions of the policy that decided, in the order of their first decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_revisions: Vec<String>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The pod that replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodId>,
}

/// The outputs and the usage of one call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The outputs, by name.
    pub outputs: Values,
    /// The usage.
    pub usage: Usage,
}

/// The usage of one call, which its caller adds to its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens, as reported by the providers.
    pub tokens: Tokens,
    /// The cost.
    pub cost: MicroUsd,
    /// True if a part of the cost is a reservation whose actual usage is unknown, or if another pod may have paid for the
    /// call whose reply is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// `assumed` if a part of the cost was computed with the price of a tier, for a model without its own.
    #[serde(default, skip_serializing_if = "PriceBasis::is_listed")]
    pub price: PriceBasis,
    /// The model that was called last (`provider.name`), or `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The distinct models that answered or cost money, in the order of their first call; native agents have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The disclaimer of the outputs, if one of the `models` is not a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclaimer: Option<String>,
    /// The distinct agents that ran, in the order of their first call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// The number of the team's members among them, if there is a team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// The number of steps that ran.
    #[serde(default)]
    pub steps: u32,
    /// The number of policy decisions.
    #[serde(default)]
    pub decisions: u32,
    /// The number of them that denied a request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denials: u32,
    /// The distinct revisions of the policy that decided, in the order of their first decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
}

impl From<Usage> for Metadata {
    /// Reports usage; the caller adds what usage does not know, such as the duration and the trace.
    fn from(usage: Usage) -> Self {
        let model = if usage.models.is_empty() { usage.model } else { Some(usage.models.join(", ")) };
        Self {
            agents_involved: usage.members.unwrap_or_else(|| u32::try_from(usage.agents.len()).unwrap_or(u32::MAX)),
            agents: usage.agents,
            workflow_steps: usage.steps,
            tokens_used: usage.tokens,
            cost: usage.cost,
            estimated: usage.estimated,
            price: usage.price,
            model,
            models: usage.models,
            disclaimer: usage.disclaimer,
            policy_decisions: usage.decisions,
            policy_denials: usage.denials,
            policy_revisions: usage.revisions,
            ..Self::default()
        }
    }
}

impl Metadata {
    /// Adds models that cost money, and the basis of their prices. Those that are named already remain where they are.
    pub fn add_models(&mut self, names: &[String], price: PriceBasis) {
        self.price = self.price.combine(price);
        add_distinct(&mut self.models, names);
        if !self.models.is_empty() {
            self.model = Some(self.models.join(", "));
        }
    }
}

impl Usage {
    /// Adds the usage of a nested call.
    pub fn add(&mut self, inner: &Self) {
        self.tokens += inner.tokens;
        self.cost += inner.cost;
        self.estimated |= inner.estimated;
        self.price = self.price.combine(inner.price);
        self.steps = self.steps.saturating_add(inner.steps);
        self.decisions = self.decisions.saturating_add(inner.decisions);
        self.denials = self.denials.saturating_add(inner.denials);
        add_distinct(&mut self.revisions, &inner.revisions);
        if inner.model.is_some() {
            self.model.clone_from(&inner.model);
        }
        if inner.disclaimer.is_some() {
            self.disclaimer.clone_from(&inner.disclaimer);
        }
        add_distinct(&mut self.models, &inner.models);
        add_distinct(&mut self.agents, &inner.agents);
    }

    /// Adds a model that answered or cost money, with the disclaimer of its answers.
    pub fn add_model(&mut self, model: String, disclaimer: Option<&str>) {
        if let Some(disclaimer) = disclaimer {
            self.disclaimer = Some(disclaimer.to_owned());
        }
        add_distinct(&mut self.models, &[model]);
    }
}

const fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn add_distinct<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// The reply to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The id of the run if there is one, else of the request.
    pub id: String,
    /// The status.
    pub status: Status,
    /// The outputs, by name.
    pub outputs: Values,
    /// The cause, unless the status is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cause>,
    /// The usage and the circumstances.
    pub metadata: Metadata,
    /// The version of the release that has written it.
    #[serde(default = "WrittenVersion::first", skip_serializing_if = "WrittenVersion::is_first")]
    pub protocol_version: WrittenVersion,
}

document!(Reply);

impl Reply {
    /// True if an idempotency key keeps this reply: a success, or a failure that is final ([`ErrorCode::is_final`]).
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.error.as_ref().is_none_or(|cause| cause.code.is_final())
    }

    /// The exit code of a command that receives this reply.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.error {
            Some(cause) => cause.code.exit_code(),
            None if self.status == Status::Success => 0,
            None => 1,
        }
    }

    /// Converts the metadata to the usage that a caller inside the platform adds to its own.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let metadata = &self.metadata;
        Usage {
            tokens: metadata.tokens_used,
            cost: metadata.cost,
            estimated: metadata.estimated,
            price: metadata.price,
            model: metadata.model.clone(),
            models: metadata.models.clone(),
            disclaimer: metadata.disclaimer.clone(),
            agents: metadata.agents.clone(),
            members: None,
            steps: metadata.workflow_steps,
            decisions: metadata.policy_decisions,
            denials: metadata.policy_denials,
            revisions: metadata.policy_revisions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(cost: serde_json::Value) -> Result<Metadata, String> {
        let mut document = serde_json::to_value(Metadata::default()).map_err(|error| error.to_string())?;
        if let (Some(all), serde_json::Value::Object(cost)) = (document.as_object_mut(), cost) {
            all.retain(|name, _| !name.starts_with("cost"));
            all.extend(cost);
        }
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn a_cost_is_a_whole_number_on_the_wire_and_never_lost() {
        for micros in [0, 1, 7, 4_950, 123_456_789_012, u64::MAX] {
            let written = Metadata { cost: MicroUsd(micros), ..Metadata::default() };
            let document = serde_json::to_value(&written).unwrap();
            assert_eq!(document["cost_micro_usd"], micros);
            assert_eq!(serde_json::from_value::<Metadata>(document).unwrap().cost, MicroUsd(micros));
        }
        assert_eq!(metadata(json!({ "cost_usd": 0.00495 })).unwrap().cost, MicroUsd(4_950), "of an older release");
        for cost in [json!({ "cost_usd": -0.5 }), json!({ "cost_usd": 1e300 }), json!({})] {
            assert!(metadata(cost.clone()).is_err(), "{cost}");
        }
    }

    #[test]
    fn the_model_of_a_reply_names_every_model_that_was_paid() {
        let mut usage = Usage { model: Some("b.two".into()), ..Usage::default() };
        assert_eq!(Metadata::from(usage.clone()).model.as_deref(), Some("b.two"));
        usage.add_model("a.one".into(), None);
        usage.add_model("b.two".into(), None);
        usage.add_model("a.one".into(), None);
        let metadata = Metadata::from(usage);
        assert_eq!(metadata.model.as_deref(), Some("a.one, b.two"));
        assert_eq!(metadata.models, ["a.one", "b.two"]);
    }

    #[test]
    fn a_model_whose_call_did_not_return_follows_the_others_and_is_named_once() {
        let mut metadata = Metadata { model: Some("native".into()), ..Metadata::default() };
        metadata.add_models(&[], PriceBasis::Listed);
        assert_eq!((metadata.model.as_deref(), metadata.models.len()), (Some("native"), 0));
        metadata.models = vec!["b.two".into()];
        metadata.add_models(&["a.one".into(), "b.two".into()], PriceBasis::Assumed);
        assert_eq!((metadata.model.as_deref(), metadata.price), (Some("b.two, a.one"), PriceBasis::Assumed));
        metadata.add_models(&[], PriceBasis::Listed);
        assert_eq!((metadata.models.len(), metadata.price), (2, PriceBasis::Assumed));
    }
}
