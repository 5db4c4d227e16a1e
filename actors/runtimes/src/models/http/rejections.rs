//! What a server has rejected. A request that is rejected for an optional part of it is sent again in another form,
//! and later requests have that form at once.
//!
//! The rejection of a schema concerns that schema: another one of the same model may be fine. The rejection of a
//! member of the request concerns the model.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use greenroom_actors::model::{ModelCall, ModelError};
use greenroom_definitions::agent::ModelParameters;
use greenroom_protocol::ContentHash;

use super::endpoint::ProviderEndpoint;

/// Maximum rejections that are remembered; further ones are found out again by each request.
const REJECTIONS_MAX: usize = 10_000;
/// Words of the messages of servers that reject the schema of an answer.
const SCHEMA_WORDS: &[&str] = &[
    "output_config",
    "output_format",
    "response_format",
    "response format",
    "json_schema",
    "json schema",
    "json mode",
    "structured output",
    "responseschema",
    "responsejsonschema",
    "response_schema",
    "response mime type",
    "grammar",
    "guided decoding",
];

/// Words of the messages of servers that reject the effort of reasoning.
const REASONING_WORDS: &[&str] = &["reasoning_effort", "reasoning effort", "reasoning.effort", "thinking"];

/// Words of the messages of servers that lack a feature.
const ABSENT_WORDS: &[&str] = &["not implemented", "not supported", "unsupported", "not support "];
/// Words of the messages of servers that do not know a member of the request.
const UNKNOWN_WORDS: &[&str] =
    &["unsupported parameter", "unknown parameter", "unrecognized", "extra inputs", "extra fields", "unknown field"];

/// How a request carries the schema of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaMode {
    /// By the provider's own mechanism.
    Native,
    /// In the prompt, for a model without such a mechanism; its answer is validated in either mode.
    InPrompt,
}

/// The member of the request that limits the tokens of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenLimit {
    /// `max_tokens`, which nearly every server knows.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's reasoning models require.
    MaxCompletionTokens,
}

/// The form of a request: its optional parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RequestForm {
    /// How it carries the schema of the answer.
    pub(super) schema: SchemaMode,
    /// The member that limits the tokens.
    pub(super) limit: TokenLimit,
    /// True if it requests the count of the tokens (`stream_options`).
    pub(super) requests_usage: bool,
    /// The parameters that it carries: those of the definition that the model has not rejected.
    pub(super) parameters: ModelParameters,
}

/// A part of a request that a server may reject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Schema(ContentHash),
    MaxTokens,
    StreamOptions,
    Temperature,
    ReasoningEffort,
    Seed,
}

/// The rejections of one provider, by model.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<BTreeSet<(String, Part)>>);

impl Rejections {
    /// The form of the request for this call.
    pub(super) fn form_for(&self, call: &ModelCall<'_>, endpoint: &ProviderEndpoint) -> RequestForm {
        let is_rejected = |part: Part| {
            let rejections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rejections.contains(&(call.model.model.clone(), part))
        };
        let takes_schema = endpoint.takes_schema(&call.model.model, !call.tools.is_empty());
        let is_native = takes_schema && schema_part(call).is_some_and(|part| !is_rejected(part));
        RequestForm {
            schema: if is_native { SchemaMode::Native } else { SchemaMode::InPrompt },
            limit: if is_rejected(Part::MaxTokens) { TokenLimit::MaxCompletionTokens } else { TokenLimit::MaxTokens },
            requests_usage: !is_rejected(Part::StreamOptions),
            parameters: ModelParameters {
                temperature: call.parameters.temperature.filter(|_| !is_rejected(Part::Temperature)),
                reasoning_effort: call.parameters.reasoning_effort.filter(|_| !is_rejected(Part::ReasoningEffort)),
                seed: call.parameters.seed.filter(|_| !is_rejected(Part::Seed)),
            },
        }
    }

    /// Records the part of the request that the error rejects, and returns the form without it; `None` if the error
    /// is none of these.
    pub(super) fn record(&self, call: &ModelCall<'_>, form: RequestForm, error: &ModelError) -> Option<RequestForm> {
        let message = rejection(error)?;
        let (part, next) = if form.limit == TokenLimit::MaxTokens && requires_completion_limit(&message) {
            (Part::MaxTokens, RequestForm { limit: TokenLimit::MaxCompletionTokens, ..form })
        } else if form.requests_usage && message.contains("stream_options") {
            (Part::StreamOptions, RequestForm { requests_usage: false, ..form })
        } else if let Some((part, parameters)) = rejected_parameter(form.parameters, &message) {
            (part, RequestForm { parameters, ..form })
        } else if form.schema == SchemaMode::Native && SCHEMA_WORDS.iter().any(|word| message.contains(word)) {
            (schema_part(call)?, RequestForm { schema: SchemaMode::InPrompt, ..form })
        } else {
            return None;
        };
        let mut rejections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rejections.len() < REJECTIONS_MAX {
            rejections.insert((call.model.model.clone(), part));
        }
        Some(next)
    }
}

/// The message of an error that may reject a part of a request, in lower case. A server that lacks a feature may answer
/// with a status of its own failures, and says so then.
fn rejection(error: &ModelError) -> Option<String> {
    match error {
        ModelError::Rejected { status: 200 | 400 | 404 | 422, message } => Some(message.to_lowercase()),
        ModelError::Failed { status: Some(500 | 501), message } => {
            Some(message.to_lowercase()).filter(|message| ABSENT_WORDS.iter().any(|word| message.contains(word)))
        }
        ModelError::Rejected { .. }
        | ModelError::Failed { .. }
        | ModelError::Overloaded { .. }
        | ModelError::Unreachable
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::MalformedResponse { .. }
        | ModelError::Unanswerable { .. }
        | ModelError::TimedOut { .. } => None,
    }
}

/// True if a message demands the other member for the limit of tokens: it names that one, or does not know
/// `max_tokens`.
fn requires_completion_limit(message: &str) -> bool {
    let is_unknown = || UNKNOWN_WORDS.iter().any(|word| message.contains(word));
    message.contains("max_completion_tokens") || message.contains("max_tokens") && is_unknown()
}

/// The parameter that a message rejects, and the others. A message about two of them, such as a temperature that is not
/// allowed while the model reasons, costs the temperature first.
fn rejected_parameter(parameters: ModelParameters, message: &str) -> Option<(Part, ModelParameters)> {
    let is_named = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if parameters.temperature.is_some() && is_named(&["temperature"]) {
        return Some((Part::Temperature, ModelParameters { temperature: None, ..parameters }));
    }
    if parameters.reasoning_effort.is_some() && is_named(REASONING_WORDS) {
        return Some((Part::ReasoningEffort, ModelParameters { reasoning_effort: None, ..parameters }));
    }
    let is_seed = parameters.seed.is_some() && is_named(&["seed"]);
    is_seed.then_some((Part::Seed, ModelParameters { seed: None, ..parameters }))
}

fn schema_part(call: &ModelCall<'_>) -> Option<Part> {
    call.schema.map(|schema| Part::Schema(ContentHash::from_content(schema.schema.to_string().as_bytes())))
}
