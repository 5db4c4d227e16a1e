//! What people tell a run: approve, reject, cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::event::RunState;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{Code, RunId, Status, StepId};
use serde_json::json;

use super::harness::{House, Script, Written, agent, detached, names, run_id, start, until, workflow};

fn approval() -> Written {
    let steps = json!([
        {"id": "draft", "agent": "worker"},
        {"id": "send", "agent": "worker", "approval": {"prompt": "Send ${steps.draft.outputs.out} to ${inputs.to}?"}},
    ]);
    let agents = vec![agent("worker", json!({}))];
    Written { agents, workflows: vec![workflow("w", steps)], ..Written::default() }
}

fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}

async fn waiting(house: &House) -> RunId {
    let run = run_id(&house.ask(detached("w", json!({"to": "them"}))).await);
    until_state(house, &run, RunState::WaitingApproval).await;
    run
}

async fn until_state(house: &House, run: &RunId, state: RunState) {
    let waited = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while house.stores.runs.get(run).await.unwrap().unwrap().state != state {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_person_is_asked_in_words_and_their_yes_lets_the_step_go_on() {
    let house = House::new(approval(), names()).await;
    let run = waiting(&house).await;
    assert_eq!(house.calls().len(), 1);
    let prompts: Vec<_> = house
        .entries(&run)
        .await
        .into_iter()
        .filter_map(|entry| match entry {
            greenroom_protocol::journal::Entry::ApprovalAsked { prompt, .. } => Some(prompt),
            _ => None,
        })
        .collect();
    assert_eq!(prompts, ["Send worker to them?"]);
    assert_eq!(house.runs.observe_run(&run).await.unwrap().state, RunState::WaitingApproval);
    let wrong = house.signal(&run, Signal::Approve { step: step("draft") }).await;
    assert_eq!(wrong.error.unwrap().code, Code::UnknownStep);
    let yes = house.signal(&run, Signal::Approve { step: step("send") }).await;
    assert_eq!(yes.status, Status::Success);
    until_state(&house, &run, RunState::Success).await;
    assert_eq!(house.calls().len(), 2);
    let late = house.signal(&run, Signal::Approve { step: step("send") }).await;
    assert_eq!(late.error.unwrap().code, Code::RunNotActive);
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_person_far_longer_than_its_request_and_through_a_crash() {
    let house = House::new(approval(), names()).await;
    let run = waiting(&house).await;
    tokio::time::advance(Duration::from_secs(7 * 24 * 60 * 60)).await;
    let house = house.crash(vec![approval()], names()).await;
    let gone = house.signal(&run, Signal::Approve { step: step("send") }).await.error.unwrap();
    assert_eq!(gone.code, Code::RunNotActive, "nobody has taken it up yet");
    assert_eq!(house.recover().await.resumed, 1);
    assert_eq!(house.signal(&run, Signal::Approve { step: step("send") }).await.status, Status::Success);
    until_state(&house, &run, RunState::Success).await;
    assert_eq!(house.calls().len(), 1, "the draft was not written again");
}

#[tokio::test(start_paused = true)]
async fn a_no_fails_the_run() {
    let house = House::new(approval(), names()).await;
    let run = waiting(&house).await;
    house.signal(&run, Signal::Reject { step: step("send") }).await;
    until_state(&house, &run, RunState::Failed).await;
    let reply = house.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.error.unwrap().code, Code::ApprovalRejected);
}

/// Agents that never answer, and how many of them are at work.
fn hanging() -> (Script, Arc<AtomicUsize>) {
    struct Busy(Arc<AtomicUsize>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let busy = Arc::new(AtomicUsize::new(0));
    let counted = busy.clone();
    let script: Script = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let held = Busy(counted.clone());
        Box::pin(async move {
            let _held = held;
            std::future::pending().await
        })
    });
    (script, busy)
}

#[tokio::test(start_paused = true)]
async fn cancelling_lets_go_of_everything_at_once_down_to_the_runs_of_steps() {
    let written = Written {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![
            workflow("w", json!([{"id": "a", "agent": "worker"}, {"id": "sub", "workflow": "inner"}])),
            workflow("inner", json!([{"id": "x", "agent": "worker"}, {"id": "y", "agent": "worker"}])),
        ],
        ..Written::default()
    };
    let (script, busy) = hanging();
    let house = House::new(written, script).await;
    let asked = house.ask(start("w", json!({})));
    let cancelled = async {
        until("three agents are at work", || busy.load(Ordering::SeqCst) == 3).await;
        let heads = house.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
        let run = heads.iter().find(|head| head.parent.is_none()).unwrap().run.clone();
        let begun = tokio::time::Instant::now();
        assert_eq!(house.signal(&run, Signal::Cancel).await.status, Status::Success);
        until("nobody works any more", || busy.load(Ordering::SeqCst) == 0).await;
        until("no run is left", || house.runs.hosted() == 0).await;
        assert!(begun.elapsed() <= Duration::from_millis(100));
        run
    };
    let (reply, run) = tokio::join!(asked, cancelled);
    assert_eq!((reply.status, reply.error.unwrap().code), (Status::Cancelled, Code::Cancelled));
    let heads = house.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
    assert!(heads.iter().all(|head| head.state == RunState::Cancelled));
    let late = house.signal(&run, Signal::Cancel).await.error.unwrap();
    assert_eq!((late.code, late.message.as_str()), (Code::RunNotActive, "the run has ended as cancelled"));
    let nobody = house.signal(&RunId::new("run_none").unwrap(), Signal::Cancel).await.error.unwrap();
    assert_eq!(nobody.code, Code::UnknownRun);
}
