//! Embedders against a scripted server: every request is checked, and every way in which a reply can be wrong.

use greenroom_protocol::{CallKey, Tokens};
use greenroom_registry::ledger::Amount;
use serde_json::{Value, json};

use super::*;
use crate::model_server::{ModelServer, RecordedRequest, Step, response};

const KEY: &str = "sk-planted-31f0c2";

fn settings(api: EmbeddingApi, url: &str) -> EmbeddingSettings {
    let key = (api == EmbeddingApi::OpenAi).then(|| ApiKey::new(KEY));
    let base_url = url.to_owned();
    EmbeddingSettings {
        api,
        model: "test-model".into(),
        dimensions: 2,
        sends_dimensions: false,
        base_url,
        key,
        internal: false,
    }
}

fn reservation() -> Reservation {
    let tokens = Tokens { input: 100, output: 0 };
    Reservation::for_test(CallKey::new("call").unwrap(), Amount { tokens, ..Amount::default() })
}

fn texts() -> Vec<String> {
    vec!["first".to_owned(), "second".to_owned()]
}

/// The reply of OpenAI's API, whose vectors may be in any order.
fn good() -> String {
    let data = json!([{ "index": 1, "embedding": [0.0, 2.0] }, { "index": 0, "embedding": [3.0, 4.0] }]);
    response("200 OK", "", &json!({ "data": data, "usage": { "prompt_tokens": 5, "total_tokens": 5 } }).to_string())
}

async fn server(script: impl Fn(&RecordedRequest) -> String + Send + Sync + 'static) -> ModelServer {
    ModelServer::start(move |request| vec![Step::Send(script(request))]).await.unwrap()
}

async fn embed(settings: EmbeddingSettings) -> Result<Embeddings, Cause> {
    let charged = reservation();
    let reservation = (settings.api == EmbeddingApi::OpenAi).then_some(&charged);
    open(settings).unwrap().embed(&texts(), reservation).await
}

fn numbers(embeddings: &Embeddings) -> Vec<Vec<f32>> {
    embeddings.vectors.iter().map(|vector| vector.as_slice().to_vec()).collect()
}

#[tokio::test]
async fn an_openai_server_gets_one_request_for_several_texts() {
    let server = server(|_| good()).await;
    let embeddings = embed(settings(EmbeddingApi::OpenAi, server.url())).await.unwrap();
    assert_eq!(numbers(&embeddings), [[0.6, 0.8], [0.0, 1.0]], "in the order of the texts, with the length one");
    assert_eq!(embeddings.tokens, Some(5));
    let [request] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    assert_eq!(request.line, "POST /v1/embeddings HTTP/1.1");
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(request.headers["content-type"], "application/json");
    let body = json!({ "model": "test-model", "input": ["first", "second"], "encoding_format": "float" });
    assert_eq!(request.body, body);
}

#[tokio::test]
async fn dimensions_that_are_configured_are_requested() {
    let server = server(|_| good()).await;
    embed(EmbeddingSettings { sends_dimensions: true, ..settings(EmbeddingApi::OpenAi, server.url()) }).await.unwrap();
    assert_eq!(server.requests()[0].body["dimensions"], 2);
}

#[tokio::test]
async fn ollama_is_called_by_its_own_api_beside_the_one_below_v1() {
    let reply = json!({ "embeddings": [[3.0, 4.0], [0.0, 1.0]], "prompt_eval_count": 7 }).to_string();
    let server = server(move |_| response("200 OK", "", &reply)).await;
    let base = server.url().trim_end_matches("/v1").to_owned();
    for url in [server.url().to_owned(), base] {
        let embeddings = embed(settings(EmbeddingApi::Ollama, &url)).await.unwrap();
        assert_eq!((numbers(&embeddings), embeddings.tokens), (vec![vec![0.6, 0.8], vec![0.0, 1.0]], Some(7)));
    }
    for request in server.requests() {
        assert_eq!(request.line, "POST /api/embed HTTP/1.1");
        assert_eq!(request.headers.get("authorization"), None);
        assert_eq!(request.body, json!({ "model": "test-model", "input": ["first", "second"] }));
    }
}

#[tokio::test]
async fn a_server_without_capacity_is_called_again_and_then_given_up() {
    let recovering = server(|request| match request.number {
        0 => response("429 Too Many Requests", "retry-after: 0\r\n", "{}"),
        1 => response("503 Service Unavailable", "", "{}"),
        _ => good(),
    })
    .await;
    embed(settings(EmbeddingApi::OpenAi, recovering.url())).await.unwrap();
    assert_eq!(recovering.count(), 3);
    let full = server(|_| response("429 Too Many Requests", "", "{}")).await;
    let cause = embed(settings(EmbeddingApi::OpenAi, full.url())).await.unwrap_err();
    assert_eq!((cause.code, full.count()), (ErrorCode::ModelOverloaded, 3));
    let later = server(|_| response("429 Too Many Requests", "retry-after: 60\r\n", "{}")).await;
    let cause = embed(settings(EmbeddingApi::OpenAi, later.url())).await.unwrap_err();
    assert_eq!((cause.retry_after_ms, later.count()), (Some(60_000), 1), "no caller waits for a minute");
}

#[tokio::test]
async fn a_call_that_may_have_been_charged_is_not_sent_again() {
    for (steps, code) in [
        (vec![Step::Reset], ErrorCode::ModelFailed),
        (vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".into())], ErrorCode::ModelFailed),
        (vec![Step::Send(response("500 Internal Server Error", "", "{}"))], ErrorCode::ModelFailed),
    ] {
        let server = ModelServer::start(move |_| steps.clone()).await.unwrap();
        let cause = embed(settings(EmbeddingApi::OpenAi, server.url())).await.unwrap_err();
        assert_eq!((cause.code, server.count()), (code, 1), "{cause}");
        assert_eq!(cause.details["uncharged"], false);
        assert_eq!(embed(settings(EmbeddingApi::Ollama, server.url())).await.unwrap_err().code, code);
        assert_eq!(server.count(), 4, "a call that costs nothing is sent three times");
    }
}

#[tokio::test]
async fn a_server_that_does_not_reply_is_not_called_for_a_while() {
    let server = ModelServer::start(|request| match request.number {
        0..2 => vec![Step::Reset],
        _ => vec![Step::Send(good())],
    })
    .await
    .unwrap();
    let embedder = open(settings(EmbeddingApi::OpenAi, server.url())).unwrap();
    let reservation = reservation();
    for _ in 0..2 {
        let cause = embedder.embed(&texts(), Some(&reservation)).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::ModelFailed, "{cause}");
    }
    let cause = embedder.embed(&texts(), Some(&reservation)).await.unwrap_err();
    assert_eq!((cause.code, server.count()), (ErrorCode::ModelOverloaded, 2), "{cause}");
    assert_eq!(cause.details["uncharged"], true);
    assert!(cause.retry_after_ms.is_some());
}

#[tokio::test]
async fn a_long_text_is_cut_to_what_models_accept() {
    let server = server(|_| good()).await;
    let embedder = open(settings(EmbeddingApi::OpenAi, server.url())).unwrap();
    let texts = vec!["ä".repeat(30_000), "short".to_owned()];
    embedder.embed(&texts, Some(&reservation())).await.unwrap();
    let sent = server.requests()[0].body["input"].clone();
    assert_eq!((sent[0].as_str().map(str::len), &sent[1]), (Some(TEXT_BYTES_MAX), &json!("short")));
}

#[tokio::test]
async fn a_rejected_request_is_not_sent_again_and_its_key_is_never_repeated() {
    let message = json!({ "error": { "message": format!("the key {KEY} has no access\nto this") } }).to_string();
    for (status, code, text) in [
        ("401 Unauthorized", ErrorCode::ModelUnauthorized, "memory.api_key"),
        ("404 Not Found", ErrorCode::UnknownModel, "the key *** has no access to this"),
        ("400 Bad Request", ErrorCode::ModelRefused, "rejects the request (400): the key ***"),
    ] {
        let message = message.clone();
        let server = server(move |_| response(status, "", &message)).await;
        let cause = embed(settings(EmbeddingApi::OpenAi, server.url())).await.unwrap_err();
        assert_eq!((cause.code, server.count()), (code, 1), "{cause}");
        assert!(cause.message.contains(text) && !cause.to_string().contains(KEY), "{cause}");
        assert_eq!(cause.details["uncharged"], true);
    }
}

#[tokio::test]
async fn a_reply_that_lies_is_an_error_with_the_reason() {
    let vector = |index: usize, numbers: Value| json!({ "index": index, "embedding": numbers });
    for (data, reason) in [
        (json!([vector(0, json!([1.0, 0.0]))]), "1 vectors for 2 texts"),
        (json!([vector(0, json!([1.0, 0.0])), vector(0, json!([1.0, 0.0]))]), "the indexes of its vectors"),
        (json!([vector(0, json!([1.0])), vector(1, json!([1.0]))]), "1 dimensions, and memory.dimensions is 2"),
        (json!([vector(0, json!([1e39, 0.0])), vector(1, json!([1.0, 0.0]))]), "cannot be used"),
        (json!("secret text"), "not the JSON of this API"),
    ] {
        let body = json!({ "data": data }).to_string();
        let server = server(move |_| response("200 OK", "", &body)).await;
        let cause = embed(settings(EmbeddingApi::OpenAi, server.url())).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::ModelFailed, "{cause}");
        assert!(cause.message.contains(reason) && !cause.message.contains("secret"), "{cause}");
    }
}

#[tokio::test]
async fn an_endless_reply_is_cut_at_its_bound() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let endless = Step::Endless("x".repeat(64 * 1024));
    let server = ModelServer::start(move |_| vec![Step::Send(head.to_owned()), endless.clone()]).await.unwrap();
    let cause = embed(settings(EmbeddingApi::OpenAi, server.url())).await.unwrap_err();
    assert!(cause.message.contains("more than 16777216 bytes"), "{cause}");
}

#[tokio::test]
async fn a_charged_call_without_a_reservation_is_not_sent() {
    let server = server(|_| good()).await;
    let embedder = open(settings(EmbeddingApi::OpenAi, server.url())).unwrap();
    assert_eq!(embedder.charged_model(), Some("openai.test-model"));
    assert_eq!(embedder.id().as_str(), "openai:test-model:2");
    assert!(embedder.is_external());
    assert_eq!(embedder.embed(&texts(), None).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(server.count(), 0);
}

#[test]
fn an_invalid_address_or_name_is_refused() {
    for (model, url) in [("test-model", "ftp://h"), ("test-model", "http://u:p@h/"), ("a b", "http://h/")] {
        let invalid = EmbeddingSettings { model: model.into(), ..settings(EmbeddingApi::OpenAi, url) };
        let cause = open(invalid).map(drop).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidConfiguration, "{cause}");
    }
}
