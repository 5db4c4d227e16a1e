//! `agents/<category>/<id>.yaml`.

use greenroom_protocol::CategoryId;

use super::example::examples;
use super::field::{identifier, inputs, outputs};
use super::model_parameters::model_parameters;
use super::references::{agent_id, agent_ids, capabilities, category_id, policies, tools};
use super::version::version;
use super::{
    Decoder, MapFields, amount, ids, list, money, name, one_of, parsed, positive, positive_u32, text, trimmed,
};
use crate::agent::{
    AgentLimits, AgentSpec, Backoff, Collaboration, Deprecated, Implementation, Inherited, LABEL_BYTES_MAX, LABELS_MAX,
    MemoryRecall, Placement, PromptSpec, Retry, RuntimeKind, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX, is_label,
};
use crate::definition_set::ReferenceKind;
use crate::models::ModelRef;
use crate::problem::{ProblemKind, did_you_mean};
use crate::yaml::{Node, PathSegment};

/// Maximum number of attempts that a definition may set.
const ATTEMPTS_MAX: u32 = 20;
/// Maximum number of memories of one recall.
const RECALL_MAX: u32 = 50;
/// Maximum number of tags.
const TAGS_MAX: usize = 12;

/// Decodes an agent. A member that no check of another member depends on is replaced by an empty one if it is
/// invalid, so that the rest of the file is checked too; a file with a problem is never used.
pub(crate) fn agent(decoder: &mut Decoder, node: &Node) -> Option<AgentSpec> {
    let mut fields = MapFields::new(decoder, node, "an agent")?;
    let agent_id = fields.required(decoder, "agent_id", parsed);
    let name = fields.required(decoder, "name", name);
    let category = fields.required(decoder, "category", category_id);
    let description = fields.required(decoder, "description", self::name);
    let version = fields.required(decoder, "version", version);
    let owner = fields.optional(decoder, "owner", self::name);
    let tags = fields.or_default(decoder, "tags", tags);
    let deprecated = fields.optional(decoder, "deprecated", deprecated);
    let capabilities = fields.or_default(decoder, "capabilities", capabilities);
    let inputs = fields.or_default(decoder, "inputs", inputs);
    let outputs = fields.required(decoder, "outputs", outputs);
    let collaboration = fields.or_default(decoder, "collaboration", collaboration);
    let policies = fields.or_default(decoder, "policies", policies);
    let implementation = fields.required(decoder, "implementation", implementation);
    let tools = fields.or_default(decoder, "tools", tools);
    let memory_recall = fields.optional(decoder, "memory_recall", memory_recall);
    let limits = fields.or_default(decoder, "limits", limits);
    let retry = fields.optional(decoder, "retry", retry);
    let examples = fields.or_default(decoder, "examples", examples);
    fields.finish(decoder);
    Some(AgentSpec {
        agent_id: agent_id?,
        name: name.unwrap_or_default(),
        category: category.or_else(|| CategoryId::new("invalid").ok())?,
        description: description.unwrap_or_default(),
        version: version.unwrap_or_default(),
        owner: owner.flatten(),
        tags: tags.unwrap_or_default(),
        deprecated: deprecated.flatten(),
        capabilities: capabilities.unwrap_or_default(),
        inputs: inputs?,
        outputs: outputs?,
        collaboration: collaboration.unwrap_or_default(),
        policies: policies.unwrap_or_default(),
        implementation: implementation?,
        tools: tools.unwrap_or_default(),
        memory_recall: memory_recall.flatten(),
        limits: limits.unwrap_or_default(),
        retry: retry.flatten(),
        examples: examples.unwrap_or_default(),
        inherited: Inherited::default(),
    })
}

fn tags(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    let tags = list(decoder, node, identifier)?;
    if tags.len() > TAGS_MAX {
        let found = format!("{} tags are too many", tags.len());
        decoder.error(node.at, ProblemKind::InvalidValue, found, format!("at most {TAGS_MAX}"));
    }
    Some(tags)
}

fn deprecated(decoder: &mut Decoder, node: &Node) -> Option<Deprecated> {
    let mut fields = MapFields::new(decoder, node, "a deprecation")?;
    let since = fields.required(decoder, "since", version);
    let replacement = fields.required(decoder, "use", agent_id);
    fields.finish(decoder);
    Some(Deprecated { since: since?, replacement: replacement? })
}

fn collaboration(decoder: &mut Decoder, node: &Node) -> Option<Collaboration> {
    let mut fields = MapFields::new(decoder, node, "a collaboration")?;
    let can_work_with = fields.or_default(decoder, "can_work_with", agent_ids);
    let provides_to_team = fields.or_default(decoder, "provides_to_team", ids);
    fields.finish(decoder);
    Some(Collaboration { can_work_with: can_work_with?, provides_to_team: provides_to_team? })
}

fn implementation(decoder: &mut Decoder, node: &Node) -> Option<Implementation> {
    let mut fields = MapFields::new(decoder, node, "an implementation")?;
    let runtime = fields.required(decoder, "runtime", runtime);
    let handler = fields.optional(decoder, "handler", name);
    let model = fields.optional(decoder, "model", model);
    let fallback_models = fields.or_default(decoder, "fallback_models", models);
    let parameters = fields.or_default(decoder, "parameters", model_parameters);
    let prompt = fields.optional(decoder, "prompt", prompt);
    let timeout = fields.optional(decoder, "timeout", seconds);
    let memory = fields.optional(decoder, "memory", positive);
    let placement = fields.or_default(decoder, "placement", placement);
    fields.finish(decoder);
    let (runtime, handler) = (runtime?, handler?);
    if let (RuntimeKind::Native, Some(handler)) = (runtime, &handler) {
        decoder.refer(ReferenceKind::Handler, node.nearest(&[PathSegment::Name("handler")]).at, handler.clone());
    }
    Some(Implementation {
        runtime,
        handler,
        model: model.flatten(),
        fallback_models: fallback_models.unwrap_or_default(),
        parameters: parameters.unwrap_or_default(),
        prompt: prompt.flatten(),
        timeout: timeout.flatten().unwrap_or(TIMEOUT_SECONDS_DEFAULT),
        memory: memory.flatten(),
        placement: placement.unwrap_or_default(),
    })
}

fn placement(decoder: &mut Decoder, node: &Node) -> Option<Placement> {
    let mut fields = MapFields::new(decoder, node, "a placement")?;
    let labels = fields.required(decoder, "labels", labels);
    fields.finish(decoder);
    Some(Placement { labels: labels? })
}

fn labels(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    let labels = list(decoder, node, label)?;
    if labels.is_empty() || labels.len() > LABELS_MAX {
        let found = format!("{} labels", labels.len());
        decoder.error(node.at, ProblemKind::InvalidValue, found, format!("from 1 to {LABELS_MAX}"));
        return None;
    }
    Some(labels)
}

fn label(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let label = text(decoder, node)?;
    if !is_label(&label) {
        let expected = format!(
            "at most {LABEL_BYTES_MAX} lower-case letters, digits and `-_.:=`, the first one a letter or a digit"
        );
        decoder.error(node.at, ProblemKind::InvalidValue, format!("{label:?} is not a label"), expected);
        return None;
    }
    Some(label)
}

fn runtime(decoder: &mut Decoder, node: &Node) -> Option<RuntimeKind> {
    let all: Vec<(&str, RuntimeKind)> = RuntimeKind::ALL.iter().map(|runtime| (runtime.as_str(), *runtime)).collect();
    one_of(decoder, node, &all)
}

pub(super) fn model(decoder: &mut Decoder, node: &Node) -> Option<ModelRef> {
    let text = text(decoder, node)?;
    match text.parse() {
        Ok(model) => {
            refer_to_provider(decoder, node, &model);
            Some(model)
        }
        Err(message) => {
            let tiers = crate::models::Tier::ALL.iter().map(|tier| tier.as_str());
            let hint = text.strip_prefix("tier.").and_then(|tier| did_you_mean(tier, tiers));
            let expected = hint.map_or(message, trimmed);
            decoder.error(node.at, ProblemKind::InvalidValue, format!("{text:?} is not a model"), expected);
            None
        }
    }
}

/// A model of a provider needs the provider; a tier needs none.
pub(super) fn refer_to_provider(decoder: &mut Decoder, node: &Node, model: &ModelRef) {
    if model.tier().is_none() {
        decoder.refer(ReferenceKind::Provider, node.at, model.provider());
    }
}

pub(super) fn models(decoder: &mut Decoder, node: &Node) -> Option<Vec<ModelRef>> {
    list(decoder, node, model)
}

fn prompt(decoder: &mut Decoder, node: &Node) -> Option<PromptSpec> {
    let mut fields = MapFields::new(decoder, node, "a prompt")?;
    let system = fields.optional(decoder, "system", text);
    let user = fields.optional(decoder, "user", text);
    fields.finish(decoder);
    Some(PromptSpec { system: system?, user: user? })
}

/// Decodes a time in seconds.
pub(super) fn seconds(decoder: &mut Decoder, node: &Node) -> Option<u64> {
    seconds_up_to(decoder, node, TIMEOUT_SECONDS_MAX)
}

/// A number of seconds, at most so many.
pub(super) fn seconds_up_to(decoder: &mut Decoder, node: &Node, seconds_max: u64) -> Option<u64> {
    let seconds = positive(decoder, node)?;
    if seconds > seconds_max {
        let expected = format!("at most {seconds_max}");
        decoder.error(node.at, ProblemKind::InvalidValue, format!("{seconds} seconds are too long"), expected);
        return None;
    }
    Some(seconds)
}

fn memory_recall(decoder: &mut Decoder, node: &Node) -> Option<MemoryRecall> {
    let mut fields = MapFields::new(decoder, node, "a memory recall")?;
    let query = fields.required(decoder, "query", identifier);
    let limit = fields.required(decoder, "limit", positive_u32);
    fields.finish(decoder);
    let recall = MemoryRecall { query: query?, limit: limit? };
    if recall.limit > RECALL_MAX {
        let found = format!("{} memories are too many", recall.limit);
        decoder.error(node.at, ProblemKind::InvalidValue, found, format!("at most {RECALL_MAX}"));
    }
    Some(recall)
}

pub(super) fn limits(decoder: &mut Decoder, node: &Node) -> Option<AgentLimits> {
    let mut fields = MapFields::new(decoder, node, "an agent's limits")?;
    let max_tokens = fields.optional(decoder, "max_tokens", positive_u32);
    let max_cost_usd = fields.optional(decoder, "max_cost_usd", money);
    let max_turns = fields.optional(decoder, "max_turns", positive_u32);
    let max_concurrency = fields.optional(decoder, "max_concurrency", positive_u32);
    fields.finish(decoder);
    Some(AgentLimits {
        max_tokens: max_tokens?,
        max_cost_usd: max_cost_usd?,
        max_turns: max_turns?,
        max_concurrency: max_concurrency?,
    })
}

pub(super) fn retry(decoder: &mut Decoder, node: &Node) -> Option<Retry> {
    let mut fields = MapFields::new(decoder, node, "a retry")?;
    let max_attempts = fields.required(decoder, "max_attempts", positive_u32);
    let backoff = fields.or_default(decoder, "backoff", backoff);
    let delay = fields.optional(decoder, "delay", amount);
    let max_delay = fields.optional(decoder, "max_delay", amount);
    fields.finish(decoder);
    let retry = Retry {
        max_attempts: max_attempts?,
        backoff: backoff?,
        delay: delay?.unwrap_or(Retry::delay_default()),
        max_delay: max_delay?.unwrap_or(Retry::max_delay_default()),
    };
    if retry.max_attempts > ATTEMPTS_MAX {
        let found = format!("{} attempts are too many", retry.max_attempts);
        decoder.error(node.at, ProblemKind::InvalidValue, found, format!("at most {ATTEMPTS_MAX}"));
    }
    Some(retry)
}

fn backoff(decoder: &mut Decoder, node: &Node) -> Option<Backoff> {
    one_of(decoder, node, &[("fixed", Backoff::Fixed), ("exponential", Backoff::Exponential)])
}
