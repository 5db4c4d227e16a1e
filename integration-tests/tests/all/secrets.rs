//! A planted API key appears only in requests to its provider: not in logs, errors, audit, database, reports or
//! any other file that the process writes, even if the provider returns the key.

use std::path::Path;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};

const AGENT: &str = "llm_agent";

/// Appends every file below a folder that contains the key.
pub(crate) fn files_with_key(folder: &Path, key: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files_with_key(&entry, key, files);
        } else if let Ok(bytes) = std::fs::read(&entry)
            && bytes.windows(key.len()).any(|window| window == key.as_bytes())
        {
            files.push(entry.display().to_string());
        }
    }
}

#[tokio::test]
async fn a_planted_key_appears_only_in_requests_to_its_provider() {
    let body = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {MODEL_KEY}\",\"type\":\"auth\"}}}}");
    let server = ScriptServer::start(move |request| match request.number {
        0 => ServerBehavior::Good,
        1 => ServerBehavior::Body("401 Unauthorized", body.clone()),
        2 => ServerBehavior::Body("400 Bad Request", body.clone()),
        3..=5 => ServerBehavior::Body("500 Internal Server Error", body.clone()),
        _ => ServerBehavior::Events(format!("data: {body}\n\n")),
    });
    let server = server.await.expect("a server");
    let mut fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.terminal.set_variable("GREENROOM_LOG", "trace");
    fixture.write_llm_agent(AGENT, 60, 200).expect("an agent's file");
    fixture.definitions.write_row_workflow("one_call", AGENT, 1).expect("a workflow's file");
    for _ in 0..5 {
        let arguments = ["run", "workflow", "one_call", "--input", "text=hello"];
        let output = fixture.terminal.run(&arguments).await.expect("an end");
        output.json().expect("a reply");
        assert!(output.err.contains("TRACE"), "every log line is written: {}", output.err.len());
    }
    for arguments in [["config", "check"], ["audit", "list"], ["runs", "list"], ["db", "check"]] {
        fixture.terminal.run(&arguments).await.expect("an end");
    }
    assert!(server.count() >= 7, "every scripted response was sent: {}", server.count());
    let sent = format!("Bearer {MODEL_KEY}");
    let is_sent = |request: &greenroom_integration_tests::script_server::RecordedRequest| {
        request.headers.get("authorization") == Some(&sent)
    };
    assert!(server.requests().iter().all(is_sent), "the provider receives the key");
    let mut files = Vec::new();
    files_with_key(fixture.terminal.folder(), MODEL_KEY, &mut files);
    assert!(files.is_empty(), "the key is in {files:?}");
}
