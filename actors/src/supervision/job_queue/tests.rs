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
    queue.attach(actor.clone());
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
    queue.attach(actor.clone());
    queue.push(1, now).unwrap();
    assert!(!queue.try_detach(actor.get_id()));
    queue.pop();
    assert!(queue.try_detach(actor.get_id()));
    assert!(!queue.try_detach(actor.get_id()), "it is detached already");
    assert_eq!(queue.push(2, now), Ok(Pushed::NeedsActor));
    actor.stop(None);
}

#[tokio::test]
async fn progress_is_the_number_of_taken_jobs_while_others_wait_for_an_attached_actor() {
    let queue = JobQueue::<u8, Msg>::new(8);
    let (actor, _wakes) = sleeper().await;
    let now = Instant::now();
    queue.push(1, now).unwrap();
    assert_eq!(queue.taken_while_waiting(), None, "no actor is attached");
    queue.attach(actor.clone());
    assert_eq!(queue.taken_while_waiting(), Some(0));
    queue.push(2, now).unwrap();
    queue.pop();
    assert_eq!(queue.taken_while_waiting(), Some(1));
    queue.pop();
    assert_eq!(queue.taken_while_waiting(), None, "no job waits");
    queue.push(3, now).unwrap();
    queue.expect_restart();
    assert_eq!(queue.taken_while_waiting(), None);
    actor.stop(None);
}

#[tokio::test]
async fn a_restart_of_the_supervisor_does_not_close_an_open_circuit() {
    let queue = JobQueue::<u8, Msg>::new(8);
    let now = Instant::now();
    let cooldown = Duration::from_secs(30);
    drop(queue.open_circuit(now + cooldown));
    queue.expect_restart();
    assert_eq!(queue.circuit_open_for(now), Some(cooldown));
    assert!(!queue.detach());
    assert_eq!(queue.push(1, now), Err(PushError::CircuitOpen(1, cooldown)));
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
