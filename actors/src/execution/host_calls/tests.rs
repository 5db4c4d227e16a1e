//! Host calls over a pipeline that records requests: what each call becomes, and its bounds.

use greenroom_protocol::Status;
use serde_json::json;

use super::*;
use crate::agent::ExecutionFailure;
use crate::execution::invocation::{Invocation, UsageMeter};
use crate::execution::log_lines::LogLines;
use crate::test_env::{TestEnv, TestEnvOptions, agent};

fn reply(outputs: Json) -> Reply {
    let outputs = serde_json::from_value(outputs).unwrap();
    let cause = Cause::new(ErrorCode::Internal, "replaced");
    let failed = ExecutionFailure::from(cause).into_reply("r".into());
    Reply { status: Status::Success, outputs, error: None, ..failed }
}

fn test_env(replies: Vec<Reply>) -> TestEnv {
    TestEnv::new(TestEnvOptions { agents: vec![agent("writer", json!({}))], replies, ..TestEnvOptions::default() })
}

/// Makes the calls of one attempt, numbered from 1.
async fn call_all(test_env: &TestEnv, invocation: &Invocation, calls: Vec<HostCall>) -> Vec<Result<Json, Cause>> {
    let env = &test_env.env;
    let files = env.files.for_agent(&invocation.grant.principal().id.tenant, &invocation.agent, None);
    let budget = env.budgets.for_grant(&invocation.grant, &invocation.key());
    let (meter, log_lines) = (UsageMeter::default(), LogLines::default());
    let ends_at = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let ctx = ExecutionContext {
        env,
        invocation,
        files: &files,
        meter: &meter,
        budget: &budget,
        log_lines: &log_lines,
        ends_at,
    };
    let mut results = Vec::new();
    for (number, call) in (1..).zip(calls) {
        results.push(ctx.host_call(call, number).await.map(|reply| match reply {
            HostReply::Json(value) => value,
            HostReply::File(file) => json!({ "name": file.name, "bytes": file.bytes.len() }),
        }));
    }
    results
}

fn parse(call: Json) -> HostCall {
    serde_json::from_value(call).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_called_by_a_nested_request_with_a_key_of_its_own() {
    let test_env = test_env(vec![reply(json!({ "summary": "short" }))]);
    let invocation = test_env.invocation("writer", "x").await;
    let call = || parse(json!({ "function": "call_agent", "agent": "helper", "inputs": { "document": "inner" } }));
    let results = call_all(&test_env, &invocation, vec![call(), call()]).await;
    assert_eq!(results[0], Ok(json!({ "summary": "short" })));
    assert_eq!(results[1].as_ref().unwrap_err().code, ErrorCode::PolicyDenied, "the cause of the guard arrives");
    let requests = test_env.pipeline.requests.lock().unwrap();
    for (number, (caller, request)) in (1..).zip(requests.iter()) {
        let Request::Invoke(invoke) = request else { panic!("{request:?}") };
        assert_eq!((caller.as_str(), invoke.agent.as_str()), ("agent:writer", "helper"));
        assert_eq!(invoke.key.as_ref().unwrap(), &invocation.key().child(&format!("call[{number}]")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_context_of_a_call_without_a_team_is_read_and_never_written() {
    let test_env = test_env(Vec::new());
    let mut invocation = test_env.invocation("writer", "x").await;
    invocation.invoke.context.insert("quarter".into(), json!("Q4"));
    let calls = vec![
        parse(json!({ "function": "read_context" })),
        parse(json!({ "function": "read_context", "key": "quarter" })),
        parse(json!({ "function": "read_context", "key": "absent" })),
        parse(json!({ "function": "write_context", "key": "quarter", "value": 1 })),
        parse(json!({ "function": "read_context", "key": "no key" })),
    ];
    let results = call_all(&test_env, &invocation, calls).await;
    assert_eq!(results[0], Ok(json!({ "quarter": "Q4" })));
    assert_eq!(results[1], Ok(json!("Q4")));
    assert_eq!(results[2], Ok(Json::Null));
    assert_eq!(results[3].as_ref().unwrap_err().code, ErrorCode::UnknownRun);
    assert_eq!(results[4].as_ref().unwrap_err().code, ErrorCode::InvalidRequest);
    assert!(test_env.pipeline.requests.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_artifact_is_stored_and_opened_and_a_path_must_be_an_input() {
    let test_env = test_env(Vec::new());
    let invocation = test_env.invocation("writer", "report.txt").await;
    let store = json!({ "function": "store_artifact", "name": "a.csv", "media_type": "text/csv", "bytes": "YSxi" });
    let stored = call_all(&test_env, &invocation, vec![parse(store)]).await.remove(0).unwrap();
    let calls = vec![
        parse(json!({ "function": "open_artifact", "artifact": stored })),
        parse(json!({ "function": "open_artifact", "artifact": "/etc/passwd" })),
        parse(json!({ "function": "open_artifact", "artifact": "report.txt" })),
        parse(json!({ "function": "open_artifact", "artifact": 7 })),
    ];
    let results = call_all(&test_env, &invocation, calls).await;
    assert_eq!(results[0], Ok(json!({ "name": "a.csv", "bytes": 3 })));
    let messages: Vec<String> = results[1..].iter().map(|result| result.as_ref().unwrap_err().to_string()).collect();
    assert!(messages[0].contains("among its inputs"), "{messages:?}");
    assert!(messages[1].contains("no files here"), "the reader of files decides on a path of an input: {messages:?}");
    assert!(messages[2].starts_with("invalid_input"), "{messages:?}");
}

#[test]
fn a_call_that_is_unknown_or_has_a_wrong_member_is_not_read() {
    for call in [
        json!({ "function": "run_shell" }),
        json!({ "function": "read_context", "keys": ["a"] }),
        json!({ "function": "store_artifact", "name": "a", "media_type": "b", "bytes": "not Base64!" }),
        json!({ "function": "log", "level": "fatal", "message": "x" }),
        json!({ "agent": "writer" }),
    ] {
        assert!(serde_json::from_value::<HostCall>(call.clone()).is_err(), "{call}");
    }
}

#[test]
fn a_line_of_the_log_is_cut_and_has_no_control_characters() {
    assert_eq!(log_line("one\ntwo\u{1b}[31m"), "one two [31m");
    let long = log_line(&"ä".repeat(LOG_LINE_BYTES_MAX));
    assert!(long.len() <= LOG_LINE_BYTES_MAX + 12 && long.ends_with("(cut)"), "{}", long.len());
}

#[tokio::test(start_paused = true)]
async fn lines_beyond_the_bound_are_dropped_and_the_calls_succeed() {
    let test_env = test_env(Vec::new());
    let invocation = test_env.invocation("writer", "x").await;
    let line = || HostCall::Log { level: LogLevel::Info, message: "working".into() };
    let count = LOG_LINES_MAX as usize + 5;
    let results = call_all(&test_env, &invocation, std::iter::repeat_with(line).take(count).collect()).await;
    assert!(results.iter().all(|result| *result == Ok(Json::Null)));
}
