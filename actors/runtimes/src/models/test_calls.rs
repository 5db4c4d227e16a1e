//! Model calls for the tests of this crate.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_actors::model::{
    Delta, Message, ModelCall, ModelError, ModelName, ModelProvider, OutputSchema, Role, StopReason, Timeouts, ToolSpec,
};
use greenroom_definitions::agent::ModelParameters;
use greenroom_definitions::loader::{Source, load};
use greenroom_definitions::models::TokenCounts;
use greenroom_definitions::{Catalogue, KnownNames, embedded};
use greenroom_protocol::{CallKey, Json, Tokens, Values};
use greenroom_registry::ledger::{Amount, Reservation};

/// A call with everything that it borrows.
pub(crate) struct Call {
    pub(crate) model: ModelName,
    pub(crate) system: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) inputs: Values,
    pub(crate) schema: Option<OutputSchema>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) tokens_max: u32,
    pub(crate) parameters: ModelParameters,
    pub(crate) timeouts: Timeouts,
}

/// The result of a call.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CollectedAnswer {
    pub(crate) text: String,
    pub(crate) tools: Vec<(String, Json)>,
    pub(crate) has_reasoning: bool,
    pub(crate) usage: Option<Tokens>,
    pub(crate) counts: TokenCounts,
    pub(crate) stop: Option<StopReason>,
    pub(crate) error: Option<ModelError>,
}

impl Call {
    pub(crate) fn new(model: &str, system: &str, user: &str) -> Self {
        let second = Duration::from_secs(1);
        Self {
            model: model.parse().unwrap(),
            system: system.to_owned(),
            messages: vec![Message::text(Role::User, user)],
            inputs: Values::new(),
            schema: None,
            tools: Vec::new(),
            tokens_max: 4096,
            parameters: ModelParameters::default(),
            timeouts: Timeouts { connect: second, first_token: second, idle: second, total: second * 5 },
        }
    }

    pub(crate) fn with_schema(mut self, schema: impl Into<std::sync::Arc<Json>>) -> Self {
        self.schema = Some(OutputSchema { name: "answer".to_owned(), schema: schema.into() });
        self
    }

    /// Makes the call and reads the complete answer.
    pub(crate) async fn send(&self, provider: &dyn ModelProvider) -> CollectedAnswer {
        let key = CallKey::new("run_1/step").unwrap();
        let reservation = Reservation::for_test(key.clone(), Amount::default());
        let call = ModelCall {
            model: &self.model,
            system: &self.system,
            messages: &self.messages,
            inputs: &self.inputs,
            schema: self.schema.as_ref(),
            tools: &self.tools,
            tokens_max: self.tokens_max,
            parameters: self.parameters,
            key: &key,
            timeouts: self.timeouts,
            reservation: &reservation,
        };
        let mut answer = CollectedAnswer::default();
        let mut deltas = match provider.stream(call).await {
            Ok(deltas) => deltas,
            Err(error) => return CollectedAnswer { error: Some(error), ..answer },
        };
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(Delta::Text(text)) => answer.text.push_str(&text),
                Ok(Delta::Tool(call)) => answer.tools.push((call.name, call.arguments)),
                Ok(Delta::Reasoning) => answer.has_reasoning = true,
                Ok(Delta::Usage(counts)) => {
                    (answer.usage, answer.counts) = (Some(counts.tokens()), counts);
                }
                Ok(Delta::End(stop)) => answer.stop = Some(stop),
                Err(error) => {
                    answer.error = Some(error);
                    break;
                }
            }
        }
        answer
    }
}

/// The catalogue that the binary embeds.
pub(crate) fn shipped_catalogue() -> Arc<Catalogue> {
    // The policy rules are not known here, so those that the files use are accepted.
    let used = embedded::used_names().unwrap();
    let handlers = crate::handlers();
    let tools = crate::tools();
    let providers = ["anthropic", "openai", "offline", "scripted", "gemini", "ollama"];
    let vocabulary = KnownNames::new(
        used.policies.iter().map(String::as_str),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        providers,
    );
    let loaded = load(&Source::Embedded, &vocabulary);
    loaded.catalogue.unwrap_or_else(|| panic!("the catalogue has problems: {:?}", loaded.report))
}
