//! A category with its agents, as real actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::{Cause, Code, Values};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::handler::{Handler, Manner, Work};
use crate::observer::Observed;
use crate::supervision::{Backoff, GiveUp};
use crate::test_env::{Does, Play, Player, Rig, Wanted, agent, native, until};

/// Something to hang a category on.
struct Root;

enum Nothing {}
impl ractor::Message for Nothing {}

impl Actor for Root {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Nothing>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct House {
    rig: Rig,
    category: CategoryHandle,
    root: ActorRef<Nothing>,
    actor: ActorCell,
}

impl Drop for House {
    fn drop(&mut self) {
        self.root.kill();
    }
}

fn manners() -> Manners {
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(2) };
    let give_up = GiveUp::Bar { cooldown: Duration::from_secs(30) };
    let rule = Rule { backoff, give_up, restarts_max: 2, ..ChildKind::Agent.rule() };
    Manners { idle_max: Duration::from_secs(600), tick: Duration::from_millis(10), rule }
}

async fn house(rig: Rig, manners: Manners) -> House {
    let category = CategoryHandle::new(CategoryId::new("ops").unwrap(), rig.backstage.clone(), manners);
    let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
    let actor = Category::spawn_under(category.clone(), root.get_cell()).await.unwrap();
    House { rig, category, root, actor }
}

fn of(agents: Vec<serde_json::Value>, handlers: Vec<Arc<dyn Handler>>) -> Rig {
    Rig::new(Wanted { agents, handlers, ..Wanted::default() })
}

fn summary(text: &str) -> Values {
    Values::from([("summary".to_owned(), json!(text))])
}

/// Gives back its document; waits first if that is `wait`, and panics if it is `panic`.
fn handler(gate: Arc<Notify>, running: Arc<AtomicUsize>) -> Arc<dyn Handler> {
    struct Leaving(Arc<AtomicUsize>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let run = move |work: Work| {
        let (gate, running) = (gate.clone(), running.clone());
        async move {
            running.fetch_add(1, Ordering::SeqCst);
            let _leaving = Leaving(running);
            match work.inputs["document"].as_str().unwrap_or_default() {
                "wait" => gate.notified().await,
                "panic" => panic!("a handler was told to"),
                _ => {}
            }
            Ok::<_, Cause>(Values::from([("summary".to_owned(), work.inputs["document"].clone())]))
        }
    };
    Arc::new(Does("native.does", Manner::Yields, run))
}

struct Worked {
    house: House,
    gate: Arc<Notify>,
    running: Arc<AtomicUsize>,
}

async fn worked(manners: Manners) -> Worked {
    let (gate, running) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let narrow = json!({
        "implementation": {"runtime": "native", "handler": "native.does", "timeout": 30},
        "limits": {"max_concurrency": 1},
    });
    let agents = vec![native("worker", "native.does"), agent("narrow", narrow)];
    let rig = of(agents, vec![handler(gate.clone(), running.clone())]);
    Worked { house: house(rig, manners).await, gate, running }
}

impl Worked {
    async fn ask(&self, agent: &str, document: &str) -> Done {
        let job = self.house.rig.assignment(agent, document).await;
        self.house.category.invoke(job).await
    }

    /// Asks and does not wait.
    async fn asking(&self, agent: &str, document: &str) -> tokio::task::JoinHandle<Done> {
        let job = self.house.rig.assignment(agent, document).await;
        let category = self.house.category.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's own caller")]
        tokio::spawn(async move { category.invoke(job).await })
    }

    async fn are_running(&self, count: usize) {
        until("that many run", || self.running.load(Ordering::SeqCst) == count).await;
    }

    fn seated(&self) -> usize {
        self.house.rig.notes.count(|seen| matches!(seen, Observed::AgentSeated(_)))
    }

    fn left(&self) -> usize {
        self.house.rig.notes.count(|seen| matches!(seen, Observed::AgentLeft(_)))
    }
}

fn code(done: &Done) -> Option<Code> {
    done.as_ref().err().map(|failure| failure.cause.code)
}

#[tokio::test]
async fn the_first_message_seats_an_agent_and_the_next_ones_find_it() {
    let worked = worked(manners()).await;
    for text in ["one", "two", "three"] {
        let outcome = worked.ask("worker", text).await.unwrap();
        assert_eq!(outcome.outputs, summary(text));
        assert_eq!(outcome.usage.agents[0].as_str(), "worker");
    }
    assert_eq!((worked.seated(), worked.house.category.seats()), (1, 1));
    let done = worked.house.rig.notes.count(|seen| matches!(seen, Observed::Executed { code: None, .. }));
    assert_eq!(done, 3);
}

#[tokio::test]
async fn an_idle_agent_leaves_and_comes_back_with_the_next_message() {
    let idle = Manners { idle_max: Duration::ZERO, ..manners() };
    let worked = worked(idle).await;
    worked.ask("worker", "one").await.unwrap();
    until("it has left", || worked.left() == 1).await;
    until("its seat is forgotten", || worked.house.category.seats() == 0).await;
    assert_eq!(worked.ask("worker", "two").await.unwrap().outputs, summary("two"));
    assert_eq!(worked.seated(), 2);
}

#[tokio::test]
async fn a_panic_of_one_execution_is_its_own() {
    let worked = worked(manners()).await;
    let waiting = worked.asking("worker", "wait").await;
    worked.are_running(1).await;
    assert_eq!(code(&worked.ask("worker", "panic").await), Some(Code::AgentCrashed));
    worked.gate.notify_one();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(worked.seated(), 1, "the actor goes on");
}

#[tokio::test]
async fn whoever_goes_away_takes_the_execution_along() {
    let worked = worked(manners()).await;
    let waiting = worked.asking("worker", "wait").await;
    worked.are_running(1).await;
    let start = std::time::Instant::now();
    waiting.abort();
    worked.are_running(0).await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    until("it is counted as cancelled", || {
        worked.house.rig.notes.count(|seen| matches!(seen, Observed::Executed { code: Some(Code::Cancelled), .. })) == 1
    })
    .await;
}

#[tokio::test]
async fn an_agent_with_one_place_does_one_thing_at_a_time() {
    let worked = worked(manners()).await;
    let first = worked.asking("narrow", "wait").await;
    worked.are_running(1).await;
    let second = worked.asking("narrow", "two").await;
    assert_eq!(worked.ask("worker", "other").await.unwrap().outputs, summary("other"), "others are not held up");
    assert!(!second.is_finished());
    worked.gate.notify_one();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(second.await.unwrap().unwrap().outputs, summary("two"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_work_and_tells_what_it_took() {
    let player = Player::new("play", true, vec![Play::Hang]);
    let rig = Rig::new(Wanted {
        agents: vec![agent("writer", json!({}))],
        providers: vec![player.clone()],
        ..Wanted::default()
    });
    let house = house(rig, manners()).await;
    let start = tokio::time::Instant::now();
    let failure = house.category.invoke(house.rig.assignment("writer", "x").await).await.unwrap_err();
    assert_eq!(failure.cause.code, Code::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 30, "the definition's timeout");
    assert!(failure.usage.estimated && failure.usage.cost.0 > 8_000, "{:?}", failure.usage);
}

#[tokio::test]
async fn a_killed_agent_loses_what_runs_and_keeps_what_waits() {
    let worked = worked(manners()).await;
    let running = worked.asking("worker", "wait").await;
    worked.are_running(1).await;
    for agent in worked.house.actor.get_children() {
        agent.kill();
    }
    assert_eq!(code(&running.await.unwrap()), Some(Code::AgentCrashed));
    assert_eq!(worked.running.load(Ordering::SeqCst), 0, "nothing of it is left");
    assert_eq!(worked.ask("worker", "next").await.unwrap().outputs, summary("next"));
}

#[tokio::test]
async fn an_agent_that_dies_too_often_is_barred_alone() {
    let worked = worked(manners()).await;
    for _ in 0..3 {
        worked.ask("worker", "fine").await.unwrap();
        let left = worked.left();
        for agent in worked.house.actor.get_children() {
            agent.kill();
        }
        until("it is gone", || worked.left() > left).await;
    }
    let mut refused = worked.ask("worker", "again").await;
    for _ in 0..100 {
        if code(&refused) == Some(Code::AgentBarred) {
            break;
        }
        tokio::task::yield_now().await;
        refused = worked.ask("worker", "again").await;
    }
    let cause = refused.unwrap_err().cause;
    assert_eq!(cause.code, Code::AgentBarred);
    assert!(cause.retry_after_ms > Some(29_000));
    assert!(worked.ask("narrow", "other").await.is_ok(), "nobody else is concerned");
}

#[tokio::test]
async fn a_category_that_dies_and_comes_back_finds_the_work_that_waits() {
    let worked = worked(manners()).await;
    worked.house.actor.kill();
    worked.house.actor.wait(Some(Duration::from_secs(5))).await.unwrap();
    let waiting = worked.asking("worker", "patient").await;
    tokio::task::yield_now().await;
    Category::spawn_under(worked.house.category.clone(), worked.house.root.get_cell()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().outputs, summary("patient"));
}

#[tokio::test]
async fn a_closed_category_takes_nothing_and_lets_what_waits_go() {
    let worked = worked(manners()).await;
    worked.ask("worker", "one").await.unwrap();
    worked.house.category.close();
    assert_eq!(code(&worked.ask("worker", "two").await), Some(Code::ShuttingDown));
}

#[tokio::test]
async fn agents_are_not_offered_to_other_pods() {
    let worked = worked(manners()).await;
    worked.ask("worker", "one").await.unwrap();
    assert!(!worked.house.actor.supports_remoting());
    assert!(worked.house.actor.get_children().iter().all(|agent| !agent.supports_remoting()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_served_without_an_error() {
    let worked = Arc::new(worked(manners()).await);
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let worked = worked.clone();
        crowd.spawn(async move { worked.ask("worker", "one").await.is_ok() });
    }
    assert!(crowd.join_all().await.into_iter().all(|well| well));
    assert_eq!(worked.seated(), 1);
}
