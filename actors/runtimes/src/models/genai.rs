//! Real providers through the genai crate, with one HTTP client of our own. What genai leaves open
//! (usage that it drops, answers without an end, refusals that it does not see, bytes without a
//! bound) is closed here and nowhere else; `docs/adr` says where and why.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::genai::Client;
use async_trait::async_trait;
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_protocol::Cause;

mod endpoint;
mod error;
mod frame_meter;
mod request;
mod stream;

use endpoint::ProviderEndpoint;
use request::SchemaMode;

/// How long a connection may take, if the configuration does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Models whose lack of structured output is remembered.
const UNSHAPED_MAX: usize = 1_000;

/// A key. Its `Debug` never prints it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key from the configuration.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// One provider, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What stands before the dot of its models' names.
    pub name: String,
    /// The wire that it speaks, by genai's name: `anthropic`, `openai`, `gemini`, `ollama`, `groq`, …
    pub api: String,
    /// Its key; a server of one's own may need none.
    pub key: Option<ApiKey>,
    /// Its address, instead of the provider's own; the part before `chat/completions` or `messages`.
    pub base_url: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The providers.
    pub providers: Vec<ProviderSettings>,
    /// How long a connection may take. The other phases come with each call.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { providers: Vec::new(), connect_timeout: CONNECT_TIMEOUT }
    }
}

/// Opens the providers. They share one HTTP client and its connections.
///
/// # Errors
/// `invalid_configuration` for a wire that is not known, an address that is none, or a machine without
/// certificates.
pub fn open(settings: &Settings) -> Result<Vec<Arc<dyn ModelProvider>>, Cause> {
    if settings.providers.is_empty() {
        return Ok(Vec::new());
    }
    let http = endpoint::http(settings.connect_timeout)?;
    let open = |provider: &ProviderSettings| -> Result<Arc<dyn ModelProvider>, Cause> {
        let target = ProviderEndpoint::of(provider)?;
        Ok(Arc::new(Provider { client: target.client(&http)?, target, no_structured_output: Mutex::default() }))
    };
    settings.providers.iter().map(open).collect()
}

struct Provider {
    client: Client,
    target: ProviderEndpoint,
    /// Models that said that they know no structured output; they are told the schema in words.
    no_structured_output: Mutex<BTreeSet<String>>,
}

impl Provider {
    fn shape_of(&self, model: &str) -> SchemaMode {
        if !self.target.has_schemas() {
            return SchemaMode::InPrompt;
        }
        let unshaped = self.no_structured_output.lock().unwrap_or_else(PoisonError::into_inner);
        if unshaped.contains(model) { SchemaMode::InPrompt } else { SchemaMode::Native }
    }

    fn remember_unshaped(&self, model: &str) {
        let mut unshaped = self.no_structured_output.lock().unwrap_or_else(PoisonError::into_inner);
        if unshaped.len() < UNSHAPED_MAX {
            unshaped.insert(model.to_owned());
        }
    }

    async fn ask(&self, call: &ModelCall<'_>, shape: SchemaMode) -> Result<Deltas, ModelError> {
        let meter = frame_meter::FrameMeter::new(self.target.wire, call.tokens_max);
        let (chat, options) = request::of(call, &self.target, shape, meter.clone());
        let deadline = tokio::time::Instant::now() + call.timeouts.total;
        let scrub = self.target.scrub();
        let model = self.target.model(&call.model.model);
        let response = self.client.exec_chat_stream(model, chat, Some(&options)).await;
        let response = response.map_err(|error| error::of(&error, &scrub))?;
        stream::open(response.stream, meter, call.timeouts, deadline, scrub).await
    }
}

#[async_trait]
impl ModelProvider for Provider {
    fn name(&self) -> &str {
        &self.target.name
    }

    fn is_external(&self) -> bool {
        self.target.is_external
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let shape = self.shape_of(&call.model.model);
        match self.ask(&call, shape).await {
            // Nothing was done and nothing is owed: the provider refused the request for its shape.
            Err(error)
                if shape == SchemaMode::Native && call.schema.is_some() && error::is_schema_rejection(&error) =>
            {
                self.remember_unshaped(&call.model.model);
                self.ask(&call, SchemaMode::InPrompt).await
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
