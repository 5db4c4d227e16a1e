//! `agents/<category>/<id>.yaml`.

use super::field::{identifier, inputs, outputs};
use super::{
    Decoder, MapFields, amount, ids, list, name, one_of, parsed, positive, positive_u32, text, texts, trimmed, values,
};
use crate::agent::{
    AgentLimits, AgentSpec, Backoff, Collaboration, Example, Implementation, MemoryRecall, PromptSpec, Retry,
    RuntimeKind, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX, ToolRef,
};
use crate::models::ModelRef;
use crate::problem::{ProblemKind, did_you_mean};
use crate::yaml::Node;

/// Attempts that a definition may ask for.
const ATTEMPTS_MAX: u32 = 20;
/// Memories that one recall may bring.
const RECALL_MAX: u32 = 50;

pub(crate) fn agent(reader: &mut Decoder, node: &Node) -> Option<AgentSpec> {
    let mut fields = MapFields::of(reader, node, "an agent")?;
    let agent_id = fields.required(reader, "agent_id", parsed);
    let name = fields.required(reader, "name", name);
    let category = fields.required(reader, "category", parsed);
    let description = fields.required(reader, "description", self::name);
    let version = fields.required(reader, "version", text);
    let capabilities = fields.or_default(reader, "capabilities", texts);
    let inputs = fields.or_default(reader, "inputs", inputs);
    let outputs = fields.required(reader, "outputs", outputs);
    let collaboration = fields.or_default(reader, "collaboration", collaboration);
    let policies = fields.or_default(reader, "policies", texts);
    let implementation = fields.required(reader, "implementation", implementation);
    let tools = fields.or_default(reader, "tools", tools);
    let memory_recall = fields.optional(reader, "memory_recall", memory_recall);
    let limits = fields.or_default(reader, "limits", limits);
    let retry = fields.optional(reader, "retry", retry);
    let examples = fields.or_default(reader, "examples", examples);
    fields.finish(reader);
    Some(AgentSpec {
        agent_id: agent_id?,
        name: name?,
        category: category?,
        description: description?,
        version: version?,
        capabilities: capabilities?,
        inputs: inputs?,
        outputs: outputs?,
        collaboration: collaboration?,
        policies: policies?,
        implementation: implementation?,
        tools: tools?,
        memory_recall: memory_recall?,
        limits: limits?,
        retry: retry?,
        examples: examples?,
    })
}

fn collaboration(reader: &mut Decoder, node: &Node) -> Option<Collaboration> {
    let mut fields = MapFields::of(reader, node, "a collaboration")?;
    let can_work_with = fields.or_default(reader, "can_work_with", ids);
    let provides_to_team = fields.or_default(reader, "provides_to_team", ids);
    fields.finish(reader);
    Some(Collaboration { can_work_with: can_work_with?, provides_to_team: provides_to_team? })
}

fn implementation(reader: &mut Decoder, node: &Node) -> Option<Implementation> {
    let mut fields = MapFields::of(reader, node, "an implementation")?;
    let runtime = fields.required(reader, "runtime", runtime);
    let handler = fields.optional(reader, "handler", name);
    let model = fields.optional(reader, "model", model);
    let fallback_models = fields.or_default(reader, "fallback_models", models);
    let prompt = fields.optional(reader, "prompt", prompt);
    let timeout = fields.optional(reader, "timeout", seconds);
    let memory = fields.optional(reader, "memory", positive);
    fields.finish(reader);
    Some(Implementation {
        runtime: runtime?,
        handler: handler?,
        model: model?,
        fallback_models: fallback_models?,
        prompt: prompt?,
        timeout: timeout?.unwrap_or(TIMEOUT_SECONDS_DEFAULT),
        memory: memory?,
    })
}

fn runtime(reader: &mut Decoder, node: &Node) -> Option<RuntimeKind> {
    let all: Vec<(&str, RuntimeKind)> = RuntimeKind::ALL.iter().map(|runtime| (runtime.as_str(), *runtime)).collect();
    one_of(reader, node, &all)
}

pub(super) fn model(reader: &mut Decoder, node: &Node) -> Option<ModelRef> {
    let text = text(reader, node)?;
    match text.parse() {
        Ok(model) => Some(model),
        Err(why) => {
            let tiers = crate::models::Tier::ALL.iter().map(|tier| tier.as_str());
            let hint = text.strip_prefix("tier.").and_then(|tier| did_you_mean(tier, tiers));
            let wanted = hint.map_or(why, trimmed);
            reader.error(node.at, ProblemKind::InvalidValue, format!("{text:?} is no model"), wanted);
            None
        }
    }
}

pub(super) fn models(reader: &mut Decoder, node: &Node) -> Option<Vec<ModelRef>> {
    list(reader, node, model)
}

fn prompt(reader: &mut Decoder, node: &Node) -> Option<PromptSpec> {
    let mut fields = MapFields::of(reader, node, "a prompt")?;
    let system = fields.optional(reader, "system", text);
    let user = fields.optional(reader, "user", text);
    fields.finish(reader);
    Some(PromptSpec { system: system?, user: user? })
}

/// A time in seconds.
pub(super) fn seconds(reader: &mut Decoder, node: &Node) -> Option<u64> {
    let seconds = positive(reader, node)?;
    if seconds > TIMEOUT_SECONDS_MAX {
        let wanted = format!("at most {TIMEOUT_SECONDS_MAX}");
        reader.error(node.at, ProblemKind::InvalidValue, format!("{seconds} seconds are too long"), wanted);
        return None;
    }
    Some(seconds)
}

fn tools(reader: &mut Decoder, node: &Node) -> Option<Vec<ToolRef>> {
    list(reader, node, parsed)
}

fn memory_recall(reader: &mut Decoder, node: &Node) -> Option<MemoryRecall> {
    let mut fields = MapFields::of(reader, node, "a memory recall")?;
    let query = fields.required(reader, "query", identifier);
    let limit = fields.required(reader, "limit", positive_u32);
    fields.finish(reader);
    let recall = MemoryRecall { query: query?, limit: limit? };
    if recall.limit > RECALL_MAX {
        let found = format!("{} memories are too many", recall.limit);
        reader.error(node.at, ProblemKind::InvalidValue, found, format!("at most {RECALL_MAX}"));
    }
    Some(recall)
}

fn limits(reader: &mut Decoder, node: &Node) -> Option<AgentLimits> {
    let mut fields = MapFields::of(reader, node, "an agent's limits")?;
    let max_tokens = fields.optional(reader, "max_tokens", positive_u32);
    let max_cost_usd = fields.optional(reader, "max_cost_usd", amount);
    let max_turns = fields.optional(reader, "max_turns", positive_u32);
    let max_concurrency = fields.optional(reader, "max_concurrency", positive_u32);
    fields.finish(reader);
    Some(AgentLimits {
        max_tokens: max_tokens?,
        max_cost_usd: max_cost_usd?,
        max_turns: max_turns?,
        max_concurrency: max_concurrency?,
    })
}

pub(super) fn retry(reader: &mut Decoder, node: &Node) -> Option<Retry> {
    let mut fields = MapFields::of(reader, node, "a retry")?;
    let max_attempts = fields.required(reader, "max_attempts", positive_u32);
    let backoff = fields.or_default(reader, "backoff", backoff);
    let delay = fields.optional(reader, "delay", amount);
    let max_delay = fields.optional(reader, "max_delay", amount);
    fields.finish(reader);
    let retry = Retry {
        max_attempts: max_attempts?,
        backoff: backoff?,
        delay: delay?.unwrap_or(Retry::delay_default()),
        max_delay: max_delay?.unwrap_or(Retry::max_delay_default()),
    };
    if retry.max_attempts > ATTEMPTS_MAX {
        let found = format!("{} attempts are too many", retry.max_attempts);
        reader.error(node.at, ProblemKind::InvalidValue, found, format!("at most {ATTEMPTS_MAX}"));
    }
    Some(retry)
}

fn backoff(reader: &mut Decoder, node: &Node) -> Option<Backoff> {
    one_of(reader, node, &[("fixed", Backoff::Fixed), ("exponential", Backoff::Exponential)])
}

fn examples(reader: &mut Decoder, node: &Node) -> Option<Vec<Example>> {
    list(reader, node, example)
}

fn example(reader: &mut Decoder, node: &Node) -> Option<Example> {
    let mut fields = MapFields::of(reader, node, "an example")?;
    let inputs = fields.required(reader, "inputs", values);
    let expect = fields.or_default(reader, "expect", values);
    fields.finish(reader);
    Some(Example { inputs: inputs?, expect: expect? })
}
