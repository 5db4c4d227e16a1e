//! The requests and the replies of the APIs.

use greenroom_protocol::Json;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::{EmbeddingApi, EmbeddingSettings};

/// The vectors of a reply, in the order of the texts.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) vectors: Vec<Vec<f32>>,
    pub(super) tokens: Option<u64>,
}

/// The address of the endpoint below the address of a server. Ollama has its own API beside the one below `v1`.
pub(super) fn endpoint(api: EmbeddingApi, base: &Url) -> Option<Url> {
    let mut url = match api {
        EmbeddingApi::OpenAi => base.join("embeddings").ok()?,
        EmbeddingApi::Ollama if base.path().ends_with("/v1/") => base.join("../api/embed").ok()?,
        EmbeddingApi::Ollama => base.join("api/embed").ok()?,
    };
    url.set_query(base.query());
    Some(url)
}

/// The body of a request.
pub(super) fn request(settings: &EmbeddingSettings, texts: &[&str]) -> String {
    let mut body = json!({ "model": settings.model, "input": texts });
    if let Some(members) = body.as_object_mut() {
        if settings.api == EmbeddingApi::OpenAi {
            members.insert("encoding_format".to_owned(), json!("float"));
        }
        if settings.sends_dimensions {
            members.insert("dimensions".to_owned(), json!(settings.dimensions));
        }
    }
    body.to_string()
}

#[derive(Deserialize)]
struct OpenAiReply {
    data: Vec<OpenAiVector>,
    #[serde(default)]
    usage: Option<OpenAiUsage>,
}

#[derive(Deserialize)]
struct OpenAiVector {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    prompt_tokens: u64,
}

#[derive(Deserialize)]
struct OllamaReply {
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
}

/// Reads a reply.
///
/// # Errors
/// The problem, without any part of the reply.
pub(super) fn read_reply(api: EmbeddingApi, text: &str) -> Result<Reply, String> {
    let unreadable = |error: serde_json::Error| {
        format!("it is not the JSON of this API (line {}, column {})", error.line(), error.column())
    };
    match api {
        EmbeddingApi::OpenAi => {
            let mut reply: OpenAiReply = serde_json::from_str(text).map_err(unreadable)?;
            reply.data.sort_by_key(|vector| vector.index);
            if reply.data.iter().enumerate().any(|(position, vector)| vector.index != position) {
                return Err("the indexes of its vectors are not those of the texts".to_owned());
            }
            let vectors = reply.data.into_iter().map(|vector| vector.embedding).collect();
            Ok(Reply { vectors, tokens: reply.usage.map(|usage| usage.prompt_tokens) })
        }
        EmbeddingApi::Ollama => {
            let reply: OllamaReply = serde_json::from_str(text).map_err(unreadable)?;
            Ok(Reply { vectors: reply.embeddings, tokens: reply.prompt_eval_count })
        }
    }
}

/// What a server reports about its failure: `error.message`, or `error`.
pub(super) fn reported_message(text: &str) -> String {
    let body: Json = serde_json::from_str(text).unwrap_or(Json::Null);
    let error = body.get("error");
    let message = error.and_then(|error| error.get("message")).or(error).and_then(Json::as_str);
    message.unwrap_or_default().to_owned()
}
