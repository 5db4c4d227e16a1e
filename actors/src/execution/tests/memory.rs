//! An agent with a memory looks before it asks and remembers after it has answered, at the door, as
//! itself; and it goes on without where that is refused.

use std::sync::Arc;

use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{Metadata, Reply, Request, Status, Values};
use serde_json::{Value, json};

use super::{perform, text};
use crate::execution::invocation::Tab;
use crate::test_env::{Player, Rig, Wanted, agent, says};

const GOOD: &str = r#"{"summary": "leek goes well with potatoes"}"#;

fn reply(outputs: Value) -> Reply {
    let outputs: Values = serde_json::from_value(outputs).unwrap();
    let metadata = Metadata { policy_decisions: 1, ..Metadata::default() };
    Reply { id: "r".into(), status: Status::Success, outputs, error: None, metadata }
}

fn rig(player: &Arc<Player>, replies: Vec<Reply>) -> Rig {
    let remembers = json!({ "memory_recall": { "query": "document", "limit": 3 } });
    Rig::new(Wanted {
        agents: vec![agent("writer", remembers), agent("forgetful", json!({}))],
        providers: vec![player.clone()],
        replies,
        ..Wanted::default()
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_reaches_the_users_part_only_and_the_answer_is_remembered() {
    let player = Player::new("play", true, vec![says(GOOD, 10, 1)]);
    let found = reply(json!({ "memories": [{ "text": "onions make one cry" }] }));
    let rig = rig(&player, vec![found, reply(json!({ "memory_id": "x" }))]);
    let tab = Tab::default();
    let job = rig.assignment("writer", "what goes into the soup?").await;
    let key = job.key();
    perform(rig.backstage.clone(), job, tab.clone()).await.unwrap();
    let heard = &player.heard()[0];
    assert!(text(&heard.messages[0]).contains("what goes into the soup?"));
    assert!(text(&heard.messages[0]).contains("onions make one cry"));
    assert!(!heard.system.contains("onions"), "what was said before never reaches the system part");
    let asked = rig.porter.asked.lock().unwrap();
    let [(first, Request::MemoryRead(read)), (second, Request::MemoryWrite(write))] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("agent:writer", "agent:writer"));
    let query = Some("what goes into the soup?".to_owned());
    assert_eq!(*read, MemoryRead { agent: read.agent.clone(), query: query.clone(), limit: 3 });
    let MemoryWrite { agent, change: MemoryChange::Remember { text, about }, key: kept } = write else {
        panic!("{write:?}")
    };
    assert_eq!((agent.as_str(), about, kept), ("writer", &query, &Some(key)), "once for each effect");
    assert!(text.contains("what goes into the soup?") && text.contains("leek goes well with potatoes"), "{text}");
    assert_eq!(tab.total().decisions, 2);
}

#[tokio::test(start_paused = true)]
async fn an_execution_goes_on_without_a_memory_that_it_may_not_use() {
    let player = Player::new("play", true, vec![says(GOOD, 10, 1)]);
    let rig = rig(&player, vec![]);
    let outputs = perform(rig.backstage.clone(), rig.assignment("writer", "soup?").await, Tab::default()).await;
    assert_eq!(outputs.unwrap()["summary"], "leek goes well with potatoes");
    assert!(!text(&player.heard()[0].messages[0]).contains("Remembered"));
    assert_eq!(rig.porter.asked.lock().unwrap().len(), 2, "both were refused");
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_not_remembered_and_an_agent_without_memory_asks_nobody() {
    let wrong = || says("no JSON", 1, 1);
    let player = Player::new("play", true, vec![wrong(), wrong(), wrong()]);
    let rig = rig(&player, vec![reply(json!({ "memories": [] }))]);
    perform(rig.backstage.clone(), rig.assignment("writer", "soup?").await, Tab::default()).await.unwrap_err();
    let verbs =
        |rig: &Rig| -> Vec<_> { rig.porter.asked.lock().unwrap().iter().map(|(_, asked)| asked.verb()).collect() };
    assert_eq!(verbs(&rig), ["memory_read"]);

    let player = Player::new("play", true, vec![says(GOOD, 10, 1)]);
    let rig = self::rig(&player, vec![]);
    perform(rig.backstage.clone(), rig.assignment("forgetful", "soup?").await, Tab::default()).await.unwrap();
    assert_eq!(verbs(&rig), Vec::<&str>::new());
}
