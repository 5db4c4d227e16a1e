//! The parameters of a model.

use super::{Decoder, MapFields, amount, count, one_of};
use crate::agent::{ModelParameters, ReasoningEffort, TEMPERATURE_MAX};
use crate::problem::ProblemKind;
use crate::yaml::Node;

pub(super) fn model_parameters(decoder: &mut Decoder, node: &Node) -> Option<ModelParameters> {
    let mut fields = MapFields::new(decoder, node, "the parameters of a model")?;
    let temperature = fields.optional(decoder, "temperature", temperature);
    let reasoning_effort = fields.optional(decoder, "reasoning_effort", reasoning_effort);
    let seed = fields.optional(decoder, "seed", count);
    fields.finish(decoder);
    Some(ModelParameters { temperature: temperature?, reasoning_effort: reasoning_effort?, seed: seed? })
}

fn temperature(decoder: &mut Decoder, node: &Node) -> Option<f64> {
    let temperature = amount(decoder, node)?;
    if temperature > TEMPERATURE_MAX {
        let found = format!("the temperature {temperature} is too high");
        decoder.error(node.at, ProblemKind::InvalidValue, found, format!("0 to {TEMPERATURE_MAX}"));
        return None;
    }
    Some(temperature)
}

fn reasoning_effort(decoder: &mut Decoder, node: &Node) -> Option<ReasoningEffort> {
    one_of(decoder, node, &words())
}

fn words() -> Vec<(&'static str, ReasoningEffort)> {
    ReasoningEffort::ALL.iter().map(|effort| (effort.as_str(), *effort)).collect()
}
