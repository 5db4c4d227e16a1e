//! `native.echo`: gives back what it was given. What a dispatch costs is measured with it.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_protocol::{Cause, Json, Values};

/// The handler.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo;

#[async_trait]
impl Handler for Echo {
    fn name(&self) -> &'static str {
        "native.echo"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }

    /// Every declared output gets the input of its name; one without, the first input that there is.
    async fn run(&self, work: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        let first = || work.inputs.values().next().cloned().unwrap_or(Json::Null);
        let outputs = work.agent.spec().outputs.iter().map(|output| {
            let value = work.inputs.get(&output.name).cloned().unwrap_or_else(first);
            (output.name.clone(), value)
        });
        Ok(outputs.collect())
    }
}
