//! A planted key is nowhere but in the request to its provider: not in logs, errors, audit, database,
//! reports or anything else that the process leaves behind, whatever the provider says back.

use std::path::Path;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};

const AGENT: &str = "asking_agent";

/// Every file below a folder that holds the key.
fn holding(folder: &Path, key: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            holding(&entry, key, found);
        } else if let Ok(bytes) = std::fs::read(&entry)
            && bytes.windows(key.len()).any(|window| window == key.as_bytes())
        {
            found.push(entry.display().to_string());
        }
    }
}

#[tokio::test]
async fn a_planted_key_is_nowhere_but_in_the_request_to_its_provider() {
    let words = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {MODEL_KEY}\",\"type\":\"told\"}}}}");
    let server = ScriptServer::start(move |asked| match asked.number {
        0 => ServerBehavior::Good,
        1 => ServerBehavior::Body("401 Unauthorized", words.clone()),
        2 => ServerBehavior::Body("400 Bad Request", words.clone()),
        3..=5 => ServerBehavior::Body("500 Internal Server Error", words.clone()),
        _ => ServerBehavior::Events(format!("data: {words}\n\n")),
    });
    let server = server.await.expect("a server");
    let mut stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.terminal.variable("GREENROOM_LOG", "trace");
    stand.asking_agent(AGENT, 60, 200).expect("an agent's file");
    stand.definitions.row_workflow("asking_once", AGENT, 1).expect("a workflow's file");
    for _ in 0..5 {
        let words = ["run", "workflow", "asking_once", "--input", "text=hello"];
        let said = stand.terminal.run(&words).await.expect("an end");
        said.json().expect("a reply");
        assert!(said.err.contains("TRACE"), "everything that can be logged is: {}", said.err.len());
    }
    for words in [["config", "check"], ["audit", "list"], ["runs", "list"], ["db", "check"]] {
        stand.terminal.run(&words).await.expect("an end");
    }
    assert!(server.count() >= 7, "every answer was played: {}", server.count());
    let sent = format!("Bearer {MODEL_KEY}");
    let is_sent = |asked: &greenroom_integration_tests::script_server::RecordedRequest| {
        asked.headers.get("authorization") == Some(&sent)
    };
    assert!(server.asked().iter().all(is_sent), "the provider is asked with the key");
    let mut found = Vec::new();
    holding(stand.terminal.folder(), MODEL_KEY, &mut found);
    assert!(found.is_empty(), "the key lies in {found:?}");
}
