//! The results of a server that is slow, overloaded, broken, wrong, silent or endless.

use std::time::Duration;

use greenroom_actors::model::{CallPhase, ModelError, StopReason};
use greenroom_protocol::Tokens;

use super::Api;
use super::server::{self, KEY, Server, head, status};
use crate::model_server::Step;
use crate::models::test_calls::{Call, CollectedAnswer};

/// The repeated content of an endless event.
const BLOCK: &str =
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const SHORT: Duration = Duration::from_millis(150);

async fn call(api: Api, steps: Vec<Step>) -> CollectedAnswer {
    let server = Server::start(vec![steps]).await;
    Call::new(&api.model(), "", "hello").send(&*server.provider(api.name())).await
}

/// Uses timeouts so short that a test ends soon.
async fn call_with_short_timeouts(api: Api, steps: Vec<Step>) -> CollectedAnswer {
    let server = Server::start(vec![steps]).await;
    let mut call = Call::new(&api.model(), "", "hello");
    (call.timeouts.first_token, call.timeouts.idle) = (SHORT * 2, SHORT);
    call.timeouts.total = SHORT * 8;
    call.send(&*server.provider(api.name())).await
}

fn events(api: Api, tail: &str) -> Vec<Step> {
    vec![head(), Step::Send(api.text(&["half"])), Step::Send(tail.to_owned())]
}

#[tokio::test]
async fn a_slow_answer_arrives() {
    for api in Api::ALL {
        let steps = vec![
            head(),
            Step::Wait(SHORT),
            Step::Send(api.text(&["a"])),
            Step::Wait(SHORT),
            Step::Send(api.end(api.complete_reason())),
        ];
        let answer = call(api, steps).await;
        assert_eq!((answer.text.as_str(), answer.error), ("a", None), "{api:?}");
    }
}

#[tokio::test]
async fn the_retry_delay_of_an_overloaded_server_is_reported() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for api in Api::ALL {
        for (line, headers, expected, after) in [
            ("429 Too Many Requests", "retry-after: 7\r\n", 429, Some(Duration::from_secs(7))),
            ("429 Too Many Requests", "", 429, None),
            (
                "429 Too Many Requests",
                "retry-after-ms: 250\r\nretry-after: 1\r\n",
                429,
                Some(Duration::from_millis(250)),
            ),
            (
                "503 Service Unavailable",
                &format!("{date}retry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n"),
                503,
                Some(Duration::from_secs(30)),
            ),
            ("529 Overloaded", "retry-after: soon\r\n", 529, None),
        ] {
            let answer =
                call(api, status(line, headers, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}"))
                    .await;
            assert_eq!(
                answer.error,
                Some(ModelError::Overloaded { status: expected, retry_after: after }),
                "{api:?} {line} {headers}"
            );
        }
    }
}

#[tokio::test]
async fn each_rejection_of_a_request_has_its_class() {
    let leak = format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}");
    for api in Api::ALL {
        let answer = call(api, status("500 Internal Server Error", "", &leak)).await;
        assert_eq!(
            answer.error,
            Some(ModelError::Failed { status: Some(500), message: "status 500: bad key ***".into() }),
            "{api:?}"
        );
        let answer = call(api, status("401 Unauthorized", "", &leak)).await;
        assert_eq!(answer.error, Some(ModelError::Unauthorized { status: 401 }));
        let answer = call(api, status("400 Bad Request", "", "<html>")).await;
        let page = "the server sent a page (HTML) and no message".to_owned();
        assert_eq!(answer.error, Some(ModelError::Rejected { status: 400, message: page }));
        let long = "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210,000 tokens > 200000 maximum\"}}";
        let answer = call(api, status("400 Bad Request", "", long)).await;
        assert_eq!(answer.error, Some(ModelError::ContextOverflow { requested: Some(210_000), limit: Some(200_000) }));
        let answer = call(api, status("302 Found", "location: http://127.0.0.1:1/\r\n", "")).await;
        assert!(
            matches!(&answer.error, Some(ModelError::Rejected { status: 302, message }) if message.contains("redirects")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_after_its_text() {
    for api in Api::ALL {
        let mut steps = events(api, "");
        steps.extend([Step::Wait(SHORT), Step::Reset]);
        let answer = call(api, steps).await;
        assert_eq!(answer.text, "half");
        assert!(matches!(answer.error, Some(ModelError::Failed { status: None, .. })), "{api:?} {answer:?}");
        assert_eq!(answer.usage, None, "an incomplete count is not reported");

        let answer = call(api, events(api, "")).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{api:?} {answer:?}");
        let answer = call(api, events(api, "event: content_block_delta\ndata: {\"type\":\"content_bl")).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{api:?} {answer:?}");
    }
}

#[tokio::test]
async fn an_end_without_its_marker_is_an_end() {
    let all = Api::OpenAi.end("stop");
    let answer = call(Api::OpenAi, events(Api::OpenAi, all.trim_end_matches("data: [DONE]\n\n"))).await;
    assert_eq!(
        (answer.stop, answer.usage, answer.error),
        (Some(StopReason::Complete), Some(Tokens { input: 25, output: 7 }), None)
    );
}

/// genai passes on the data of events only, so the document cannot be read here. Chat completions read it.
#[tokio::test]
async fn one_document_instead_of_events_is_a_malformed_response_of_an_api_that_genai_reads() {
    let anthropic = "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"whole\"}],\
                     \"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":25,\"output_tokens\":7}}";
    let gemini = "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"whole\"}]},\"finishReason\":\"STOP\"}],\
                  \"usageMetadata\":{\"promptTokenCount\":25,\"candidatesTokenCount\":7}}";
    for (api, document) in [(Api::Anthropic, anthropic), (Api::Gemini, gemini)] {
        let answer = call(api, status("200 OK", "", document)).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{api:?} {answer:?}");
        assert_eq!((answer.text.as_str(), answer.stop, answer.usage), ("", None, None), "{api:?}");
    }
}

#[tokio::test]
async fn garbage_and_wrong_types_are_malformed_responses() {
    for api in Api::ALL {
        for garbage in ["<html>proxy</html>\n\n", "event: content_block_delta\ndata: not json\n\n", "\u{0}\u{1}\n\n"] {
            let answer = call(api, vec![head(), Step::Send(garbage.to_owned())]).await;
            assert!(
                matches!(answer.error, Some(ModelError::MalformedResponse { .. })),
                "{api:?} {garbage:?} {answer:?}"
            );
        }
    }
    for wrong in [
        "{\"choices\":\"x\"}",
        "{\"choices\":[{\"delta\":{\"content\":5}}]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":7}]}",
    ] {
        let answer = call(
            Api::OpenAi,
            vec![head(), Step::Send(format!("data: {wrong}\n\n")), Step::Send(Api::OpenAi.end("stop"))],
        )
        .await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{wrong} {answer:?}");
    }
    let wrong = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":5}}\n\n";
    let answer = call(Api::Anthropic, events(Api::Anthropic, wrong)).await;
    assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{answer:?}");
    let uncounted = Api::OpenAi.end("stop").replace("25", "\"many\"");
    let answer = call(Api::OpenAi, events(Api::OpenAi, &uncounted)).await;
    assert_eq!(
        (answer.usage, answer.stop),
        (None, Some(StopReason::Complete)),
        "a count of a wrong type is not reported"
    );
}

#[tokio::test]
async fn refusals_truncation_and_errors_in_the_stream_are_detected() {
    let refusal =
        "data: {\"choices\":[{\"delta\":{\"refusal\":\"I cannot.\"}}]}\n\n".to_owned() + &Api::OpenAi.end("stop");
    let answer = call(Api::OpenAi, vec![head(), Step::Send(refusal)]).await;
    assert_eq!((answer.stop, answer.usage), (Some(StopReason::Refusal), Some(Tokens { input: 25, output: 7 })));
    assert_eq!(
        call(Api::OpenAi, events(Api::OpenAi, &Api::OpenAi.end("content_filter"))).await.stop,
        Some(StopReason::Refusal)
    );
    assert_eq!(
        call(Api::Anthropic, events(Api::Anthropic, &Api::Anthropic.end("refusal"))).await.stop,
        Some(StopReason::Refusal)
    );
    let answer = call(Api::Gemini, events(Api::Gemini, &Api::Gemini.end("SAFETY"))).await;
    assert_eq!((answer.stop, answer.usage), (Some(StopReason::Refusal), Some(Tokens { input: 25, output: 7 })));
    for (api, cut) in
        [(Api::OpenAi, "length"), (Api::Anthropic, "max_tokens"), (Api::Gemini, "MAX_TOKENS"), (Api::Ollama, "length")]
    {
        let answer = call(api, events(api, &api.end(cut))).await;
        assert_eq!((answer.text.as_str(), answer.stop), ("half", Some(StopReason::Length)), "{api:?}");
    }
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let answer = call(Api::Anthropic, events(Api::Anthropic, overloaded)).await;
    assert_eq!(answer.error, Some(ModelError::Overloaded { status: 529, retry_after: None }));
    let failed = format!("data: {{\"error\":{{\"type\":\"server_error\",\"message\":\"oops {KEY}\"}}}}\n\n");
    let answer = call(Api::OpenAi, events(Api::OpenAi, &failed)).await;
    assert_eq!(answer.error, Some(ModelError::Failed { status: None, message: "oops ***".into() }));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    for (api, event) in [
        (
            Api::OpenAi,
            "data: {\"choices\":[{\"delta\":{\"content\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}]}\n\n",
        ),
        (
            Api::OpenAi,
            "data: {\"padding\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n\n",
        ),
        (
            Api::Anthropic,
            "event: ping\ndata: {\"type\":\"ping\",\"padding\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n\n",
        ),
    ] {
        let server = Server::start(vec![vec![head(), Step::Endless(event.to_owned())]]).await;
        let mut call = Call::new(&api.model(), "", "hello");
        call.tokens_max = 1;
        call.timeouts.total = Duration::from_secs(60);
        let answer = call.send(&*server.provider(api.name())).await;
        assert!(
            matches!(&answer.error, Some(ModelError::MalformedResponse { message }) if message.contains("bytes")),
            "{api:?} {:?}",
            answer.error
        );
    }
}

/// Neither an endless event nor an endless error body may exhaust memory.
#[tokio::test]
async fn an_endless_event_is_cut_off() {
    let error = Step::Send("HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n".to_owned());
    for api in Api::ALL {
        for (first, is_failure) in [(head(), false), (error.clone(), true)] {
            let steps = vec![first, Step::Send("data: ".to_owned()), Step::Endless(BLOCK.to_owned())];
            let server = Server::start(vec![steps]).await;
            let mut call = Call::new(&api.model(), "", "hello");
            call.timeouts.total = Duration::from_secs(300);
            (call.timeouts.first_token, call.timeouts.idle) = (call.timeouts.total, call.timeouts.total);
            let answer = call.send(&*server.provider(api.name())).await;
            let is_expected = match (&answer.error, api) {
                (Some(ModelError::Failed { status: Some(500), .. }), Api::OpenAi) => is_failure,
                (Some(ModelError::MalformedResponse { message }), Api::OpenAi) => message.contains("bytes"),
                // genai buffers an event and reports nothing, so only reads can be counted.
                (Some(ModelError::MalformedResponse { message }), _) => message.contains("reads"),
                _ => false,
            };
            assert!(is_expected, "{api:?} {:?}", answer.error);
        }
    }
}

/// Compressed data may expand without bound, so no compression is requested or read.
#[tokio::test]
async fn no_compressed_answer_is_requested() {
    for api in Api::ALL {
        let server = Server::start(vec![api.valid("hi")]).await;
        Call::new(&api.model(), "", "hello").send(&*server.provider(api.name())).await;
        assert_eq!(server.requests()[0].headers.get("accept-encoding"), None, "{api:?}");
    }
}

#[tokio::test]
async fn silence_times_out_in_its_phase() {
    for api in Api::ALL {
        let phase = |answer: CollectedAnswer| match answer.error {
            Some(ModelError::TimedOut { phase }) => phase,
            other => panic!("{api:?} {other:?}"),
        };
        assert_eq!(phase(call_with_short_timeouts(api, vec![Step::Silence]).await), CallPhase::FirstToken);
        assert_eq!(phase(call_with_short_timeouts(api, vec![head(), Step::Silence]).await), CallPhase::FirstToken);
        let mut steps = events(api, "");
        steps.push(Step::Silence);
        assert_eq!(phase(call_with_short_timeouts(api, steps).await), CallPhase::Idle);
        let mut steps = vec![head(), Step::Send(api.text(&["a"]))];
        for _ in 0..40 {
            steps.extend([Step::Wait(SHORT / 3), Step::Send(api.text(&["a"]))]);
        }
        assert_eq!(phase(call_with_short_timeouts(api, steps).await), CallPhase::Total);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_sent_nothing() {
    let mut unreachable = Server::start(vec![vec![]]).await;
    // A server without TLS closes during the handshake, before any request.
    let plain = server::closing_server().await;
    for url in ["http://127.0.0.1:1/v1", plain.as_str()] {
        unreachable.url = url.to_owned();
        for api in Api::ALL {
            let answer = Call::new(&api.model(), "", "hello").send(&*unreachable.provider(api.name())).await;
            assert_eq!(answer.error, Some(ModelError::Unreachable), "{api:?} {url}");
        }
    }
    assert!(unreachable.requests().is_empty());
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_has_either_an_end_or_an_error() {
    for api in Api::ALL {
        let answer_text = api.text(&["ha", "lf"]) + &api.end(api.complete_reason());
        let cuts: Vec<usize> =
            (0..answer_text.len()).step_by(17).filter(|at| answer_text.is_char_boundary(*at)).collect();
        let scripts = cuts.iter().map(|at| vec![head(), Step::Send(answer_text[..*at].to_owned())]).collect();
        let server = Server::start(scripts).await;
        let provider = server.provider(api.name());
        for at in cuts {
            let answer = Call::new(&api.model(), "", "hello").send(&*provider).await;
            assert!("half".starts_with(&answer.text), "{api:?} {at} {answer:?}");
            assert!(answer.error.is_some() != answer.stop.is_some(), "{api:?} {at} {answer:?}");
            assert!(
                answer.usage.is_none_or(|usage| usage == Tokens { input: 25, output: 7 }),
                "{api:?} {at} {answer:?}"
            );
        }
    }
}
