//! APIs that are read through the crate genai: Anthropic's, Gemini's, Ollama's and rarer ones. The gaps of genai
//! (dropped usage, answers without an end, missed refusals, unbounded bytes) are closed here and nowhere else; decision
//! 15 lists them.

mod frame_meter;
mod request;
mod stream;

use genai::webc::StreamTimeout;
use genai::{Client, Error};
use greenroom_actors::model::{CallPhase, Deltas, ModelCall, ModelError};

use super::endpoint::ProviderEndpoint;
use super::error;
use super::rejections::RequestForm;

/// Sends a request and waits for the first event of its answer.
///
/// # Errors
/// [`ModelError`] if no answer begins.
pub(super) async fn send(
    client: &Client,
    endpoint: &ProviderEndpoint,
    call: &ModelCall<'_>,
    form: RequestForm,
) -> Result<Deltas, ModelError> {
    let meter = frame_meter::FrameMeter::new(endpoint.api, call.tokens_max);
    let (chat, options) = request::build(call, endpoint, form, meter.clone());
    let deadline = tokio::time::Instant::now() + call.timeouts.total;
    let model = endpoint.model(&call.model.model);
    let response = client.exec_chat_stream(model, chat, Some(&options)).await;
    let response = response.map_err(|error| classify(&error, CallPhase::FirstToken))?;
    stream::open(response.stream, meter, call.timeouts, deadline).await
}

/// Classifies an error of genai in this phase of a call. Messages of genai are dropped, since they may contain the
/// address, the request or the answer.
fn classify(error: &Error, phase: CallPhase) -> ModelError {
    match error {
        Error::WebStream { error, .. } => classify_transport(error.as_ref(), phase),
        Error::HttpError { status, body, headers, .. } => error::from_response(*status, body, headers),
        Error::ChatResponse { body, .. } => error::from_event(body),
        Error::StreamParse { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_)
        | Error::InvalidJsonResponseElement { .. } => {
            ModelError::MalformedResponse { message: "an event of the answer is not valid JSON of its type".to_owned() }
        }
        Error::RequiresApiKey { .. } | Error::NoAuthData { .. } | Error::NoAuthResolver { .. } => {
            ModelError::Unauthorized { status: 401 }
        }
        other => match (other.status(), other.headers()) {
            (Some(status), Some(headers)) => error::from_response(status, "", headers),
            (Some(_) | None, _) => error::unwritable(),
        },
    }
}

fn classify_transport(error: &(dyn std::error::Error + Send + Sync + 'static), phase: CallPhase) -> ModelError {
    if let Some(error) = error.downcast_ref::<Error>() {
        return classify(error, phase);
    }
    if let Some(timeout) = error.downcast_ref::<StreamTimeout>() {
        let phase = match timeout {
            StreamTimeout::Headers => CallPhase::FirstToken,
            StreamTimeout::Read => phase,
        };
        return ModelError::TimedOut { phase };
    }
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) => error::from_transport(error, phase),
        None => ModelError::MalformedResponse { message: "the answer is not UTF-8".to_owned() },
    }
}
