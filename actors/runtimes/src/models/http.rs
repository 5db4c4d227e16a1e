//! Providers that are servers: what is sent to them and how their answers are read, over one HTTP client of our own.
//!
//! ```text
//! chat_completions   OpenAI's API, which most servers speak, each in its dialect: read here (decision 25)
//! genai              every other API, through the crate genai (decision 15)
//! answer_stream      an answer that is read piece by piece → the stream of its deltas
//! endpoint           the address, the key and the API of a provider
//! rejections         what a server has rejected, and is not sent again
//! schemas            schemas in the form that an API takes
//! stop_reason        why a model stopped, in the words of each API
//! tool_arguments     the arguments of tool calls as models give them
//! usage              token counts in the form of each API
//! error              failures of servers → the classes of `ModelError`
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::genai::Client;
use async_trait::async_trait;
use futures::StreamExt;
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_protocol::Cause;

mod answer_stream;
mod chat_completions;
mod endpoint;
mod error;
mod genai;
mod rejections;
mod schemas;
mod stop_reason;
mod tool_arguments;
mod usage;

use endpoint::ProviderEndpoint;
pub(crate) use endpoint::{Redactor, http_client, parse_base_url};
use rejections::{Rejections, RequestForm};

/// Default timeout of a connection attempt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An API key. Its `Debug` never prints it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key from the configuration.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(&self) -> &str {
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
    /// True if requests to it stay within this organization. The operator decides: the address of a server does not
    /// show where it passes a request on.
    pub internal: bool,
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
        let client = endpoint.client(&http)?;
        Ok(Arc::new(Server { http: http.clone(), client, endpoint, rejections: Rejections::default() }))
    };
    settings.providers.iter().map(open).collect()
}

/// A provider that is a server.
struct Server {
    http: reqwest::Client,
    client: Client,
    endpoint: ProviderEndpoint,
    rejections: Rejections,
}

impl Server {
    async fn send(&self, call: &ModelCall<'_>, form: RequestForm) -> Result<Deltas, ModelError> {
        if self.endpoint.is_chat_completions() {
            let url = self.endpoint.chat_completions_url(&self.client, &call.model.model).await?;
            chat_completions::send(&self.http, url, &self.endpoint, call, form).await
        } else {
            genai::send(&self.client, &self.endpoint, call, form).await
        }
    }
}

#[async_trait]
impl ModelProvider for Server {
    fn name(&self) -> &str {
        &self.endpoint.name
    }

    fn is_external(&self) -> bool {
        self.endpoint.is_external
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let mut form = self.rejections.form_for(&call, &self.endpoint);
        let redactor = self.endpoint.redactor();
        loop {
            let error = match self.send(&call, form).await {
                Ok(deltas) => {
                    let present = move |error| error::presentable(error, &redactor);
                    return Ok(deltas.map(move |delta| delta.map_err(&present)).boxed());
                }
                Err(error) => error,
            };
            // A rejected request did no work, and each form is tried once.
            match self.rejections.record(&call, form, &error) {
                Some(next) => form = next,
                None => return Err(error::presentable(error, &redactor)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
