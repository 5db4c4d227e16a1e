//! Real processes of Python below the runtime: how one is started, serves calls and ends, and which one is reused.

use std::sync::Mutex;

use greenroom_protocol::TenantId;
use serde_json::{Value, json};

use super::environment::Environment;
use super::messages::WorkerMessage;
use super::settings::IsolationMode;
use super::*;

const ECHO: &str = "def execute(inputs, context):\n    return {'inputs': inputs, 'context': context}\n";

fn settings(root: &Path) -> Settings {
    Settings {
        handlers: root.join("handlers"),
        interpreter: "python3".into(),
        requirements: None,
        folder: root.join("python"),
        workers_max: 2,
        worker_calls_max: 100,
        worker_age_max: Duration::from_secs(600),
        memory_mib: 256,
        processes_max: 16,
        file_bytes_max: 1024 * 1024,
        isolation: IsolationMode::BestEffort,
        cgroup: None,
    }
}

/// A folder with one module `echo`.
fn folder(text: &str) -> (tempfile::TempDir, Settings) {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    std::fs::create_dir_all(&settings.handlers).unwrap();
    std::fs::write(settings.handlers.join("echo.py"), text).unwrap();
    (root, settings)
}

async fn environment(settings: &Settings) -> Arc<Environment> {
    SharedEnvironment::default().get(settings).await.unwrap()
}

async fn start(environment: &Arc<Environment>, settings: &Settings, number: u64) -> Worker {
    let handler = PythonHandler::parse("echo.execute").unwrap();
    let args = WorkerArgs { handler: &handler, memory_mib: 256, network: false, number };
    Worker::start(environment, settings, args).await.unwrap()
}

/// Sends a call, and returns the next message and what was printed before it.
async fn call(worker: &mut Worker, inputs: Value) -> (Result<WorkerMessage, WorkerError>, Tail) {
    let execution = json!({ "agent": "a", "key": "k", "timeout": 5.0 });
    let frame = json!({ "type": "call", "inputs": inputs, "context": { "quarter": "Q4" }, "execution": execution });
    worker.send(&frames::encode(&frame).unwrap()).await.unwrap();
    let mut output = Tail::default();
    let message = worker.receive(&mut output).await;
    (message, output)
}

fn key(tenant: &str, function: &str) -> WorkerKey {
    WorkerKey {
        tenant: TenantId::new(tenant).unwrap(),
        handler: PythonHandler::parse(&format!("echo.{function}")).unwrap(),
        changed_at: None,
        memory_mib: 256,
        network: false,
    }
}

#[derive(Default)]
struct Stops(Mutex<Vec<StopReason>>);

impl WorkerObserver for Stops {
    fn on_start(&self, _: Duration) {}
    fn on_stop(&self, reason: StopReason) {
        self.0.lock().unwrap().push(reason);
    }
}

#[tokio::test]
async fn a_process_serves_calls_one_after_the_other_and_its_folder_ends_with_it() {
    let (_root, settings) = folder(ECHO);
    let mut worker = start(&environment(&settings).await, &settings, 1).await;
    for number in 0..3 {
        let (message, output) = call(&mut worker, json!({ "number": number })).await;
        let Ok(WorkerMessage::Done { outputs, retire: None }) = message else { panic!("{message:?} {output:?}") };
        assert_eq!(outputs["inputs"], json!({ "number": number }));
        assert_eq!(outputs["context"], json!({ "quarter": "Q4" }));
    }
    let workers = settings.folder.join("workers");
    assert_eq!(std::fs::read_dir(&workers).unwrap().count(), 1);
    assert!(worker.is_alive());
    drop(worker);
    assert_eq!(std::fs::read_dir(&workers).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_call_leaves_is_removed_or_the_process_is_retired() {
    let text = "import os, threading, time\ndef execute(inputs):\n    found = sorted(os.listdir()) + sorted(set(os.environ) - {'HOME', 'LANG', 'MALLOC_ARENA_MAX', 'PATH', 'TMPDIR'})\n    \
                os.makedirs('left/deep')\n    open('left/deep/file', 'w').close()\n    os.environ['LEFT'] = '1'\n    os.chdir('left')\n    \
                if inputs.get('thread'):\n        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n    return {'found': found}\n";
    let (_root, settings) = folder(text);
    let mut worker = start(&environment(&settings).await, &settings, 1).await;
    for _ in 0..2 {
        let (message, output) = call(&mut worker, json!({})).await;
        let Ok(WorkerMessage::Done { outputs, retire: None }) = message else { panic!("{message:?} {output:?}") };
        assert_eq!(outputs["found"], json!([]));
    }
    let (message, output) = call(&mut worker, json!({ "thread": true })).await;
    let Ok(WorkerMessage::Done { retire: Some(reason), .. }) = message else { panic!("{message:?} {output:?}") };
    assert_eq!(reason, "threads");
}

#[tokio::test]
async fn a_process_that_ends_during_a_call_leaves_what_it_has_printed() {
    let text = "import os, sys\ndef execute(inputs):\n    print('the last words', flush=True)\n    os._exit(7)\n";
    let (_root, settings) = folder(text);
    let mut worker = start(&environment(&settings).await, &settings, 1).await;
    let (message, mut output) = call(&mut worker, json!({})).await;
    assert!(matches!(message, Err(WorkerError::Frame(FrameError::Closed))), "{message:?}");
    assert!(worker.read_rest(&mut output).await.is_some(), "it has ended");
    assert_eq!(output.text(), "the last words");
    assert!(!worker.is_alive());
}

#[tokio::test]
async fn a_required_isolation_is_there_or_the_error_names_what_is_missing() {
    let (_root, settings) = folder(ECHO);
    let settings = Settings { isolation: IsolationMode::Required, ..settings };
    let environment = environment(&settings).await;
    let handler = PythonHandler::parse("echo.execute").unwrap();
    let args = WorkerArgs { handler: &handler, memory_mib: 256, network: false, number: 1 };
    match Worker::start(&environment, &settings, args).await {
        Ok(_) => assert!(environment.isolation.has_namespaces),
        Err(cause) => {
            assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
            assert!(cause.message.contains("it lacks "), "{cause}");
        }
    }
}

#[tokio::test]
async fn a_folder_of_handlers_that_does_not_exist_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let cause = PythonRuntime::new(settings(root.path()), Arc::new(events::NoObserver)).prepare().await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains(&root.path().join("handlers").display().to_string()), "{cause}");
}

#[tokio::test]
async fn a_process_is_reused_by_its_handler_and_its_tenant_only() {
    let (_root, settings) = folder(ECHO);
    let stops = Arc::new(Stops::default());
    let (environment, pool) = (environment(&settings).await, Pool::new(&settings, stops.clone()));
    assert!(pool.take(&key("acme", "execute")).is_none());
    pool.busy(start(&environment, &settings, 1).await).release(key("acme", "execute"));
    for other in
        [key("other", "execute"), key("acme", "another"), WorkerKey { network: true, ..key("acme", "execute") }]
    {
        assert!(pool.take(&other).is_none(), "{other:?}");
    }
    let mut reused = pool.take(&key("acme", "execute")).unwrap();
    assert_eq!(reused.worker().unwrap().calls, 1);
    assert!(pool.take(&key("acme", "execute")).is_none(), "it is busy");
    drop(reused);
    assert_eq!(*stops.0.lock().unwrap(), [StopReason::Cancelled], "a call that is dropped ends its process");
}

#[tokio::test]
async fn the_process_that_was_not_used_for_longest_is_ended_and_one_that_has_served_enough() {
    let (_root, settings) = folder(ECHO);
    let settings = Settings { workers_max: 1, worker_calls_max: 2, ..settings };
    let stops = Arc::new(Stops::default());
    let (environment, pool) = (environment(&settings).await, Pool::new(&settings, stops.clone()));
    pool.busy(start(&environment, &settings, 1).await).release(key("acme", "execute"));
    pool.busy(start(&environment, &settings, 2).await).release(key("other", "execute"));
    assert!(pool.take(&key("acme", "execute")).is_none());
    pool.take(&key("other", "execute")).unwrap().release(key("other", "execute"));
    assert!(pool.take(&key("other", "execute")).is_none(), "it has served two calls");
    drop(pool);
    assert_eq!(*stops.0.lock().unwrap(), [StopReason::Unused, StopReason::Recycled]);
}

#[tokio::test]
async fn a_deeper_execution_begins_while_those_above_it_wait() {
    let (_root, settings) = folder(ECHO);
    let pool = Pool::new(&Settings { workers_max: 1, ..settings }, Arc::new(events::NoObserver));
    let first = pool.admit(1).await.unwrap();
    let deeper = tokio::time::timeout(Duration::from_secs(10), pool.admit(2)).await;
    assert!(deeper.is_ok(), "an execution that waits for another agent does not keep it from beginning");
    assert!(tokio::time::timeout(Duration::from_millis(1), pool.admit(1)).await.is_err());
    drop(first);
    assert!(pool.admit(1).await.is_some());
}
