//! Restarts of the children of the root.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::compose;
use crate::config::{Config, StoreConfig};

struct Restarts(Mutex<u32>);

impl Observer for Restarts {
    fn on_event(&self, event: ActorEvent) {
        if matches!(event, ActorEvent::ChildRestarted { .. }) {
            *self.0.lock().unwrap() += 1;
        }
    }
}

/// A child that fails once at its first message.
struct Child;

impl Actor for Child {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("for the test".into())
    }
}

/// A spec whose starts after the first fail this many times, and the last cell that it has started.
fn spec(failures: u32) -> (ChildSpec, Arc<AtomicU32>, Arc<Mutex<Option<ActorCell>>>) {
    let (starts, cell) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None)));
    let (counted, started) = (Arc::clone(&starts), Arc::clone(&cell));
    let spawn = move |root: ActorCell| {
        let (number, started) = (counted.fetch_add(1, Ordering::SeqCst), Arc::clone(&started));
        let spawning = async move {
            if (1..=failures).contains(&number) {
                return Err(SpawnErr::StartupFailed("for the test".into()));
            }
            let child = Actor::spawn_linked(None, Child, (), root).await?.0.get_cell();
            *started.lock().unwrap() = Some(child.clone());
            Ok(child)
        };
        Box::pin(spawning) as _
    };
    (ChildSpec { kind: ChildKind::RunSupervisor, spawn: Arc::new(spawn) }, starts, cell)
}

fn fail(cell: &Mutex<Option<ActorCell>>) {
    cell.lock().unwrap().as_ref().unwrap().send_message(()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_be_started_again_is_retried_with_its_backoff_and_the_root_lives() {
    let (spec, starts, cell) = spec(2);
    let observer = Arc::new(Restarts(Mutex::new(0)));
    let mut tree = ActorTree::spawn(vec![spec], observer.clone()).await.unwrap();
    fail(&cell);
    let restarted = async {
        while *observer.0.lock().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = restarted => {}
        kind = tree.wait_failed() => panic!("the pod stops because of {kind}"),
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("the child is not started again"),
    }
    assert_eq!(starts.load(Ordering::SeqCst), 4, "the start, two failed restarts and one restart");
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_starts_again_stops_the_pod_by_its_row() {
    let (spec, starts, cell) = spec(u32::MAX);
    let observer = Arc::new(Restarts(Mutex::new(0)));
    let mut tree = ActorTree::spawn(vec![spec], observer.clone()).await.unwrap();
    fail(&cell);
    let failed = tokio::time::timeout(Duration::from_secs(30), tree.wait_failed()).await.unwrap();
    assert_eq!(failed, "run_supervisor");
    assert_eq!(starts.load(Ordering::SeqCst), 1 + ChildKind::RunSupervisor.restart_policy().restarts_max);
    assert_eq!(*observer.0.lock().unwrap(), 0, "a restart that failed is not reported as one");
    tree.stop().await;
}

/// The children of the root of this pod, in the order of their start.
fn children(tree: &ActorTree) -> Vec<ActorCell> {
    let mut children = tree.root.get_cell().get_children();
    children.sort_by_key(ActorCell::get_id);
    children
}

/// Waits for the child that was started after this one.
async fn next_child(tree: &ActorTree, last: ActorId) -> ActorCell {
    let started = async {
        let mut checks = tokio::time::interval(Duration::from_millis(1));
        loop {
            checks.tick().await;
            if let Some(child) = children(tree).into_iter().find(|child| child.get_id() > last) {
                return child;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), started).await.expect("the child is restarted")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_supervisor_of_a_pod_is_restarted_and_then_stops_the_pod_by_its_row() {
    // The guard is the first child, a category the second, and the runs are the last one.
    let position = |kind, count: usize| match kind {
        ChildKind::GuardSupervisor => 0,
        ChildKind::Category => 1,
        ChildKind::TeamSupervisor => count - 2,
        _ => count - 1,
    };
    for kind in [ChildKind::GuardSupervisor, ChildKind::Category, ChildKind::TeamSupervisor, ChildKind::RunSupervisor] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(dir.path()).unwrap();
        config.store = StoreConfig::Memory;
        let mut pod = compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await.unwrap();
        let first = children(&pod.tree);
        let mut last = first.last().unwrap().get_id();
        let mut child = first[position(kind, first.len())].clone();
        for _ in 0..kind.restart_policy().restarts_max {
            child.kill();
            child = next_child(&pod.tree, last).await;
            last = child.get_id();
        }
        child.kill();
        let failed = tokio::time::timeout(Duration::from_secs(30), pod.wait_failed()).await.unwrap();
        assert_eq!(failed, format!("{} exceeded its restart limit", kind.as_str()));
        pod.shutdown().await;
    }
}
