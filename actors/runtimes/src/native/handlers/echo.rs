//! `native.echo`: returns its inputs as its outputs. Benchmarks use it to measure the cost of a dispatch.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_protocol::{Cause, Json, Values};

/// The handler.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo;

#[async_trait]
impl Handler for Echo {
    fn name(&self) -> &str {
        "native.echo"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }

    /// Gives each declared output the input of the same name. One that no declared input has the name of gets the first
    /// input; one whose optional input is not given is missing, too.
    async fn run(&self, input: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        let first = || input.inputs.values().next().cloned().unwrap_or(Json::Null);
        let outputs = input.agent.spec().outputs.iter().filter_map(|output| {
            let value = match input.inputs.get(&output.name) {
                Some(value) => value.clone(),
                None if input.agent.input(&output.name).is_some() => return None,
                None => first(),
            };
            Some((output.name.clone(), value))
        });
        Ok(outputs.collect())
    }
}
