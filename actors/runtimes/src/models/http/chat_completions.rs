//! OpenAI's API of chat completions, as the servers of the world speak it. Nearly every provider and every local server
//! has this API, and each has habits that OpenAI's own server does not have:
//!
//! | server | habit | here |
//! |---|---|---|
//! | gateways (LiteLLM, one-api) | `"error": null`, `"finish_reason": ""`, `"usage": null` in every chunk; a last count of zeros | empty members are no values; zeros replace no count |
//! | Ollama, LM Studio, llama.cpp | pieces of tool calls without `index`; arguments as an object | `tool_calls` matches by id, else by index, else by order |
//! | Google's compatible endpoint | all tool calls with index 0 and ids of their own; errors in a list | likewise; `error` reads lists |
//! | models behind any of them | arguments that are empty, null, a list, or encoded twice; an empty object before or after the pieces | `tool_arguments` |
//! | gateways to other formats | arguments beside the function, or in `parameters` or `input`; names in pieces; indexes as texts; `function_call` beside `tool_calls` | `tool_calls` and `chunk` read one call |
//! | llama.cpp, vLLM, SGLang | status 200, then an error: an event with `error` or `"object": "error"`, or a line `error: …` | `events` and `chunk` read each |
//! | servers behind proxies | no `[DONE]`, a connection that stays open after the last chunk | the stop reason is the end |
//! | servers that cannot stream | one JSON document instead of a stream, with or without a stop reason | `events` reads documents too |
//! | gateways that pass on two formats | the text in `delta` and in `message`; the only choice with index 1 | `chunk` reads one of them |
//! | gateways without a model | status 200, then a document with `message`, `msg` or `detail`, or a text | a rejection with these words |
//! | servers that cut texts by UTF-16 units | half of a surrogate pair in one chunk, half in the next | `surrogates` joins them |
//! | Groq, Moonshot | the count in `x_groq`, in the choice | read there |
//! | Mistral | content as a list of typed parts | read |
//! | servers of something else, at a wrong address | a page with status 200 | no model was called: one attempt, no cost |
//! | DeepSeek, vLLM, OpenRouter | reasoning in a member of its own | written, but no part of the answer |
//!
//! The bytes and the time of an answer are bounded here: nothing of it is buffered beyond its bound.
//!
//! ```text
//! request       the body of the request
//! events        bytes → JSON documents: server-sent events, lines, or one body
//! chunk         a document → deltas
//! tool_calls    assembles tool calls from their pieces
//! surrogates    joins pieces of texts that were cut within a character
//! answer        the stream of one answer, with a timeout for every wait and exactly one end
//! ```

mod answer;
mod chunk;
mod events;
mod request;
mod surrogates;
mod tool_calls;

use genai::adapter::AdapterKind;
use greenroom_actors::model::{CallPhase, Deltas, ModelCall, ModelError};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout_at};

use super::endpoint::ProviderEndpoint;
use super::error;
use super::rejections::RequestForm;

/// Maximum bytes of the body of an error response that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Sends a request and waits for the first event of its answer.
///
/// # Errors
/// [`ModelError`] if no answer begins.
pub(super) async fn send(
    http: &reqwest::Client,
    url: Url,
    endpoint: &ProviderEndpoint,
    call: &ModelCall<'_>,
    form: RequestForm,
) -> Result<Deltas, ModelError> {
    let started_at = Instant::now();
    let deadline = started_at + call.timeouts.total;
    let first_event_at = started_at + call.timeouts.first_token;
    let (until, phase) =
        if deadline <= first_event_at { (deadline, CallPhase::Total) } else { (first_event_at, CallPhase::FirstToken) };
    let mut request = http
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", call.key.as_str())
        .body(request::body(call, form).to_string());
    if let Some(key) = endpoint.key() {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    if endpoint.api == AdapterKind::GithubCopilot {
        request = request.header(ACCEPT, "application/vnd.github+json");
    }
    let response = match timeout_at(until, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(error::from_transport(&error, phase)),
        Err(_elapsed) => return Err(ModelError::TimedOut { phase }),
    };
    let status = response.status();
    let encoding = compression(&response);
    if !status.is_success() {
        let headers = response.headers().clone();
        let body = match encoding {
            Some(encoding) => format!("its message is compressed ({encoding}), which was not requested"),
            None => error_body(response, until).await,
        };
        return Err(error::from_response(status, &body, &headers));
    }
    if let Some(encoding) = encoding {
        let message = format!("it is compressed ({encoding}), which was not requested; switch it off in the server");
        return Err(ModelError::MalformedResponse { message });
    }
    let media_type = media_type(&response);
    match (answer::open(response, call, first_event_at, deadline).await, media_type.as_str()) {
        (Err(ModelError::MalformedResponse { .. }), "text/html") => Err(ModelError::Rejected {
            status: status.as_u16(),
            message: "the server sent a page (text/html) and no answer; check the address of the provider".to_owned(),
        }),
        // The text is what the server has to say, and no model has answered.
        (Err(ModelError::MalformedResponse { message }), "text/plain") if message.starts_with(chunk::NO_EVENT) => {
            Err(ModelError::Rejected { status: status.as_u16(), message })
        }
        (outcome, _) => outcome,
    }
}

/// The media type of a response, without its parameters. Some servers stream an answer as a page or a text.
fn media_type(response: &Response) -> String {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The encoding of a compressed response. Compressed data may expand without bound, so none is read.
fn compression(response: &Response) -> Option<String> {
    let encoding = response.headers().get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
    (!matches!(encoding.as_str(), "" | "identity")).then_some(encoding)
}

/// The beginning of the body of an error response, as far as it arrives in time.
async fn error_body(mut response: Response, until: Instant) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(bytes))) = timeout_at(until, response.chunk()).await {
        body.extend_from_slice(&bytes);
        if body.len() >= ERROR_BYTES_MAX {
            break;
        }
    }
    body.truncate(ERROR_BYTES_MAX);
    String::from_utf8_lossy(&body).into_owned()
}
