//! Real processes of Python below the runtime: how one is started, serves calls and ends, and which one is reused.

use std::sync::Mutex;

use greenroom_protocol::TenantId;
use serde_json::{Value, json};

use super::environment::Environment;
use super::isolation::Isolation;
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
    let execution = json!({ "agent": "a", "key": "k", "timeout": 5.0, "number": 1 });
    let frame = json!({ "type": "call", "inputs": inputs, "context": { "quarter": "Q4" }, "execution": execution });
    let mut output = Tail::default();
    worker.send(&frames::encode(&frame).unwrap(), &mut output).await.unwrap();
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
        let Ok(WorkerMessage::Done { execution: 1, outputs, retire: None }) = message else {
            panic!("{message:?} {output:?}")
        };
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
        let Ok(WorkerMessage::Done { execution: 1, outputs, retire: None }) = message else {
            panic!("{message:?} {output:?}")
        };
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
    worker.read_rest(&mut output).await;
    assert_eq!(output.text(), "the last words\n\n(the process has ended with the exit code 7)");
    assert!(!worker.is_alive());
}

#[tokio::test]
async fn a_handler_gets_neither_at_other_processes_nor_around_its_limits() {
    // Some calls have no function in Python; the numbers are those of x86-64.
    let text = "import ctypes, errno, os, resource, socket\nlibc = ctypes.CDLL(None, use_errno=True)\n\
                def attempt(call):\n    try:\n        call()\n        return 'done'\n    except OSError as error:\n        \
                return errno.errorcode[error.errno]\n\
                def system(*numbers):\n    if libc.syscall(*map(ctypes.c_long, numbers)) < 0:\n        \
                raise OSError(ctypes.get_errno(), '')\n\
                def execute(inputs):\n    pod = inputs['pod']\n    return {\n        \
                'signal': attempt(lambda: os.kill(pod, 0)), 'parent': attempt(lambda: os.kill(os.getppid(), 9)),\n        \
                'own': attempt(lambda: os.kill(os.getpid(), 0)),\n        \
                'limits': attempt(lambda: resource.prlimit(pod, resource.RLIMIT_CPU)),\n        \
                'memory': attempt(lambda: os.memfd_create('a')),\n        \
                'datagrams': attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),\n        \
                'streams': attempt(socket.socketpair),\n        \
                'descriptors': attempt(lambda: system(438, 0, 0, 0)),\n        \
                'clone': attempt(lambda: system(56, 0x10000011, 0, 0, 0, 0)),\n        \
                'clone3': attempt(lambda: system(435, 0, 0)), 'terminal': attempt(lambda: system(16, 0, 0x5412, 0)),\n    }\n";
    let (_root, settings) = folder(text);
    let mut environment = environment(&settings).await;
    for has_namespaces in [environment.isolation.has_namespaces, false] {
        let isolation = Isolation { has_namespaces, counts_processes: false, ..environment.isolation.clone() };
        Arc::get_mut(&mut environment).unwrap().isolation = isolation;
        let mut worker = start(&environment, &settings, u64::from(has_namespaces)).await;
        let (message, output) = call(&mut worker, json!({ "pod": std::process::id() })).await;
        let Ok(WorkerMessage::Done { outputs, .. }) = message else { panic!("{message:?} {output:?}") };
        assert_eq!((&outputs["own"], &outputs["streams"]), (&json!("done"), &json!("done")), "{outputs:?}");
        for denied in ["signal", "limits", "memory", "datagrams"] {
            assert_ne!(outputs[denied], "done", "{denied} {has_namespaces} {outputs:?}");
        }
        // In a namespace the parent is its first process, which the kernel protects.
        assert!(has_namespaces || outputs["parent"] == "EACCES", "{outputs:?}");
        if cfg!(target_arch = "x86_64") {
            let results = ["descriptors", "clone", "clone3", "terminal"].map(|call| outputs[call].clone());
            assert_eq!(results, ["EACCES", "EACCES", "ENOSYS", "EACCES"].map(Value::from));
        }
        drop(worker);
    }
}

#[tokio::test]
async fn an_output_that_the_host_cannot_read_is_an_exception_and_the_process_serves_on() {
    let text = "def execute(inputs):\n    deep = []\n    for _ in range(200):\n        deep = [deep]\n    \
                return {'value': [deep, 2 ** 64, '\\ud800', [[]] * 600_000, -2 ** 63][inputs['number']]}\n";
    let (_root, settings) = folder(text);
    let mut worker = start(&environment(&settings).await, &settings, 1).await;
    for (number, words) in
        ["nested deeper", "65 bits", "surrogates", "more than 1000000 values"].into_iter().enumerate()
    {
        let (message, output) = call(&mut worker, json!({ "number": number })).await;
        let Ok(WorkerMessage::Failed(failure)) = message else { panic!("{message:?} {output:?}") };
        assert!(failure.is_definite && failure.message.contains(words), "{failure:?}");
    }
    let (message, output) = call(&mut worker, json!({ "number": 4 })).await;
    let Ok(WorkerMessage::Done { outputs, .. }) = message else { panic!("{message:?} {output:?}") };
    assert_eq!(outputs["value"], json!(i64::MIN));
}

#[tokio::test]
async fn a_call_of_an_execution_that_has_ended_is_refused_in_the_process_and_an_interrupted_one_retires_it() {
    let text = "import signal\nended = []\ndef late(*_):\n    raise TimeoutError('late')\n\
                def execute(inputs, context, ctx):\n    try:\n        if ended:\n            ended[0].log('late')\n    \
                except RuntimeError as error:\n        return {'problem': str(error)}\n    ended.append(ctx)\n    \
                signal.signal(signal.SIGALRM, late)\n    signal.setitimer(signal.ITIMER_REAL, 0.1)\n    try:\n        \
                ctx.log('waiting')\n    except TimeoutError:\n        pass\n    try:\n        ctx.log('again')\n    \
                except RuntimeError as error:\n        return {'problem': str(error)}\n";
    let (_root, settings) = folder(text);
    let mut worker = start(&environment(&settings).await, &settings, 1).await;
    let (message, output) = call(&mut worker, json!({})).await;
    assert!(matches!(message, Ok(WorkerMessage::HostCall { execution: 1, number: 1, .. })), "{message:?} {output:?}");
    // Without a reply, the alarm interrupts the call.
    let message = worker.receive(&mut Tail::default()).await;
    let Ok(WorkerMessage::Done { outputs, retire: Some(reason), .. }) = message else { panic!("{message:?}") };
    assert!(outputs["problem"].as_str().unwrap().contains("interrupted"), "{outputs:?}");
    assert_eq!(reason, "interrupted");
    let (message, output) = call(&mut worker, json!({})).await;
    let Ok(WorkerMessage::Done { outputs, .. }) = message else { panic!("{message:?} {output:?}") };
    assert!(outputs["problem"].as_str().unwrap().contains("has ended"), "{outputs:?}");
}

#[tokio::test]
async fn handlers_in_a_folder_with_the_data_directory_are_refused() {
    let (root, settings) = folder(ECHO);
    let settings = Settings { handlers: root.path().to_owned(), ..settings };
    let cause = SharedEnvironment::default().get(&settings).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains("`runtimes.python.handlers`") && cause.message.contains("contains"), "{cause}");
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
