//! The queue, with an actor that never pops.

use ractor::Actor;
use tokio::sync::mpsc;

use super::*;

enum Msg {
    Wake,
}
impl ractor::Message for Msg {}
impl WakeMessage for Msg {
    fn wake() -> Self {
        Self::Wake
    }
}

/// Reports its wake-ups and pops nothing.
struct Sleeper;
impl Actor for Sleeper {
    type Msg = Msg;
    type State = mpsc::Sender<()>;
    type Arguments = mpsc::Sender<()>;
    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        to: mpsc::Sender<()>,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        Ok(to)
    }
    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        to: &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        match message {
            Msg::Wake => to.send(()).await?,
        }
        Ok(())
    }
}

async fn sleeper() -> (ActorRef<Msg>, mpsc::Receiver<()>) {
    let (to, wakes) = mpsc::channel(8);
    let (actor, _) = Actor::spawn(None, Sleeper, to).await.unwrap();
    (actor, wakes)
}

#[tokio::test]
async fn a_burst_wakes_once_until_a_pop_finds_the_queue_empty() {
    let queue = JobQueue::<u8, Msg>::new(8);
    let (actor, mut wakes) = sleeper().await;
    let now = Instant::now();
    assert_eq!(queue.push(1, now), Ok(Pushed::NeedsActor));
    assert_eq!(queue.push(2, now), Ok(Pushed::Queued), "a start was requested already");
    queue.attach(actor.clone(), now);
    queue.push(3, now).unwrap();
    wakes.recv().await.unwrap();
    assert!(wakes.try_recv().is_err(), "one wake-up serves the burst");
    assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(2), Some(3), None]);
    queue.push(4, now).unwrap();
    wakes.recv().await.unwrap();
    actor.stop(None);
}

#[tokio::test]
async fn a_full_an_open_circuit_and_a_closed_queue_return_the_job() {
    let queue = JobQueue::<u8, Msg>::new(1);
    let now = Instant::now();
    queue.push(1, now).unwrap();
    assert_eq!(queue.push(2, now), Err(PushError::Full(2)));
    let cooldown = Duration::from_secs(30);
    assert_eq!(queue.open_circuit(now + cooldown), [1]);
    assert_eq!(queue.push(3, now), Err(PushError::CircuitOpen(3, cooldown)));
    assert_eq!(queue.circuit_open_for(now), Some(cooldown));
    assert_eq!(queue.push(4, now + cooldown), Ok(Pushed::NeedsActor), "the cooldown has ended");
    assert_eq!(queue.close(), [4]);
    assert_eq!(queue.push(5, now + cooldown), Err(PushError::Closed(5)));
}

#[tokio::test]
async fn an_actor_detaches_only_without_jobs_and_the_next_job_needs_an_actor() {
    let queue = JobQueue::<u8, Msg>::new(8);
    let (actor, _wakes) = sleeper().await;
    let now = Instant::now();
    queue.attach(actor.clone(), now);
    queue.push(1, now).unwrap();
    assert!(!queue.try_detach(actor.get_id()));
    queue.pop();
    assert!(queue.try_detach(actor.get_id()));
    assert!(!queue.try_detach(actor.get_id()), "it is detached already");
    assert_eq!(queue.push(2, now), Ok(Pushed::NeedsActor));
    actor.stop(None);
}

#[tokio::test]
async fn the_age_counts_from_the_attachment_and_only_while_an_actor_is_attached() {
    let queue = JobQueue::<u8, Msg>::new(8);
    let (actor, _wakes) = sleeper().await;
    let start = Instant::now();
    let second = Duration::from_secs(1);
    queue.push(1, start).unwrap();
    assert_eq!(queue.stalled_for(start + second), None);
    queue.attach(actor.clone(), start + second);
    assert_eq!(queue.stalled_for(start + 3 * second), Some(2 * second));
    queue.expect_restart();
    assert_eq!(queue.stalled_for(start + 9 * second), None);
    actor.stop(None);
}

#[tokio::test]
async fn a_detached_queue_with_jobs_expects_a_restart() {
    let queue = JobQueue::<u8, Msg>::new(8);
    assert!(!queue.detach());
    assert!(queue.is_idle());
    queue.push(1, Instant::now()).unwrap();
    assert!(queue.detach());
    assert!(!queue.is_idle());
}
