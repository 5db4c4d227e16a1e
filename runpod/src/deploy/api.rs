//! Version 2 of RunPod's API: requests, their repetition, and what its errors mean.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, Json};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use tokio::time::sleep;

use crate::http::{Received, describe, new_client, read_response};
use crate::secret::SecretText;

/// The address of the API.
pub const API_URL: &str = "https://api.runpod.io/v2";

/// The time of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a response.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Attempts of a request that RunPod does not take at present.
const ATTEMPTS_MAX: u32 = 3;
/// The longest delay before a repetition; RunPod may name an hour.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Characters of a message of RunPod that are shown.
const DETAIL_CHARS_MAX: usize = 1_000;

/// A client of the API.
pub struct RunPodApi {
    http: Client,
    base: String,
    key: SecretText,
    authorization: HeaderValue,
    /// The first delay before a repetition.
    delay: Duration,
}

impl RunPodApi {
    /// A client with a key.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if there is no key, or it cannot be sent.
    pub fn new(base: &str, key: SecretText) -> Result<Self, Cause> {
        let invalid = |message: &str| Cause::new(ErrorCode::InvalidConfiguration, message.to_owned());
        if key.is_empty() {
            return Err(invalid("RUNPOD_API_KEY is not set: create a key in the settings of the console of RunPod"));
        }
        let authorization =
            key.header("Bearer ").map_err(|_| invalid("RUNPOD_API_KEY has a character that no header may have"))?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http: new_client()?, base, key, authorization, delay: Duration::from_secs(1) })
    }

    /// Waits this long before the first repetition.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The cause of a refusal, or of a missing response.
    pub async fn get(&self, path: &str) -> Result<Json, Cause> {
        self.send(Method::GET, path, None).await
    }

    /// Reads the resources of a collection, which the API wraps in an object as this member.
    ///
    /// # Errors
    /// Those of reading; [`ErrorCode::Interrupted`] for another response.
    pub(super) async fn list(&self, collection: &str, member: &str) -> Result<Vec<Json>, Cause> {
        let mut document = self.get(collection).await?;
        match document.get_mut(member).map(Json::take) {
            Some(Json::Array(items)) => Ok(items),
            _ => Err(Cause::new(ErrorCode::Interrupted, format!("the response of RunPod has no list `{member}`"))),
        }
    }

    /// Creates a resource. It is not repeated after a lost connection, because it may exist then.
    ///
    /// # Errors
    /// As [`RunPodApi::get`].
    pub async fn post(&self, path: &str, body: &Json) -> Result<Json, Cause> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// As [`RunPodApi::get`].
    pub async fn patch(&self, path: &str, body: &Json) -> Result<Json, Cause> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Json, Cause> {
        let mut attempt = 1;
        loop {
            let delay = self.delay.saturating_mul(2_u32.saturating_pow(attempt - 1));
            let (cause, requested) = match self.try_send(&method, path, body).await {
                Ok(received) if received.status.is_success() => return read_document(&received),
                Ok(received) => {
                    let is_passing = received.status == StatusCode::TOO_MANY_REQUESTS
                        || (received.status.is_server_error() && method != Method::POST);
                    let cause = self.refusal(&received);
                    if !is_passing {
                        return Err(cause);
                    }
                    (cause, received.retry_after())
                }
                Err(message) => {
                    let cause = Cause::new(ErrorCode::Interrupted, format!("RunPod has not responded: {message}"));
                    if method == Method::POST {
                        return Err(cause);
                    }
                    (cause, None)
                }
            };
            let delay = requested.unwrap_or(delay);
            if attempt >= ATTEMPTS_MAX || delay > DELAY_MAX {
                return Err(cause);
            }
            attempt += 1;
            sleep(delay).await;
        }
    }

    async fn try_send(&self, method: &Method, path: &str, body: Option<&Json>) -> Result<Received, String> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base)).timeout(REQUEST_TIMEOUT);
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let request = match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        };
        let response = request.send().await.map_err(|error| describe(&error))?;
        read_response(response, RESPONSE_BYTES_MAX).await
    }

    /// What a refusal means, and what to do about it. The message of RunPod follows, without the key.
    fn refusal(&self, received: &Received) -> Cause {
        let (code, meaning) = match received.status.as_u16() {
            400 => (ErrorCode::InvalidRequest, "RunPod refuses the request, or has no capacity"),
            401 => (ErrorCode::Unauthenticated, "RunPod does not know the key in RUNPOD_API_KEY"),
            402 => (ErrorCode::BudgetExceeded, "the balance of the account is too low; add credit in the console"),
            403 => (ErrorCode::Unauthenticated, "the key in RUNPOD_API_KEY may not do this; give it the scope"),
            404 => (ErrorCode::UnknownRecord, "RunPod has no such resource"),
            409 => (ErrorCode::VersionConflict, "the resource is in a state that does not allow this; deploy again"),
            422 => (ErrorCode::InvalidConfiguration, "RunPod refuses a member of the body"),
            429 => (ErrorCode::Overloaded, "too many requests to RunPod"),
            _ if received.status.is_redirection() => {
                (ErrorCode::InvalidConfiguration, "the address of the API redirects; the key is not sent elsewhere")
            }
            _ => (ErrorCode::Interrupted, "RunPod has failed"),
        };
        let status = received.status.as_u16();
        let detail = self.key.mask(&detail(received));
        let cause = Cause::new(code, format!("{meaning} ({status}){detail}"));
        match received.retry_after() {
            Some(delay) => cause.with_retry_after(delay),
            None => cause,
        }
    }
}

/// The message of a problem of the API, on one line. A page of HTML is none.
fn detail(received: &Received) -> String {
    let Some(problem) = received.is_json().then(|| serde_json::from_slice::<Json>(&received.body).ok()).flatten()
    else {
        return String::new();
    };
    let text = |name: &str| problem.get(name).and_then(Json::as_str).map(str::to_owned);
    let errors = problem.get("errors").and_then(Json::as_array).filter(|errors| !errors.is_empty());
    let errors = errors.map(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let parts: Vec<String> = [text("title"), text("detail"), errors].into_iter().flatten().collect();
    let joined = parts.join("; ").replace(['\n', '\r'], " ");
    let text: String = joined.chars().take(DETAIL_CHARS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn read_document(received: &Received) -> Result<Json, Cause> {
    if received.body.is_empty() {
        return Ok(Json::Null);
    }
    serde_json::from_slice(&received.body).map_err(|_| {
        Cause::new(ErrorCode::Interrupted, "the response of RunPod is no JSON; something in between may have sent it")
    })
}
