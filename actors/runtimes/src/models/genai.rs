//! Providers reached through the genai crate, with one HTTP client of our own. The gaps of genai (dropped
//! usage, answers without an end, missed refusals, unbounded bytes) are closed here and nowhere else; ADR 0015
//! lists them.

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
mod schemas;
mod stream;

use endpoint::ProviderEndpoint;
use request::SchemaMode;

/// Default timeout of a connection attempt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum models that are remembered to lack structured output.
const UNSUPPORTED_MAX: usize = 1_000;

/// An API key. Its `Debug` never prints it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key from the configuration.
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
        f.write_str("ApiKey(***)")
    }
}

/// The configuration of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Its name, the part before the first dot of its models' names.
    pub name: String,
    /// Its API, by genai's name: `anthropic`, `openai`, `gemini`, `ollama`, `groq`, …
    pub api: String,
    /// Its key; a local server may need none.
    pub key: Option<ApiKey>,
    /// Overrides the address of the provider; the part before `chat/completions` or `messages`.
    pub base_url: Option<String>,
}

/// The configuration of all providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The providers.
    pub providers: Vec<ProviderSettings>,
    /// Timeout of a connection attempt. Each call has the timeouts of the other phases.
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
/// `invalid_configuration` for an unknown API, an invalid address, or a machine without root certificates.
pub fn open(settings: &Settings) -> Result<Vec<Arc<dyn ModelProvider>>, Cause> {
    if settings.providers.is_empty() {
        return Ok(Vec::new());
    }
    let http = endpoint::http_client(settings.connect_timeout)?;
    let open = |provider: &ProviderSettings| -> Result<Arc<dyn ModelProvider>, Cause> {
        let endpoint = ProviderEndpoint::new(provider)?;
        Ok(Arc::new(Provider { client: endpoint.client(&http)?, endpoint, no_structured_output: Mutex::default() }))
    };
    settings.providers.iter().map(open).collect()
}

struct Provider {
    client: Client,
    endpoint: ProviderEndpoint,
    /// Models that rejected structured output; their schema is written into the prompt.
    no_structured_output: Mutex<BTreeSet<String>>,
}

impl Provider {
    fn schema_mode(&self, model: &str) -> SchemaMode {
        if !self.endpoint.has_schemas() {
            return SchemaMode::InPrompt;
        }
        let unsupported = self.no_structured_output.lock().unwrap_or_else(PoisonError::into_inner);
        if unsupported.contains(model) { SchemaMode::InPrompt } else { SchemaMode::Native }
    }

    fn record_unsupported(&self, model: &str) {
        let mut unsupported = self.no_structured_output.lock().unwrap_or_else(PoisonError::into_inner);
        if unsupported.len() < UNSUPPORTED_MAX {
            unsupported.insert(model.to_owned());
        }
    }

    async fn send(&self, call: &ModelCall<'_>, mode: SchemaMode) -> Result<Deltas, ModelError> {
        let meter = frame_meter::FrameMeter::new(self.endpoint.api, call.tokens_max);
        let (chat, options) = request::build(call, &self.endpoint, mode, meter.clone());
        let deadline = tokio::time::Instant::now() + call.timeouts.total;
        let redactor = self.endpoint.redactor();
        let model = self.endpoint.model(&call.model.model);
        let response = self.client.exec_chat_stream(model, chat, Some(&options)).await;
        let response = response.map_err(|error| error::classify(&error, &redactor))?;
        stream::open(response.stream, meter, call.timeouts, deadline, redactor).await
    }
}

#[async_trait]
impl ModelProvider for Provider {
    fn name(&self) -> &str {
        &self.endpoint.name
    }

    fn is_external(&self) -> bool {
        self.endpoint.is_external
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let mode = self.schema_mode(&call.model.model);
        match self.send(&call, mode).await {
            // The provider rejected the request for its schema: it did no work and charges nothing.
            Err(error) if mode == SchemaMode::Native && call.schema.is_some() && error::is_schema_rejection(&error) => {
                self.record_unsupported(&call.model.model);
                self.send(&call, SchemaMode::InPrompt).await
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
