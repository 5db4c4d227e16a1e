//! The cases of supervision with real actors: a supervisor with a child table, and a worker whose jobs name its
//! behaviour.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::child_table::{ChildTable, KILL_TIMEOUT, SupervisorAction};
use super::job_queue::{JobQueue, PushError, Pushed, WakeMessage};
use super::restart_policy::{Backoff, OnMaxRestarts, RestartMode, RestartPolicy};
use super::{ChildEvent, ExitKind, LinkedTasks, TaskOutcome};
use crate::test_env::until;

/// The behaviour of a worker.
enum Job {
    Echo(u8, oneshot::Sender<u8>),
    Panic,
    Fail,
    /// Waits for ever: it can be killed.
    Freeze,
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
                Job::Panic => panic!("a worker was told to"),
                Job::Fail => return Err("a worker was told to".into()),
                Job::Freeze => std::future::pending().await,
                Job::Spin(gate, done) => {
                    // What this thread has woken already is let go first: no other thread finds it while
                    // this one spins.
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                    // The second message waits until the other side is gone.
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

enum BossMsg {
    Fill,
    Tick,
    Outlived(ActorCell),
}
impl ractor::Message for BossMsg {}

/// Events that the supervisor has recorded.
#[derive(Default)]
struct Seen {
    ends: std::sync::Mutex<Vec<ExitKind>>,
    restarts: AtomicUsize,
    bars: AtomicUsize,
    abandoned: AtomicUsize,
}

struct Boss {
    queue: Arc<JobQueue<Job, WorkerMsg>>,
    seen: Arc<Seen>,
    rule: RestartPolicy,
}

struct BossState {
    children: ChildTable<u8, Job, WorkerMsg>,
    tasks: LinkedTasks<u8>,
}

impl Actor for Boss {
    type Msg = BossMsg;
    type State = BossState;
    type Arguments = ();
    async fn pre_start(&self, me: ActorRef<BossMsg>, (): ()) -> Result<BossState, ActorProcessingErr> {
        let mut tasks = LinkedTasks::default();
        tasks.run_every(0, Duration::from_millis(20), move || me.send_message(BossMsg::Tick).is_ok());
        Ok(BossState { children: ChildTable::with_policy(self.rule), tasks })
    }
    async fn handle(
        &self,
        me: ActorRef<BossMsg>,
        message: BossMsg,
        state: &mut BossState,
    ) -> Result<(), ActorProcessingErr> {
        let change = match message {
            BossMsg::Fill => {
                let (worker, parent) = (Worker(self.queue.clone()), me.get_cell());
                let spawn = || async move { Ok(Actor::spawn_linked(None, worker, (), parent).await?.0) };
                state.children.start(1, self.queue.clone(), spawn).await
            }
            BossMsg::Tick => {
                for stalled in state.children.stalled(Instant::now()) {
                    let (me, child) = (me.clone(), stalled.clone());
                    let kill = async move { child.kill_and_wait(Some(Duration::from_millis(100))).await.is_ok() };
                    state.tasks.spawn(1, KILL_TIMEOUT, kill, move |ended| {
                        if ended != TaskOutcome::Completed(true) {
                            let _ = me.send_message(BossMsg::Outlived(stalled));
                        }
                    });
                }
                SupervisorAction::None
            }
            BossMsg::Outlived(child) => {
                self.seen.abandoned.fetch_add(1, Ordering::SeqCst);
                state.children.unlink(&child, me.get_cell(), Instant::now())
            }
        };
        self.carry_out(&me, state, &change);
        Ok(())
    }
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<BossMsg>,
        event: SupervisionEvent,
        state: &mut BossState,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child: principal, exit, .. } = ChildEvent::from_event(event) {
            self.seen.ends.lock().unwrap().push(exit);
            let change = state.children.on_exit(principal, exit, Instant::now());
            self.carry_out(&me, state, &change);
        }
        Ok(())
    }
}

impl Boss {
    fn carry_out(&self, me: &ActorRef<BossMsg>, state: &mut BossState, change: &SupervisorAction<u8>) {
        match change {
            SupervisorAction::RestartAfter { after, died, .. } => {
                self.seen.restarts.fetch_add(usize::from(*died), Ordering::SeqCst);
                let me = me.clone();
                state.tasks.run_after(2, *after, move || drop(me.send_message(BossMsg::Fill)));
            }
            SupervisorAction::CircuitOpened(_) => drop(self.seen.bars.fetch_add(1, Ordering::SeqCst)),
            SupervisorAction::None
            | SupervisorAction::Stopped(_)
            | SupervisorAction::Escalate(_)
            | SupervisorAction::StopPod(_) => {}
        }
    }
}

/// One supervisor and the queue of its worker.
struct Harness {
    boss: ActorRef<BossMsg>,
    queue: Arc<JobQueue<Job, WorkerMsg>>,
    seen: Arc<Seen>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.boss.stop(None);
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
    let (queue, seen) = (Arc::new(JobQueue::new(16)), Arc::new(Seen::default()));
    let boss = Boss { queue: queue.clone(), seen: seen.clone(), rule: POLICY };
    let (boss, _) = Actor::spawn(None, boss, ()).await.unwrap();
    Harness { boss, queue, seen }
}

impl Harness {
    fn push(&self, job: Job) {
        match self.queue.push(job, Instant::now()) {
            Ok(Pushed::Queued) => {}
            Ok(Pushed::NeedsActor) => self.boss.send_message(BossMsg::Fill).unwrap(),
            Err(_) => panic!("the slot refuses"),
        }
    }

    async fn echo(&self, value: u8) -> Option<u8> {
        let (port, answer) = oneshot::channel();
        self.push(Job::Echo(value, port));
        tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap().ok()
    }

    fn ends(&self) -> Vec<ExitKind> {
        self.seen.ends.lock().unwrap().clone()
    }

    async fn has_ended(&self, times: usize) {
        until("an end is seen", || self.ends().len() >= times).await;
    }
}

#[tokio::test]
async fn one_that_panics_is_followed_by_another() {
    let harness = harness().await;
    harness.push(Job::Panic);
    harness.has_ended(1).await;
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.ends(), [ExitKind::Crashed]);
    assert_eq!(harness.seen.restarts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_that_answers_an_error_is_followed_by_another() {
    let harness = harness().await;
    harness.push(Job::Fail);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.ends(), [ExitKind::Crashed]);
}

#[tokio::test]
async fn one_that_freezes_is_killed_and_followed_by_another() {
    let harness = harness().await;
    harness.push(Job::Freeze);
    assert_eq!(harness.echo(7).await, Some(7), "the job behind the frozen one is done by the next");
    assert_eq!(harness.ends(), [ExitKind::Killed]);
    assert_eq!(harness.seen.abandoned.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_that_cannot_be_killed_is_left_behind() {
    let harness = harness().await;
    // Whatever a worker wakes before it spins may stand in its thread's queue, where no other thread
    // finds it; so it is up and idle first.
    assert_eq!(harness.echo(1).await, Some(1));
    let (gate, spinning) = std::sync::mpsc::sync_channel(0);
    let done = Arc::new(AtomicUsize::new(0));
    harness.push(Job::Spin(gate, done.clone()));
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.seen.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(done.load(Ordering::SeqCst), 0, "the old one still spins");
    drop(spinning);
    until("the old one is over", || done.load(Ordering::SeqCst) == 1).await;
    assert_eq!(harness.echo(8).await, Some(8));
}

#[tokio::test]
async fn one_that_stops_by_itself_is_left_until_there_is_work() {
    let harness = harness().await;
    harness.push(Job::Stop);
    harness.has_ended(1).await;
    until("the seat is empty", || harness.queue.is_idle()).await;
    assert_eq!(harness.seen.restarts.load(Ordering::SeqCst), 0);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.ends(), [ExitKind::Stopped]);
}

#[tokio::test]
async fn one_that_stops_with_work_waiting_is_followed_at_once() {
    let harness = harness().await;
    harness.push(Job::Stop);
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.seen.restarts.load(Ordering::SeqCst), 0, "that is no death");
}

#[tokio::test]
async fn one_that_is_killed_is_followed_by_another() {
    let harness = harness().await;
    assert_eq!(harness.echo(1).await, Some(1));
    for child in harness.boss.get_cell().get_children() {
        child.kill();
    }
    harness.has_ended(1).await;
    assert_eq!(harness.echo(7).await, Some(7));
    assert_eq!(harness.ends(), [ExitKind::Killed]);
}

#[tokio::test]
async fn what_waits_behind_a_panic_is_done_in_order_by_the_next() {
    let harness = harness().await;
    let mut answers = Vec::new();
    harness.push(Job::Panic);
    for value in 0..5 {
        let (port, answer) = oneshot::channel();
        harness.push(Job::Echo(value, port));
        answers.push(answer);
    }
    for (value, answer) in (0..5).zip(answers) {
        assert_eq!(answer.await, Ok(value));
    }
}

#[tokio::test]
async fn one_that_dies_too_often_is_barred_and_what_waits_is_let_go() {
    let harness = harness().await;
    for _ in 0..=POLICY.restarts_max {
        harness.push(Job::Panic);
    }
    let (port, answer) = oneshot::channel();
    harness.push(Job::Echo(1, port));
    assert!(answer.await.is_err(), "its port is closed");
    until("it is barred", || harness.seen.bars.load(Ordering::SeqCst) == 1).await;
    assert_eq!(harness.seen.restarts.load(Ordering::SeqCst), 3);
    let rejected = harness.queue.push(Job::Stop, Instant::now());
    assert!(matches!(rejected, Err(PushError::CircuitOpen(_, cooldown)) if cooldown > Duration::from_secs(29)));
    let later = Instant::now() + Duration::from_secs(31);
    assert_eq!(harness.queue.push(Job::Stop, later).map_err(|_| ()), Ok(Pushed::NeedsActor), "it may try again");
}
