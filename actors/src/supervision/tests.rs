//! Supervision with real actors: a supervisor with a child driver, and a worker whose behaviour each job determines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::job_queue::{JobQueue, PushError, Pushed, WakeMessage};
use super::restart_policy::{Backoff, ChildKind, OnMaxRestarts, RestartMode, RestartPolicy};
use super::{ChildDriver, ChildEvent, ChildMsg, ExitKind};
use crate::observer::{ActorEvent, Observer};
use crate::test_env::until;

/// The behaviour of a worker.
enum Job {
    Echo(u8, oneshot::Sender<u8>),
    Panic,
    Fail,
    /// Waits for one permit of the gate.
    Slow(Arc<tokio::sync::Semaphore>),
    /// Waits for ever: it can be killed.
    Stall,
    /// Occupies its thread until the receiver is dropped: it cannot be killed.
    Spin(std::sync::mpsc::SyncSender<()>, Arc<AtomicUsize>),
    Stop,
}

enum WorkerMsg {
    Wake,
}
impl ractor::Message for WorkerMsg {}
impl WakeMessage for WorkerMsg {
    fn wake() -> Self {
        Self::Wake
    }
}

struct Worker(Arc<JobQueue<Job, WorkerMsg>>);

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<WorkerMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle(&self, me: ActorRef<WorkerMsg>, _: WorkerMsg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        while let Some(job) = self.0.pop() {
            match job {
                Job::Echo(value, port) => drop(port.send(value)),
                Job::Panic => panic!("the test requested this failure"),
                Job::Fail => return Err("the test requested this failure".into()),
                Job::Slow(gate) => gate.acquire().await?.forget(),
                Job::Stall => std::future::pending().await,
                Job::Spin(gate, done) => {
                    // Yields first, so that the tasks which this thread has woken run: no other thread can steal them
                    // while this one spins.
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                    // The second message waits until the receiver is dropped.
                    while gate.send(()).is_ok() {}
                    done.fetch_add(1, Ordering::SeqCst);
                }
                Job::Stop => {
                    me.stop(None);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

struct SupervisorMsg(ChildMsg<u8>);
impl ractor::Message for SupervisorMsg {}
impl From<ChildMsg<u8>> for SupervisorMsg {
    fn from(message: ChildMsg<u8>) -> Self {
        Self(message)
    }
}

/// Events that the supervisor and its driver have recorded.
#[derive(Default)]
struct Events {
    exits: std::sync::Mutex<Vec<ExitKind>>,
    restarts: AtomicUsize,
    abandoned: AtomicUsize,
}

impl Observer for Events {
    fn on_event(&self, event: ActorEvent) {
        let counter = match event {
            ActorEvent::ChildRestarted { .. } => &self.restarts,
            ActorEvent::ChildAbandoned { .. } => &self.abandoned,
            other => panic!("{other:?}"),
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// A supervisor with one worker, whose key is 1.
struct Supervisor {
    queue: Arc<JobQueue<Job, WorkerMsg>>,
    events: Arc<Events>,
    policy: RestartPolicy,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = ChildDriver<u8, Job, WorkerMsg>;
    type Arguments = ();
    async fn pre_start(&self, me: ActorRef<SupervisorMsg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        let mut children = ChildDriver::new(ChildKind::Agent, self.policy, self.events.clone());
        children.start_ticks(me, Duration::from_millis(20));
        Ok(children)
    }
    async fn handle(
        &self,
        me: ActorRef<SupervisorMsg>,
        SupervisorMsg(message): SupervisorMsg,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ChildMsg::Start(key) => {
                let (worker, parent) = (Worker(self.queue.clone()), me.get_cell());
                let spawn = || async move { Ok(Actor::spawn_linked(None, worker, (), parent).await?.0) };
                children.start(&me, key, self.queue.clone(), spawn).await.map(drop)
            }
            ChildMsg::Tick => {
                children.kill_stalled(&me);
                Ok(())
            }
            ChildMsg::KillTimedOut(child) => children.on_kill_timeout(&me, &child),
        }
    }
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let event = ChildEvent::from_event(event);
        if let ChildEvent::Ended { exit, .. } = &event {
            self.events.exits.lock().unwrap().push(*exit);
        }
        children.on_child_event(&me, event)
    }
}

/// One supervisor and the queue of its worker.
struct Harness {
    supervisor: ActorRef<SupervisorMsg>,
    queue: Arc<JobQueue<Job, WorkerMsg>>,
    events: Arc<Events>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.supervisor.stop(None);
    }
}

const POLICY: RestartPolicy = RestartPolicy {
    mode: RestartMode::Transient,
    restarts_max: 3,
    window: Duration::from_secs(60),
    backoff: Backoff { first: Duration::from_millis(1), max: Duration::from_millis(4) },
    stalled_after: Some(Duration::from_millis(100)),
    on_max_restarts: OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) },
};

async fn harness() -> Harness {
    let (queue, events) = (Arc::new(JobQueue::new(16)), Arc::new(Events::default()));
    let supervisor = Supervisor { queue: queue.clone(), events: events.clone(), policy: POLICY };
    let (supervisor, _) = Actor::spawn(None, supervisor, ()).await.unwrap();
    Harness { supervisor, queue, events }
}

impl Harness {
    fn push(&self, job: Job) {
        match self.queue.push(job, Instant::now()) {
            Ok(Pushed::Queued) => {}
            Ok(Pushed::NeedsActor) => self.supervisor.send_message(ChildMsg::Start(1).into()).unwrap(),
            Err(_) => panic!("the queue rejects the job"),
        }
    }

    async fn echo(&self, value: u8) -> Option<u8> {
        let (port, echo) = oneshot::channel();
        self.push(Job::Echo(value, port));
        tokio::time::timeout(Duration::from_secs(10), echo).await.unwrap().ok()
    }

    fn exits(&self) -> Vec<ExitKind> {
        self.events.exits.lock().unwrap().clone()
    }

    async fn wait_for_exits(&self, count: usize) {
        until("the exit is recorded", || self.exits().len() >= count).await;
    }
}

#[tokio::test]
async fn a_child_that_panics_is_restarted() {
    let harness = harness().await;
    harness.push(Job::Panic);
    harness.wait_for_exits(1).await;
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.exits(), [ExitKind::Crashed]);
    assert_eq!(harness.events.restarts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_child_whose_handler_returns_an_error_is_restarted() {
    let harness = harness().await;
    harness.push(Job::Fail);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.exits(), [ExitKind::Crashed]);
}

#[tokio::test]
async fn a_stalled_child_is_killed_and_restarted() {
    let harness = harness().await;
    harness.push(Job::Stall);
    assert_eq!(harness.echo(7).await, Some(7), "the next actor handles the job after the stalled one");
    assert_eq!(harness.exits(), [ExitKind::Killed]);
    assert_eq!(harness.events.abandoned.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_makes_progress_is_not_stalled_however_long_its_jobs_wait() {
    const JOBS: usize = 15;
    let harness = harness().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    (0..JOBS).for_each(|_| harness.push(Job::Slow(gate.clone())));
    let (port, echo) = oneshot::channel();
    harness.push(Job::Echo(7, port));
    for waiting in (1..=JOBS).rev() {
        until("the next job is taken", || harness.queue.len() == waiting).await;
        tokio::time::advance(Duration::from_millis(80)).await;
        gate.add_permits(1);
    }
    assert_eq!(echo.await, Ok(7), "the last job has waited for 1.2 s");
    assert_eq!(harness.exits(), []);
}

#[tokio::test(start_paused = true)]
async fn a_child_is_not_stalled_by_the_time_for_which_the_machine_was_suspended() {
    let harness = harness().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    harness.push(Job::Slow(gate.clone()));
    let (port, echo) = oneshot::channel();
    harness.push(Job::Echo(7, port));
    until("the first job is taken", || harness.queue.len() == 1).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    for _ in 0..100 {
        // The supervisor checks its children before the first job ends.
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    assert_eq!(echo.await, Ok(7));
    assert_eq!(harness.exits(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stalled_child_that_cannot_be_killed_is_abandoned() {
    let harness = harness().await;
    // A task that the worker wakes before it spins may wait in the queue of its thread, where no other thread can
    // steal it. So the worker is started and idle first.
    assert_eq!(harness.echo(1).await, Some(1));
    let (gate, spinning) = std::sync::mpsc::sync_channel(0);
    let done = Arc::new(AtomicUsize::new(0));
    harness.push(Job::Spin(gate, done.clone()));
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.events.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(done.load(Ordering::SeqCst), 0, "the abandoned actor still spins");
    drop(spinning);
    until("the abandoned actor has ended", || done.load(Ordering::SeqCst) == 1).await;
    assert_eq!(harness.echo(8).await, Some(8));
}

#[tokio::test]
async fn a_child_that_stops_by_itself_is_started_by_the_next_job() {
    let harness = harness().await;
    harness.push(Job::Stop);
    harness.wait_for_exits(1).await;
    until("the queue is idle", || harness.queue.is_idle()).await;
    assert_eq!(harness.events.restarts.load(Ordering::SeqCst), 0);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.exits(), [ExitKind::Stopped]);
}

#[tokio::test]
async fn a_child_that_stops_while_a_job_waits_is_started_at_once() {
    let harness = harness().await;
    harness.push(Job::Stop);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.events.restarts.load(Ordering::SeqCst), 0, "a start after a voluntary stop is not a restart");
}

#[tokio::test]
async fn a_killed_child_is_restarted() {
    let harness = harness().await;
    assert_eq!(harness.echo(1).await, Some(1));
    for child in harness.supervisor.get_cell().get_children() {
        child.kill();
    }
    harness.wait_for_exits(1).await;
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.exits(), [ExitKind::Killed]);
}

#[tokio::test]
async fn the_restarted_child_handles_the_waiting_jobs_in_order() {
    let harness = harness().await;
    let mut echoes = Vec::new();
    harness.push(Job::Panic);
    for value in 0..5 {
        let (port, echo) = oneshot::channel();
        harness.push(Job::Echo(value, port));
        echoes.push(echo);
    }
    for (value, echo) in (0..5).zip(echoes) {
        assert_eq!(echo.await, Ok(value));
    }
}

#[tokio::test]
async fn a_child_that_exceeds_its_restart_intensity_opens_the_circuit_and_drops_its_jobs() {
    let harness = harness().await;
    for _ in 0..=POLICY.restarts_max {
        harness.push(Job::Panic);
    }
    let (port, echo) = oneshot::channel();
    harness.push(Job::Echo(1, port));
    assert!(echo.await.is_err(), "its port is closed");
    until("the circuit is open", || harness.queue.circuit_open_for(Instant::now()).is_some()).await;
    assert_eq!(harness.events.restarts.load(Ordering::SeqCst), 3);
    let rejected = harness.queue.push(Job::Stop, Instant::now());
    assert!(matches!(rejected, Err(PushError::CircuitOpen(_, cooldown)) if cooldown > Duration::from_secs(29)));
    let later = Instant::now() + Duration::from_secs(31);
    assert_eq!(harness.queue.push(Job::Stop, later).map_err(|_| ()), Ok(Pushed::NeedsActor), "the cooldown has ended");
}

#[tokio::test]
async fn a_child_whose_queue_is_closed_is_not_restarted() {
    let harness = harness().await;
    assert_eq!(harness.echo(1).await, Some(1));
    drop(harness.queue.close());
    for child in harness.supervisor.get_cell().get_children() {
        child.kill();
    }
    harness.wait_for_exits(1).await;
    until("the child is removed", || harness.supervisor.get_cell().get_children().is_empty()).await;
    assert_eq!(harness.events.restarts.load(Ordering::SeqCst), 0);
}
