//! Failures, panics, restarts and stops of services.

use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom_actors::supervision::{Backoff, RestartMode};
use greenroom_protocol::Json;

use super::*;
use crate::clock::WallClock;
use crate::telemetry::logs::JsonLine;

const WAIT_MAX: Duration = Duration::from_secs(10);

fn writer(work: impl Future<Output = Result<(), String>> + Send + 'static) -> Service {
    let work = run_once(work);
    Service { name: "writer", phase: Phase::Stores, restart: ChildKind::AuditWriter, run: Arc::new(move |_| work()) }
}

#[tokio::test]
async fn only_a_failed_service_that_the_pod_needs_is_reported() {
    let mut services = Services::new();
    services.start(Service::droppable("minor", ChildKind::Periodic, || async { Err("not needed".to_owned()) }));
    services.start(writer(async { Err("disk full".to_owned()) }));
    let failed = services.wait_failed().await;
    assert_eq!((failed.name, failed.reason.as_str()), ("writer", "disk full"));
}

#[tokio::test]
async fn a_failure_and_a_panic_of_a_needed_service_are_reported_on_a_task_and_on_a_thread() {
    let mut services = Services::new();
    services.start_on_thread(writer(async { Err("disk full".to_owned()) }));
    assert_eq!(services.wait_failed().await.reason, "disk full");
    services.start_on_thread(writer(async { panic!("for the test") }));
    assert_eq!(services.wait_failed().await.reason, "it panicked");
    services.start(writer(async { panic!("for the test") }));
    assert_eq!(services.wait_failed().await.reason, "it panicked");
}

/// Counts its starts, and panics or fails in each.
fn unreliable(restart: ChildKind) -> (Service, Arc<AtomicUsize>) {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let work = move || {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move { if number.is_multiple_of(2) { panic!("for the test") } else { Err("for the test".to_owned()) } }
    };
    (Service::droppable("unreliable", restart, work), starts)
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_is_restarted_by_its_row_until_the_row_stops_the_pod() {
    let (service, starts) = unreliable(ChildKind::Ingress);
    let policy = ChildKind::Ingress.restart_policy();
    let mut services = Services::new();
    services.start(service);
    let failed = services.wait_failed().await;
    assert_eq!(failed.name, "unreliable");
    assert_eq!(starts.load(Ordering::SeqCst), 1 + policy.restarts_max as usize);
}

/// What a subscriber has written.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a service that panics until its row stops the pod.
async fn run_unreliable() {
    let mut services = Services::new();
    services.start(unreliable(ChildKind::Ingress).0);
    services.wait_failed().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_each_restart_are_lines_of_the_log_with_the_name_of_the_service() {
    let buffer = LogBuffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .event_format(JsonLine::new(Arc::new(WallClock)))
        .finish();
    // A thread without a subscriber, that of another test, may be the first to reach an event, which is then disabled
    // for all. So every event is reached once before the subscriber is asked for its interest in them.
    run_unreliable().await;
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    run_unreliable().await;
    drop(guard);
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_service: Vec<&Json> = lines.iter().filter(|line| line["task.name"] == "unreliable").collect();
    let first = of_service.first().unwrap();
    assert_eq!((&first["level"], &first["task.reason"]), (&Json::from("ERROR"), &Json::from("it panicked")), "{text}");
    let restarts = of_service.iter().filter(|line| line["message"] == "background service is restarted").count();
    assert_eq!(restarts, ChildKind::Ingress.restart_policy().restarts_max as usize, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_the_pod_works_without_is_started_again_after_the_cooldown_of_its_row() {
    let (service, starts) = unreliable(ChildKind::Periodic);
    let policy = RestartPolicy {
        mode: RestartMode::Transient,
        restarts_max: 1,
        window: Duration::from_secs(60),
        backoff: Backoff { first: Duration::from_millis(10), max: Duration::from_millis(10) },
        stalled_after: None,
        on_max_restarts: OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) },
    };
    let mut services = Services::new();
    services.start_with(service, policy);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(starts.load(Ordering::SeqCst), 2, "the start and one restart");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(starts.load(Ordering::SeqCst), 4, "the cooldown is over");
    services.stop(Phase::Ingress, WAIT_MAX).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(starts.load(Ordering::SeqCst), 4, "a stopped service is not started again");
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_what_a_pod_works_without_start_it_again_after_their_cooldown() {
    for kind in [ChildKind::Watcher, ChildKind::Periodic, ChildKind::Metrics, ChildKind::ToolServers] {
        let (service, starts) = unreliable(kind);
        let policy = kind.restart_policy();
        let OnMaxRestarts::OpenCircuit { cooldown } = policy.on_max_restarts else { panic!("a cooldown") };
        let round = 1 + policy.restarts_max as usize;
        let mut services = Services::new();
        services.start(service);
        tokio::time::sleep(cooldown).await;
        assert_eq!(starts.load(Ordering::SeqCst), round, "the start and the restarts of {kind:?}");
        tokio::time::sleep(cooldown).await;
        assert_eq!(starts.load(Ordering::SeqCst), 2 * round, "the cooldown of {kind:?} is over");
        services.stop(Phase::Ingress, WAIT_MAX).await;
    }
}

#[tokio::test]
async fn a_service_on_a_thread_ends_when_the_services_are_dropped() {
    let (guard, dropped) = oneshot::channel::<()>();
    let mut services = Services::new();
    let (started_tx, started) = oneshot::channel::<()>();
    services.start_on_thread(writer(async move {
        let _guard = guard;
        let _ = started_tx.send(());
        std::future::pending().await
    }));
    started.await.unwrap();
    drop(services);
    let outcome = tokio::time::timeout(WAIT_MAX, dropped).await.expect("it is dropped in time");
    assert!(outcome.is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_phase_stops_its_own_services_only() {
    let mut services = Services::new();
    let (finish, finished) = oneshot::channel::<()>();
    services.start(Service::droppable("endless", ChildKind::Periodic, std::future::pending));
    services.start(writer(async move { finished.await.map_err(|error| error.to_string()) }));
    services.stop(Phase::Ingress, WAIT_MAX).await;
    assert_eq!(services.running.iter().map(|service| service.name).collect::<Vec<_>>(), ["writer"]);
    finish.send(()).unwrap();
    services.stop(Phase::Stores, WAIT_MAX).await;
    assert!(services.running.is_empty());
}
