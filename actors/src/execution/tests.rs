//! Executions without actors: a model that plays, a ledger in memory, a door that records.

mod failures;
mod memory;
mod money;
mod tools;

use std::sync::Arc;

use greenroom_protocol::{Code, Tokens};
use serde_json::json;
use tokio::sync::mpsc;

use super::invocation::Tab;
use super::stream::Streamed;
use super::{Cause, Values, perform};
use crate::handler::{Manner, Work};
use crate::model::{Part, Role};
use crate::test_env::{Does, Player, Rig, Wanted, agent, invoke, native, says};

/// The text of a message's first part.
fn text(message: &crate::model::Message) -> &str {
    match message.parts.first() {
        Some(Part::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn rig(player: &Arc<Player>) -> Rig {
    Rig::new(Wanted { agents: vec![agent("writer", json!({}))], providers: vec![player.clone()], ..Wanted::default() })
}

#[tokio::test(start_paused = true)]
async fn an_answer_becomes_outputs_and_its_count_becomes_money() {
    let player = Player::new("play", true, vec![says(r#"{"summary": "short", "extra": 1}"#, 100, 10)]);
    let rig = rig(&player);
    let tab = Tab::default();
    let job = rig.assignment("writer", "a long text").await;
    let outputs = perform(rig.backstage.clone(), job, tab.clone()).await.unwrap();
    assert_eq!(outputs, Values::from([("summary".to_owned(), json!("short"))]));
    let usage = tab.total();
    assert_eq!(usage.tokens, Tokens { input: 100, output: 10 });
    assert_eq!(usage.cost.0, 120, "one and two millionths a token");
    assert_eq!((usage.model.as_deref(), usage.estimated), (Some("play.one"), false));
    assert_eq!(usage.agents.len(), 1);
    let heard = &player.heard()[0];
    assert_eq!(heard.model, "play.one");
    assert!(heard.system.contains("writer"));
    assert!(text(&heard.messages[0]).contains("a long text"));
    assert!(!heard.system.contains("a long text"), "what a caller gives never reaches the system part");
    assert_eq!(heard.worst.output, u64::from(heard.tokens_max));
    assert!(heard.worst.input >= heard.system.len() as u64 + 11);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_repaired_at_most_twice() {
    let wrong = || says("this is no JSON", 10, 1);
    let player = Player::new("play", true, vec![wrong(), wrong(), says(r#"{"summary": "ok"}"#, 10, 1)]);
    let rig = rig(&player);
    let tab = Tab::default();
    let job = rig.assignment("writer", "x").await;
    let outputs = perform(rig.backstage.clone(), job, tab.clone()).await.unwrap();
    assert_eq!(outputs["summary"], "ok");
    assert_eq!(tab.total().tokens, Tokens { input: 30, output: 3 }, "every attempt counts");
    let heard = player.heard();
    let last = heard.last().unwrap();
    assert_eq!(last.messages.len(), 5);
    assert_eq!(last.messages[1].role, Role::Assistant);
    assert!(text(&last.messages[2]).contains("Answer again"));
    assert_eq!(heard.iter().map(|heard| heard.key.clone()).collect::<std::collections::BTreeSet<_>>().len(), 3);

    let player = Player::new("play", true, vec![wrong(), wrong(), wrong(), says(r#"{"summary": "ok"}"#, 1, 1)]);
    let rig = self::rig(&player);
    let job = rig.assignment("writer", "x").await;
    let refused = perform(rig.backstage.clone(), job, Tab::default()).await.unwrap_err();
    assert_eq!((refused.code, player.heard().len()), (Code::InvalidOutput, 3));
}

#[tokio::test(start_paused = true)]
async fn wrong_types_are_no_outputs() {
    let wrong = || says(r#"{"summary": ["a", 1]}"#, 1, 1);
    let player = Player::new("play", true, vec![wrong(), wrong(), wrong()]);
    let rig = rig(&player);
    let job = rig.assignment("writer", "x").await;
    let refused = perform(rig.backstage.clone(), job, Tab::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidOutput);
    assert!(text(&player.heard()[1].messages[2]).contains("summary"), "the model is told what is wrong");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_shown_as_they_come() {
    let player = Player::new("play", true, vec![says("no", 1, 1), says(r#"{"summary": "ok"}"#, 1, 1)]);
    let rig = rig(&player);
    let (sink, mut shown) = mpsc::channel(8);
    let job = rig.assignment_of(greenroom_rego::testing::admin(), invoke("writer", "x"), Some(sink)).await;
    perform(rig.backstage.clone(), job, Tab::default()).await.unwrap();
    assert_eq!(shown.recv().await, Some(Streamed::Text("no".into())));
    assert_eq!(shown.recv().await, Some(Streamed::Restarted));
    assert_eq!(shown.recv().await, Some(Streamed::Text(r#"{"summary": "ok"}"#.into())));
    assert_eq!(shown.recv().await, None);
}

#[tokio::test]
async fn handlers_run_in_their_manner_and_their_outputs_are_checked() {
    let says = |work: Work| async move { Ok(Values::from([("summary".to_owned(), work.inputs["document"].clone())])) };
    let lies = |_: Work| async { Ok(Values::new()) };
    let bursts = |work: Work| async move { if work.inputs.is_empty() { Ok(Values::new()) } else { panic!("burst") } };
    let rig = Rig::new(Wanted {
        agents: vec![
            native("yielder", "native.says"),
            native("blocker", "native.blocks"),
            native("liar", "native.lies"),
            native("burster", "native.bursts"),
            native("nobody", "native.nothing"),
            agent("python", json!({"implementation": {"runtime": "python", "handler": "a.b"}})),
        ],
        handlers: vec![
            Arc::new(Does("native.says", Manner::Yields, says)),
            Arc::new(Does("native.blocks", Manner::Blocks, says)),
            Arc::new(Does("native.lies", Manner::Yields, lies)),
            Arc::new(Does("native.bursts", Manner::Blocks, bursts)),
        ],
        ..Wanted::default()
    });
    let run = async |id: &str| {
        let tab = Tab::default();
        let done = perform(rig.backstage.clone(), rig.assignment(id, "text").await, tab.clone()).await;
        (done.map_err(|cause| cause.code), tab.total().model)
    };
    for id in ["yielder", "blocker"] {
        let (done, model) = run(id).await;
        assert_eq!(done, Ok(Values::from([("summary".to_owned(), json!("text"))])));
        assert_eq!(model.as_deref(), Some("native"));
    }
    assert_eq!(run("liar").await.0, Err(Code::InvalidOutput));
    assert_eq!(run("burster").await.0, Err(Code::AgentCrashed));
    assert_eq!(run("nobody").await.0, Err(Code::RuntimeUnavailable));
    assert_eq!(run("python").await.0, Err(Code::RuntimeUnavailable));
}

#[tokio::test]
async fn inputs_are_checked_before_anything_runs() {
    let player = Player::new("play", true, vec![]);
    let rig = rig(&player);
    let mut wrong = invoke("writer", "x");
    wrong.inputs.insert("document".into(), json!(7));
    let job = rig.assignment_of(greenroom_rego::testing::admin(), wrong, None).await;
    let refused = perform(rig.backstage.clone(), job, Tab::default()).await.unwrap_err();
    assert_eq!((refused.code, player.heard().len()), (Code::InvalidInput, 0));
}

#[tokio::test]
async fn a_claim_check_is_read_before_the_prompt_is_rendered() {
    let player = Player::new("play", true, vec![says(r#"{"summary": "ok"}"#, 1, 1)]);
    let rig = rig(&player);
    let kept = rig.stores.artifacts.put(b"the whole text".to_vec(), "text/plain", "report.txt").await.unwrap();
    let mut large = invoke("writer", "x");
    large.inputs.insert("document".into(), kept.to_json());
    let job = rig.assignment_of(greenroom_rego::testing::admin(), large, None).await;
    perform(rig.backstage.clone(), job, Tab::default()).await.unwrap();
    assert!(text(&player.heard()[0].messages[0]).contains("the whole text"));
}

#[tokio::test(start_paused = true)]
async fn a_definition_says_how_often_its_agent_tries_again() {
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = calls.clone();
    let fails = move |work: Work| {
        let times = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if times < 2 {
                return Err(Cause::new(Code::StoreUnavailable, "not now"));
            }
            Ok(Values::from([("summary".to_owned(), json!(work.key.as_str()))]))
        }
    };
    let retry = json!({
        "implementation": {"runtime": "native", "handler": "native.fails"},
        "retry": {"max_attempts": 3, "delay": 1.0},
    });
    let rig = Rig::new(Wanted {
        agents: vec![agent("stubborn", retry), native("meek", "native.fails")],
        handlers: vec![Arc::new(Does("native.fails", Manner::Yields, fails))],
        ..Wanted::default()
    });
    let job = rig.assignment("meek", "x").await;
    assert!(perform(rig.backstage.clone(), job, Tab::default()).await.is_err());
    let job = rig.assignment("stubborn", "x").await;
    let key = job.key();
    let done = perform(rig.backstage.clone(), job, Tab::default()).await.unwrap();
    assert_eq!(done["summary"], key.as_str(), "the key is the same for every attempt");
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 3);
}
