//! Models that compute the vectors of texts, over HTTP: servers with OpenAI's API of embeddings, and Ollama.
//!
//! A call has a bounded time, a bounded reply and bounded retries. A call that is charged for is sent once more only if
//! the server has certainly done nothing, so that no second charge is possible that nothing has reserved. While a server
//! counts as away ([`Outage`]), calls fail at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::agent_memory::embedder::{Embedder, EmbedderId, Embeddings};
use greenroom_registry::agent_memory::vector::UnitVector;
use greenroom_registry::ledger::Reservation;
use greenroom_registry::outage::Outage;
use reqwest::Url;

use crate::models::http::{ApiKey, CONNECT_TIMEOUT, Redactor, http_client, parse_base_url};

mod api;
mod failure;

use api::Reply;
use failure::Failure;

/// The longest time of one attempt. A call that has taken as long is not repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts of one call.
const ATTEMPTS_MAX: u32 = 3;
/// The delay before the second attempt; it doubles.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest delay that a server may demand before the next attempt; one that demands more is not called again.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Bytes of a text that a vector is computed of. Models refuse texts of more than about 8,000 tokens, and a token has a byte
/// at least.
const TEXT_BYTES_MAX: usize = 8_000;
/// Texts of one call.
const BATCH_MAX: usize = 64;
/// Bytes of one reply: more than the numbers of [`BATCH_MAX`] large vectors take as text.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The API of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingApi {
    /// OpenAI's, which many servers have.
    OpenAi,
    /// Ollama's own.
    Ollama,
}

impl EmbeddingApi {
    /// The provider in the names of its models, and the kind in the ids of its embedders.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
        }
    }
}

/// The configuration of a model that computes vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingSettings {
    /// The API of its server.
    pub api: EmbeddingApi,
    /// Its name.
    pub model: String,
    /// The dimensions of its vectors.
    pub dimensions: usize,
    /// True if requests name the dimensions, which some models can reduce.
    pub sends_dimensions: bool,
    /// The address of the server: the part before `embeddings` or `api/embed`.
    pub base_url: String,
    /// The key of the server.
    pub key: Option<ApiKey>,
    /// True if texts that are sent to it stay within this organization.
    pub internal: bool,
}

/// Opens an embedder.
///
/// # Errors
/// `invalid_configuration` for an invalid address or name, or a machine without root certificates.
pub fn open(settings: EmbeddingSettings) -> Result<Arc<dyn Embedder>, Cause> {
    let invalid = |problem: String| Cause::new(ErrorCode::InvalidConfiguration, format!("memory.embedder: {problem}"));
    let id = EmbedderId::new(settings.api.as_str(), &settings.model, settings.dimensions).map_err(invalid)?;
    let base = parse_base_url(&settings.base_url);
    let base = base.ok_or_else(|| invalid("memory.base_url is not an http(s) URL without a password".to_owned()))?;
    let url = api::endpoint(settings.api, &base);
    let url = url.ok_or_else(|| invalid("memory.base_url has no path to join".to_owned()))?;
    let charged_model = match settings.api {
        EmbeddingApi::OpenAi => Some(format!("{}.{}", settings.api.as_str(), settings.model)),
        EmbeddingApi::Ollama => None,
    };
    let redactor = Redactor::new(settings.key.clone());
    let http = http_client(CONNECT_TIMEOUT)?;
    Ok(Arc::new(HttpEmbedder { http, id, url, charged_model, redactor, outage: Outage::default(), settings }))
}

struct HttpEmbedder {
    http: reqwest::Client,
    id: EmbedderId,
    url: Url,
    charged_model: Option<String>,
    redactor: Redactor,
    /// Lets calls fail at once while the server is silent or cannot be reached.
    outage: Outage<()>,
    settings: EmbeddingSettings,
}

impl HttpEmbedder {
    async fn attempt(&self, body: &str) -> Result<Reply, Failure> {
        let mut request = self.http.post(self.url.clone()).timeout(ATTEMPT_TIMEOUT);
        request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_owned());
        if let Some(key) = self.settings.key.as_ref().map(ApiKey::expose).filter(|key| !key.is_empty()) {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(|error| Failure::from_transport(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = read_body(response).await?;
        if status.is_success() {
            return api::read_reply(self.settings.api, &text).map_err(Failure::Unreadable);
        }
        Err(Failure::from_response(status, &text, &headers, &self.redactor))
    }

    /// Sends texts until there are vectors, or no further attempt is due.
    async fn call(&self, texts: &[String], is_charged: bool) -> Result<Embeddings, Failure> {
        let texts: Vec<&str> = texts.iter().map(|text| truncate_utf8(text, TEXT_BYTES_MAX)).collect();
        let body = api::request(&self.settings, &texts);
        let started_at = Instant::now();
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(&body).await.and_then(|reply| self.vectors(reply, texts.len())) {
                Ok(embeddings) => return Ok(embeddings),
                Err(failure) => failure,
            };
            let is_retried = failure.is_retryable() && (!is_charged || failure.did_nothing());
            let delay = failure.retry_after().unwrap_or_else(|| RETRY_DELAY * 2_u32.pow(attempt - 1));
            let is_due = attempt < ATTEMPTS_MAX && delay <= RETRY_DELAY_MAX && started_at.elapsed() < ATTEMPT_TIMEOUT;
            if !is_retried || !is_due {
                return Err(failure);
            }
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// The vectors of a reply, which must be as many as the texts, with the configured dimensions.
    fn vectors(&self, reply: Reply, count: usize) -> Result<Embeddings, Failure> {
        let Reply { vectors, tokens } = reply;
        if vectors.len() != count {
            return Err(Failure::Unreadable(format!("it has {} vectors for {count} texts", vectors.len())));
        }
        let dimensions = self.settings.dimensions;
        let unit = |numbers: Vec<f32>| match numbers.len() {
            length if length != dimensions => Err(Failure::Unreadable(format!(
                "its vectors have {length} dimensions, and memory.dimensions is {dimensions}"
            ))),
            _ => UnitVector::normalized(numbers)
                .ok_or_else(|| Failure::Unreadable("a number of a vector is not finite".to_owned())),
        };
        let vectors = vectors.into_iter().map(unit).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Embeddings { vectors, tokens })
    }
}

#[async_trait]
impl Embedder for HttpEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.settings.dimensions
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn charged_model(&self) -> Option<&str> {
        self.charged_model.as_deref()
    }

    fn is_external(&self) -> bool {
        !self.settings.internal
    }

    async fn embed(&self, texts: &[String], reservation: Option<&Reservation>) -> Result<Embeddings, Cause> {
        if self.charged_model.is_some() && reservation.is_none() {
            return Err(Cause::new(ErrorCode::Internal, "an embedding that is charged for has no reservation"));
        }
        let attempt = self.outage.begin().map_err(|()| Failure::Paused.cause(&self.id))?;
        let result = self.call(texts, reservation.is_some()).await;
        match &result {
            Err(failure) if failure.is_outage() => attempt.fail(()),
            Ok(_) | Err(_) => attempt.succeed(),
        }
        result.map_err(|failure| failure.cause(&self.id))
    }
}

/// Reads a body up to its bound.
async fn read_body(mut response: reqwest::Response) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::from_transport(&error))? {
        if bytes.len() + chunk.len() > REPLY_BYTES_MAX {
            return Err(Failure::Unreadable(format!("it has more than {REPLY_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Failure::Unreadable("it is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests;
