//! An agent with memory recalls before its model request and remembers after its answer, by nested requests;
//! it continues without memory if they are denied.

use std::sync::Arc;

use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{Metadata, Reply, Request, Status, Values, WrittenVersion};
use serde_json::{Value, json};

use super::{execute, text};
use crate::execution::invocation::UsageMeter;
use crate::test_env::{ScriptedModel, TestEnv, TestEnvOptions, agent, text_answer};

const GOOD: &str = r#"{"summary": "leek goes well with potatoes"}"#;

fn reply(outputs: Value) -> Reply {
    let outputs: Values = serde_json::from_value(outputs).unwrap();
    let metadata = Metadata { policy_decisions: 1, ..Metadata::default() };
    Reply {
        id: "r".into(),
        status: Status::Success,
        outputs,
        error: None,
        metadata,
        protocol_version: WrittenVersion::OWN,
    }
}

fn test_env(model: &Arc<ScriptedModel>, replies: Vec<Reply>) -> TestEnv {
    let remembers = json!({ "memory_recall": { "query": "document", "limit": 3 } });
    TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", remembers), agent("forgetful", json!({}))],
        providers: vec![model.clone()],
        replies,
        ..TestEnvOptions::default()
    })
}

#[tokio::test(start_paused = true)]
async fn recalled_texts_are_only_in_the_user_part_and_the_answer_is_remembered() {
    let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
    let recalled = reply(json!({ "memories": [{ "text": "onions make one cry" }] }));
    let test_env = test_env(&model, vec![recalled, reply(json!({ "memory_id": "x" }))]);
    let meter = UsageMeter::default();
    let job = test_env.invocation("writer", "what goes into the soup?").await;
    let key = job.key();
    execute(test_env.env.clone(), job, meter.clone()).await.unwrap();
    let model_request = &model.calls()[0];
    assert!(text(&model_request.messages[0]).contains("what goes into the soup?"));
    assert!(text(&model_request.messages[0]).contains("onions make one cry"));
    assert!(!model_request.system.contains("onions"), "no recalled text is in the system part");
    let requests = test_env.pipeline.requests.lock().unwrap();
    let [(first, Request::MemoryRead(read)), (second, Request::MemoryWrite(write))] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("agent:writer", "agent:writer"));
    let query = Some("what goes into the soup?".to_owned());
    assert_eq!(*read, MemoryRead { agent: read.agent.clone(), query: query.clone(), limit: 3, count: false });
    let MemoryWrite { agent, change: MemoryChange::Remember { text, index_text, source: None }, key: stored_key } =
        write
    else {
        panic!("{write:?}")
    };
    assert_eq!((agent.as_str(), index_text, stored_key), ("writer", &query, &Some(key)), "once per call key");
    assert!(text.contains("what goes into the soup?") && text.contains("leek goes well with potatoes"), "{text}");
    assert_eq!(meter.total().decisions, 2);
}

#[tokio::test(start_paused = true)]
async fn an_execution_continues_without_a_memory_that_it_may_not_use() {
    let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model, vec![]);
    let outputs =
        execute(test_env.env.clone(), test_env.invocation("writer", "soup?").await, UsageMeter::default()).await;
    assert_eq!(outputs.unwrap()["summary"], "leek goes well with potatoes");
    assert!(!text(&model.calls()[0].messages[0]).contains("Remembered"));
    assert_eq!(test_env.pipeline.requests.lock().unwrap().len(), 2, "both were denied");
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_not_remembered_and_no_memory_means_no_requests() {
    let wrong = || text_answer("no JSON", 1, 1);
    let model = ScriptedModel::new("play", true, vec![wrong(), wrong(), wrong()]);
    let test_env = test_env(&model, vec![reply(json!({ "memories": [] }))]);
    execute(test_env.env.clone(), test_env.invocation("writer", "soup?").await, UsageMeter::default())
        .await
        .unwrap_err();
    let verbs = |test_env: &TestEnv| -> Vec<_> {
        test_env.pipeline.requests.lock().unwrap().iter().map(|(_, request)| request.verb()).collect()
    };
    assert_eq!(verbs(&test_env), ["memory_read"]);

    let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = self::test_env(&model, vec![]);
    execute(test_env.env.clone(), test_env.invocation("forgetful", "soup?").await, UsageMeter::default())
        .await
        .unwrap();
    assert_eq!(verbs(&test_env), Vec::<&str>::new());
}
