//! What comes of a server that is slow, full, broken, wrong, silent or without end.

use std::time::Duration;

use greenroom_actors::model::{CallPhase, ModelError, StopReason};
use greenroom_protocol::Tokens;

use super::Wire;
use super::server::{self, KEY, Server, Step, head, status};
use crate::models::test_calls::{Call, CollectedAnswer};

/// What an endless event is made of.
const BLOCK: &str =
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const SHORT: Duration = Duration::from_millis(150);

async fn ask(wire: Wire, steps: Vec<Step>) -> CollectedAnswer {
    let server = Server::start(vec![steps]).await;
    Call::of(&wire.model(), "", "hello").make(&*server.provider(wire.name())).await
}

/// With waits so short that a test ends soon.
async fn ask_impatiently(wire: Wire, steps: Vec<Step>) -> CollectedAnswer {
    let server = Server::start(vec![steps]).await;
    let mut call = Call::of(&wire.model(), "", "hello");
    (call.timeouts.first_token, call.timeouts.idle) = (SHORT * 2, SHORT);
    call.timeouts.total = SHORT * 8;
    call.make(&*server.provider(wire.name())).await
}

fn events(wire: Wire, more: &str) -> Vec<Step> {
    vec![head(), Step::Send(wire.text(&["half"])), Step::Send(more.to_owned())]
}

#[tokio::test]
async fn a_slow_answer_arrives() {
    for wire in Wire::ALL {
        let steps = vec![
            head(),
            Step::Wait(SHORT),
            Step::Send(wire.text(&["a"])),
            Step::Wait(SHORT),
            Step::Send(wire.end(wire.done())),
        ];
        let answer = ask(wire, steps).await;
        assert_eq!((answer.text.as_str(), answer.error), ("a", None), "{wire:?}");
    }
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for wire in Wire::ALL {
        for (line, headers, wanted, after) in [
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
                ask(wire, status(line, headers, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}"))
                    .await;
            assert_eq!(
                answer.error,
                Some(ModelError::Overloaded { status: wanted, retry_after: after }),
                "{wire:?} {line} {headers}"
            );
        }
    }
}

#[tokio::test]
async fn each_refusal_of_a_request_has_its_class() {
    let leak = format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}");
    for wire in Wire::ALL {
        let answer = ask(wire, status("500 Internal Server Error", "", &leak)).await;
        assert_eq!(
            answer.error,
            Some(ModelError::Failed { status: Some(500), message: "bad key ***".into() }),
            "{wire:?}"
        );
        let answer = ask(wire, status("401 Unauthorized", "", &leak)).await;
        assert_eq!(answer.error, Some(ModelError::Unauthorized { status: 401 }));
        let answer = ask(wire, status("400 Bad Request", "", "<html>")).await;
        assert_eq!(answer.error, Some(ModelError::Rejected { status: 400, message: String::new() }));
        let long = "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210,000 tokens > 200000 maximum\"}}";
        let answer = ask(wire, status("400 Bad Request", "", long)).await;
        assert_eq!(answer.error, Some(ModelError::ContextOverflow { asked: Some(210_000), limit: Some(200_000) }));
        let answer = ask(wire, status("302 Found", "location: http://127.0.0.1:1/\r\n", "")).await;
        assert!(matches!(answer.error, Some(ModelError::Failed { status: Some(302), .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_keeps_its_text() {
    for wire in Wire::ALL {
        let mut steps = events(wire, "");
        steps.extend([Step::Wait(SHORT), Step::Reset]);
        let answer = ask(wire, steps).await;
        assert_eq!(answer.text, "half");
        assert!(matches!(answer.error, Some(ModelError::Failed { status: None, .. })), "{wire:?} {answer:?}");
        assert_eq!(answer.usage, None, "half a count is none");

        let answer = ask(wire, events(wire, "")).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{wire:?} {answer:?}");
        let answer = ask(wire, events(wire, "event: content_block_delta\ndata: {\"type\":\"content_bl")).await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{wire:?} {answer:?}");
    }
}

#[tokio::test]
async fn an_end_without_its_last_mark_is_an_end() {
    let all = Wire::OpenAi.end("stop");
    let answer = ask(Wire::OpenAi, events(Wire::OpenAi, all.trim_end_matches("data: [DONE]\n\n"))).await;
    assert_eq!(
        (answer.stop, answer.usage, answer.error),
        (Some(StopReason::Complete), Some(Tokens { input: 25, output: 7 }), None)
    );
}

#[tokio::test]
async fn garbage_and_wrong_types_are_told_from_an_answer() {
    for wire in Wire::ALL {
        for garbage in ["<html>proxy</html>\n\n", "event: content_block_delta\ndata: not json\n\n", "\u{0}\u{1}\n\n"] {
            let answer = ask(wire, vec![head(), Step::Send(garbage.to_owned())]).await;
            assert!(
                matches!(answer.error, Some(ModelError::MalformedResponse { .. })),
                "{wire:?} {garbage:?} {answer:?}"
            );
        }
    }
    for wrong in [
        "{\"choices\":\"x\"}",
        "{\"choices\":[{\"delta\":{\"content\":5}}]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":7}]}",
    ] {
        let answer = ask(
            Wire::OpenAi,
            vec![head(), Step::Send(format!("data: {wrong}\n\n")), Step::Send(Wire::OpenAi.end("stop"))],
        )
        .await;
        assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{wrong} {answer:?}");
    }
    let wrong = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":5}}\n\n";
    let answer = ask(Wire::Anthropic, events(Wire::Anthropic, wrong)).await;
    assert!(matches!(answer.error, Some(ModelError::MalformedResponse { .. })), "{answer:?}");
    let uncounted = Wire::OpenAi.end("stop").replace("25", "\"many\"");
    let answer = ask(Wire::OpenAi, events(Wire::OpenAi, &uncounted)).await;
    assert_eq!((answer.usage, answer.stop), (None, Some(StopReason::Complete)), "a count of a wrong type is none");
}

#[tokio::test]
async fn refusals_cuts_and_errors_in_the_stream_are_seen() {
    let refusal =
        "data: {\"choices\":[{\"delta\":{\"refusal\":\"I cannot.\"}}]}\n\n".to_owned() + &Wire::OpenAi.end("stop");
    let answer = ask(Wire::OpenAi, vec![head(), Step::Send(refusal)]).await;
    assert_eq!((answer.stop, answer.usage), (Some(StopReason::Refusal), Some(Tokens { input: 25, output: 7 })));
    assert_eq!(
        ask(Wire::OpenAi, events(Wire::OpenAi, &Wire::OpenAi.end("content_filter"))).await.stop,
        Some(StopReason::Refusal)
    );
    assert_eq!(
        ask(Wire::Anthropic, events(Wire::Anthropic, &Wire::Anthropic.end("refusal"))).await.stop,
        Some(StopReason::Refusal)
    );
    let answer = ask(Wire::Gemini, events(Wire::Gemini, &Wire::Gemini.end("SAFETY"))).await;
    assert_eq!((answer.stop, answer.usage), (Some(StopReason::Refusal), Some(Tokens { input: 25, output: 7 })));
    for (wire, cut) in [
        (Wire::OpenAi, "length"),
        (Wire::Anthropic, "max_tokens"),
        (Wire::Gemini, "MAX_TOKENS"),
        (Wire::Ollama, "length"),
    ] {
        let answer = ask(wire, events(wire, &wire.end(cut))).await;
        assert_eq!((answer.text.as_str(), answer.stop), ("half", Some(StopReason::Length)), "{wire:?}");
    }
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let answer = ask(Wire::Anthropic, events(Wire::Anthropic, overloaded)).await;
    assert_eq!(answer.error, Some(ModelError::Overloaded { status: 529, retry_after: None }));
    let failed = format!("data: {{\"error\":{{\"type\":\"server_error\",\"message\":\"oops {KEY}\"}}}}\n\n");
    let answer = ask(Wire::OpenAi, events(Wire::OpenAi, &failed)).await;
    assert_eq!(answer.error, Some(ModelError::Failed { status: None, message: "oops ***".into() }));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    for (wire, event) in [
        (
            Wire::OpenAi,
            "data: {\"choices\":[{\"delta\":{\"content\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}]}\n\n",
        ),
        (
            Wire::OpenAi,
            "data: {\"padding\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n\n",
        ),
        (
            Wire::Anthropic,
            "event: ping\ndata: {\"type\":\"ping\",\"padding\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n\n",
        ),
    ] {
        let server = Server::start(vec![vec![head(), Step::Endless(event)]]).await;
        let mut call = Call::of(&wire.model(), "", "hello");
        call.tokens_max = 1;
        call.timeouts.total = Duration::from_secs(60);
        let answer = call.make(&*server.provider(wire.name())).await;
        assert!(
            matches!(&answer.error, Some(ModelError::MalformedResponse { message }) if message.contains("bytes")),
            "{wire:?} {:?}",
            answer.error
        );
    }
}

/// Neither an event without an end nor an error without one may fill the memory: genai keeps what it has
/// read of them, and shows nothing.
#[tokio::test]
async fn an_endless_event_is_cut_off() {
    let error = Step::Send("HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n".to_owned());
    for wire in Wire::ALL {
        for first in [head(), error.clone()] {
            let steps = vec![first, Step::Send("data: ".to_owned()), Step::Endless(BLOCK)];
            let server = Server::start(vec![steps]).await;
            let mut call = Call::of(&wire.model(), "", "hello");
            call.timeouts.total = Duration::from_secs(300);
            (call.timeouts.first_token, call.timeouts.idle) = (call.timeouts.total, call.timeouts.total);
            let answer = call.make(&*server.provider(wire.name())).await;
            assert!(
                matches!(&answer.error, Some(ModelError::MalformedResponse { message }) if message.contains("reads")),
                "{wire:?} {:?}",
                answer.error
            );
        }
    }
}

/// What is packed may unpack to anything, so nothing packed is asked for, and none is read.
#[tokio::test]
async fn a_packed_answer_is_not_asked_for() {
    for wire in Wire::ALL {
        let server = Server::start(vec![wire.good("hi")]).await;
        Call::of(&wire.model(), "", "hello").make(&*server.provider(wire.name())).await;
        assert_eq!(server.requests()[0].headers.get("accept-encoding"), None, "{wire:?}");
    }
}

#[tokio::test]
async fn silence_ends_with_the_phase_that_was_waited_for() {
    for wire in Wire::ALL {
        let phase = |answer: CollectedAnswer| match answer.error {
            Some(ModelError::TimedOut { phase }) => phase,
            other => panic!("{wire:?} {other:?}"),
        };
        assert_eq!(phase(ask_impatiently(wire, vec![Step::Silence]).await), CallPhase::FirstToken);
        assert_eq!(phase(ask_impatiently(wire, vec![head(), Step::Silence]).await), CallPhase::FirstToken);
        let mut steps = events(wire, "");
        steps.push(Step::Silence);
        assert_eq!(phase(ask_impatiently(wire, steps).await), CallPhase::Idle);
        let mut steps = vec![head(), Step::Send(wire.text(&["a"]))];
        for _ in 0..40 {
            steps.extend([Step::Wait(SHORT / 3), Step::Send(wire.text(&["a"]))]);
        }
        assert_eq!(phase(ask_impatiently(wire, steps).await), CallPhase::Total);
    }
}

#[tokio::test]
async fn who_cannot_be_reached_was_sent_nothing() {
    let mut nobody = Server::start(vec![vec![]]).await;
    // A server that speaks no TLS ends the handshake, before any request.
    let plain = server::hangs_up().await;
    for url in ["http://127.0.0.1:1/v1", plain.as_str()] {
        nobody.url = url.to_owned();
        for wire in Wire::ALL {
            let answer = Call::of(&wire.model(), "", "hello").make(&*nobody.provider(wire.name())).await;
            assert_eq!(answer.error, Some(ModelError::Unreachable), "{wire:?} {url}");
        }
    }
    assert!(nobody.requests().is_empty());
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_ends_once_and_never_twice() {
    for wire in Wire::ALL {
        let whole = wire.text(&["ha", "lf"]) + &wire.end(wire.done());
        let cuts: Vec<usize> = (0..whole.len()).step_by(17).filter(|at| whole.is_char_boundary(*at)).collect();
        let scripts = cuts.iter().map(|at| vec![head(), Step::Send(whole[..*at].to_owned())]).collect();
        let server = Server::start(scripts).await;
        let provider = server.provider(wire.name());
        for at in cuts {
            let answer = Call::of(&wire.model(), "", "hello").make(&*provider).await;
            assert!("half".starts_with(&answer.text), "{wire:?} {at} {answer:?}");
            assert!(answer.error.is_some() != answer.stop.is_some(), "{wire:?} {at} {answer:?}");
            assert!(
                answer.usage.is_none_or(|usage| usage == Tokens { input: 25, output: 7 }),
                "{wire:?} {at} {answer:?}"
            );
        }
    }
}
