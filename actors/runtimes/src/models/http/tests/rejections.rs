//! Parts of requests that a server rejects are not sent again.

use greenroom_actors::model::{ModelError, ToolSpec};
use greenroom_definitions::agent::{ModelParameters, ReasoningEffort};
use serde_json::{Value, json};

use super::Api;
use super::server::{Server, status};
use crate::models::test_calls::Call;

fn schema(name: &str) -> Value {
    json!({ "type": "object", "properties": { name: { "type": "string" } }, "required": [name], "additionalProperties": false })
}

fn call(api: Api, name: &str) -> Call {
    Call::new(&api.model(), "Be brief.", "Say it.").with_schema(schema(name))
}

fn rejection(message: &str) -> Vec<crate::model_server::Step> {
    let body = json!({ "error": { "type": "invalid_request_error", "message": message } });
    status("400 Bad Request", "", &body.to_string())
}

#[tokio::test]
async fn a_rejected_schema_is_sent_in_the_prompt_and_another_one_is_not() {
    for (api, field) in [(Api::OpenAi, "response_format"), (Api::Anthropic, "output_config")] {
        let rejected = rejection(&format!("Invalid schema for {field}: something in it is not supported"));
        let server = Server::start(vec![rejected, api.valid("{}")]).await;
        let provider = server.provider(api.name());
        for name in ["summary", "summary", "title"] {
            assert_eq!(call(api, name).send(&*provider).await.text, "{}", "{api:?}");
        }
        let has_field: Vec<bool> = server.requests().iter().map(|request| request.body.get(field).is_some()).collect();
        assert_eq!(has_field, [true, false, false, true], "{api:?}: the schema is remembered, not the model");
        assert!(server.requests()[1].body.to_string().contains("It must match this JSON Schema"));
    }
}

#[tokio::test]
async fn members_that_a_server_does_not_know_are_left_out() {
    let server = Server::start(vec![
        rejection("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        rejection("stream_options: extra fields not permitted"),
        Api::OpenAi.valid("{}"),
    ])
    .await;
    let provider = server.provider("openai");
    for _ in 0..2 {
        assert_eq!(call(Api::OpenAi, "summary").send(&*provider).await.text, "{}");
    }
    let members: Vec<(bool, bool, bool)> = server
        .requests()
        .iter()
        .map(|request| {
            let has = |name: &str| request.body.get(name).is_some();
            (has("max_tokens"), has("max_completion_tokens"), has("stream_options"))
        })
        .collect();
    assert_eq!(members, [(true, false, true), (false, true, true), (false, true, false), (false, true, false)]);
}

#[tokio::test]
async fn parameters_that_a_model_does_not_have_are_left_out_one_by_one() {
    let server = Server::start(vec![
        rejection("Unsupported value: 'temperature' does not support 0.2 with this model."),
        rejection("Unrecognized request argument supplied: seed"),
        Api::OpenAi.valid("{}"),
    ])
    .await;
    let provider = server.provider("openai");
    let mut call = call(Api::OpenAi, "summary");
    call.parameters =
        ModelParameters { temperature: Some(0.2), reasoning_effort: Some(ReasoningEffort::Low), seed: Some(7) };
    for _ in 0..2 {
        assert_eq!(call.send(&*provider).await.text, "{}");
    }
    let members: Vec<(bool, bool, bool)> = server
        .requests()
        .iter()
        .map(|request| {
            let has = |name: &str| request.body.get(name).is_some();
            (has("temperature"), has("reasoning_effort"), has("seed"))
        })
        .collect();
    assert_eq!(members, [(true, true, true), (false, true, true), (false, true, false), (false, true, false)]);
    assert_eq!(server.requests()[0].body["reasoning_effort"], "low");
    assert_eq!(server.requests()[0].body["seed"], 7);
}

#[tokio::test]
async fn a_call_without_parameters_sends_none() {
    for api in [Api::OpenAi, Api::Anthropic] {
        let server = Server::start(vec![api.valid("{}")]).await;
        assert_eq!(call(api, "summary").send(&*server.provider(api.name())).await.text, "{}");
        for name in ["temperature", "reasoning_effort", "thinking", "seed"] {
            assert!(server.requests()[0].body.get(name).is_none(), "{api:?} {name}");
        }
    }
}

#[tokio::test]
async fn the_temperature_reaches_an_api_of_another_form() {
    let server = Server::start(vec![Api::Anthropic.valid("{}")]).await;
    let mut call = call(Api::Anthropic, "summary");
    call.parameters.temperature = Some(0.5);
    assert_eq!(call.send(&*server.provider("anthropic")).await.text, "{}");
    assert_eq!(server.requests()[0].body["temperature"], 0.5);
}

/// The bodies and states with which servers reject a part of the request: the words decide, wherever they are.
#[tokio::test]
async fn a_rejected_part_is_recognized_in_every_format() {
    let long = format!("{} Use 'max_completion_tokens'.", "The request could not be processed. ".repeat(20));
    let fastapi = |member: &str| json!({ "detail": [{ "type": "extra_forbidden", "loc": ["body", member], "msg": "Extra inputs are not permitted" }] });
    let param = json!({ "error": { "message": "Unsupported parameter", "param": "response_format" } });
    for (line, body, member) in [
        ("400 Bad Request", json!({ "error": { "message": long } }).to_string(), "max_tokens"),
        ("400 Bad Request", json!({ "error": "Unsupported parameter: max_tokens" }).to_string(), "max_tokens"),
        ("422 Unprocessable Entity", fastapi("stream_options").to_string(), "stream_options"),
        ("422 Unprocessable Entity", fastapi("response_format").to_string(), "response_format"),
        ("400 Bad Request", param.to_string(), "response_format"),
        ("400 Bad Request", "unknown field: stream_options".to_owned(), "stream_options"),
        (
            "400 Bad Request",
            json!({ "errors": [{ "message": "stream_options unknown" }] }).to_string(),
            "stream_options",
        ),
        (
            "500 Internal Server Error",
            json!({ "error": { "message": "json_schema is not implemented" } }).to_string(),
            "response_format",
        ),
        (
            "501 Not Implemented",
            json!({ "error": { "message": "response_format is not implemented" } }).to_string(),
            "response_format",
        ),
        ("200 OK", json!({ "message": "response_format is not supported" }).to_string(), "response_format"),
    ] {
        let server = Server::start(vec![status(line, "", &body), Api::OpenAi.valid("{}")]).await;
        let answer = call(Api::OpenAi, "summary").send(&*server.provider("openai")).await;
        assert_eq!((answer.text.as_str(), answer.error), ("{}", None), "{body}");
        let has_member: Vec<bool> =
            server.requests().iter().map(|request| request.body.get(member).is_some()).collect();
        assert_eq!(has_member, [true, false], "{body}");
    }
    let failed = status("500 Internal Server Error", "", "{\"error\": \"the grammar of the json_schema crashed\"}");
    let server = Server::start(vec![failed]).await;
    let answer = call(Api::OpenAi, "summary").send(&*server.provider("openai")).await;
    assert!(matches!(answer.error, Some(ModelError::Failed { status: Some(500), .. })), "{answer:?}");
    assert_eq!(server.requests().len(), 1, "a failure is no rejection");
}

/// A key that is no secret must not change the words by which a rejected part is recognized.
#[tokio::test]
async fn a_short_key_hides_no_member_of_the_request() {
    let message =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    let server = Server::start(vec![rejection(message), Api::OpenAi.valid("{}")]).await;
    let answer = call(Api::OpenAi, "summary").send(&*server.provider_with_key("openai", "k")).await;
    assert_eq!((answer.text.as_str(), answer.error), ("{}", None));
}

#[tokio::test]
async fn any_other_rejection_is_an_error_at_once() {
    let server = Server::start(vec![rejection("tools[0].function.parameters is invalid")]).await;
    let mut call = call(Api::OpenAi, "summary");
    call.tools = vec![ToolSpec { name: "t".into(), description: "T.".into(), parameters: json!({ "type": "object" }) }];
    let answer = call.send(&*server.provider("openai")).await;
    assert!(matches!(answer.error, Some(ModelError::Rejected { status: 400, .. })), "{answer:?}");
    assert_eq!(server.requests().len(), 1);
}
