//! Handlers that misbehave: each ends with a coded error, its process is killed with everything that it has started, and
//! the next call is served.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use greenroom_client::CallParams;
use greenroom_protocol::{ErrorCode, RunId, WorkflowId};
use serde_json::{Value, json};

use super::fixture::{HandlerPod, Handlers};

const GOOD: &str = "def execute(inputs):\n    return {'result': {'good': True}}\n";
/// Writes to every descriptor that may be the pipe to the host.
const INTO_THE_PIPE: &str = "import os\ndef write(data):\n    for descriptor in range(3, 64):\n        try:\n            \
                             os.write(descriptor, data)\n        except OSError:\n            pass\n";

/// A pod with a good handler, and bad ones with a timeout of these seconds.
async fn start(timeout_s: u32, bad: &[(&str, &str)]) -> Result<HandlerPod> {
    let handlers = Handlers::new()?;
    handlers.write_function("good", 20, GOOD)?;
    for (id, text) in bad {
        handlers.write_function(id, timeout_s, text)?;
    }
    handlers.start(|settings| settings.file_bytes_max = 1024 * 1024).await
}

/// The neighbours of a bad handler do not notice it.
async fn expect_good(pod: &HandlerPod) -> Result<()> {
    assert_eq!(pod.result("good", json!({})).await?, json!({ "good": true }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_loops_is_killed_at_its_timeout_even_in_code_that_never_yields() -> Result<()> {
    let bad = [
        ("loops", "def execute(inputs):\n    open('started', 'w').close()\n    while True:\n        pass\n"),
        ("computes", "def execute(inputs):\n    return {'result': {'sum': sum(range(10**15))}}\n"),
        (
            "ignores",
            "import signal, time\ndef execute(inputs):\n    for number in (15, 2, 1):\n        \
                     signal.signal(number, signal.SIG_IGN)\n    while True:\n        time.sleep(1)\n",
        ),
    ];
    let pod = start(1, &bad).await?;
    for (id, _) in bad {
        let cause = pod.cause(id, json!({})).await?;
        assert_eq!(cause.code, ErrorCode::TimedOut, "{id}: {cause}");
    }
    pod.wait_for_no_process().await?;
    expect_good(&pod).await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_too_much_fails_and_its_neighbours_do_not() -> Result<()> {
    let bad = [
        ("allocates", "def execute(inputs):\n    return {'result': {'bytes': len(bytearray(4 << 30))}}\n"),
        (
            "writes",
            "def execute(inputs):\n    with open('large', 'wb') as file:\n        while True:\n            \
                    file.write(b'x' * 65536)\n",
        ),
        (
            "litters",
            "def execute(inputs):\n    for number in range(10**9):\n        with open(str(number % 1000), 'wb') as file:\n            \
                     file.write(b'x' * 65536)\n",
        ),
        (
            "forks",
            "import os, time\ndef execute(inputs):\n    count = 0\n    try:\n        while True:\n            \
                   if os.fork() == 0:\n                time.sleep(600)\n            count += 1\n    except OSError as error:\n        \
                   return {'result': {'count': count, 'error': error.errno}}\n",
        ),
    ];
    let pod = start(60, &bad).await?;
    let cause = pod.cause("allocates", json!({})).await?;
    assert_eq!((cause.code, &cause.details["exception"]), (ErrorCode::HandlerFailed, &json!("MemoryError")), "{cause}");
    let cause = pod.cause("writes", json!({})).await?;
    assert_eq!((cause.code, &cause.details["exception"]), (ErrorCode::HandlerFailed, &json!("OSError")), "{cause}");
    assert!(cause.message.contains("File too large"), "{cause}");
    let cause = pod.cause("litters", json!({})).await?;
    assert!(cause.code == ErrorCode::HandlerFailed && cause.message.contains("has written more than"), "{cause}");
    let forked = pod.result("forks", json!({})).await?;
    assert!(forked["count"].as_u64().is_some_and(|count| count < 32), "{forked}");
    expect_good(&pod).await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_in_folders_end_a_handler_and_are_removed_however_deep_they_are() -> Result<()> {
    let nest = "import os, time\ndef nest():\n    for _ in range(3000):\n        os.mkdir('deeper')\n        os.chdir('deeper')\n";
    let waits = format!("{nest}def execute(inputs):\n    nest()\n    time.sleep(600)\n");
    let returns = format!("{nest}def execute(inputs):\n    nest()\n    return {{'result': {{'nested': True}}}}\n");
    let pod = start(60, &[("waits", waits.as_str()), ("returns", returns.as_str())]).await?;
    let cause = pod.cause("waits", json!({})).await?;
    assert!(cause.code == ErrorCode::HandlerFailed && cause.message.contains("cannot be counted"), "{cause}");
    // It may be found before it returns.
    let reply = pod.call("returns", json!({})).await?;
    assert!(reply.error.is_none_or(|cause| cause.code == ErrorCode::HandlerFailed));
    pod.wait_for_no_process().await?;
    expect_good(&pod).await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_prints_never_gets_into_the_frames() -> Result<()> {
    let bad = [(
        "prints",
        "import os, sys\ndef execute(inputs):\n    print('plain')\n    sys.stdout.buffer.write(bytes(range(256)) * 4096)\n    \
         os.write(1, b'\\x00\\x00\\x00\\x02{}')\n    os.write(2, b'\\xff' * 65536)\n    return {'result': {'read': os.read(0, 10).decode()}}\n",
    )];
    let pod = start(20, &bad).await?;
    for _ in 0..2 {
        assert_eq!(pod.result("prints", json!({})).await?, json!({ "read": "" }), "it has no input");
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_or_sends_what_is_no_frame_is_replaced() -> Result<()> {
    let text = |body: &str| format!("{INTO_THE_PIPE}{body}");
    let half = text("def execute(inputs):\n    write(b'\\x00\\x00\\x01\\x00{\"type\":')\n    os._exit(3)\n");
    let large =
        text("def execute(inputs):\n    write(b'\\xff\\xff\\xff\\xff')\n    import time\n    time.sleep(600)\n");
    let binary = text(
        "def execute(inputs):\n    write(b'\\x00\\x00\\x00\\x04\\xde\\xad\\xbe\\xef')\n    import time\n    time.sleep(600)\n",
    );
    let forged = text(
        "def execute(inputs):\n    data = b'{\"type\":\"ready\",\"in_effect\":[]}'\n    \
                       write(len(data).to_bytes(4, 'big') + data)\n    import time\n    time.sleep(600)\n",
    );
    let killed = "import os\ndef execute(inputs):\n    os.kill(os.getpid(), 9)\n";
    let bad = [
        ("half", half.as_str()),
        ("large", large.as_str()),
        ("binary", binary.as_str()),
        ("forged", forged.as_str()),
        ("killed", killed),
    ];
    let pod = start(60, &bad).await?;
    for (id, _) in bad {
        let cause = pod.cause(id, json!({})).await?;
        assert_eq!(cause.code, ErrorCode::AgentCrashed, "{id}: {cause}");
        expect_good(&pod).await?;
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_an_error_with_the_last_lines_of_its_traceback() -> Result<()> {
    let bad = [
        (
            "raises",
            "def inner(value):\n    raise ValueError(f'no {value}')\n\ndef execute(inputs):\n    print('before')\n    inner('sense')\n",
        ),
        ("exits", "import sys\ndef execute(inputs):\n    sys.exit('enough')\n"),
        ("returns", "def execute(inputs):\n    return ['a list']\n"),
        ("infinite", "def execute(inputs):\n    return {'result': {'number': float('inf')}}\n"),
        ("huge", "def execute(inputs):\n    return {'result': {'number': 2 ** 64}}\n"),
        ("broken", "def execute(inputs)\n    return {}\n"),
        ("nameless", "def other(inputs):\n    return {}\n"),
        ("incomplete", "def execute(inputs):\n    return {'unknown': 1}\n"),
    ];
    let pod = start(20, &bad).await?;
    let cause = pod.cause("raises", json!({})).await?;
    assert_eq!(cause.code, ErrorCode::HandlerFailed);
    assert_eq!(cause.message, "raises.execute raised ValueError: no sense");
    let lines = cause.details["traceback"].as_array().context("lines")?;
    assert_eq!(lines.len(), 2, "only frames of the handler: {lines:?}");
    assert!(lines[1].as_str().is_some_and(|line| line.contains("raises.py:2 in inner: raise ValueError")), "{lines:?}");
    for (id, code, words) in [
        ("exits", ErrorCode::HandlerFailed, "SystemExit: enough"),
        ("returns", ErrorCode::HandlerFailed, "returned list instead of a dict"),
        ("infinite", ErrorCode::HandlerFailed, "outputs of the handler cannot be sent"),
        ("huge", ErrorCode::HandlerFailed, "an integer has 65 bits, the limit is 64"),
        ("broken", ErrorCode::HandlerFailed, "SyntaxError"),
        ("nameless", ErrorCode::HandlerFailed, "has no function execute"),
        ("incomplete", ErrorCode::InvalidOutput, "result"),
    ] {
        let cause = pod.cause(id, json!({})).await?;
        assert!(cause.code == code && format!("{cause} {}", cause.details).contains(words), "{id}: {cause:?}");
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_has_no_secrets_no_files_of_the_machine_and_no_rights() -> Result<()> {
    let looks = "import ctypes, os\ndef attempt(path):\n    try:\n        open(path, 'rb').close()\n        return 'opened'\n    \
                 except OSError as error:\n        return type(error).__name__\n\
                 def execute(inputs):\n    paths = ['/etc/passwd', '/etc/shadow', '/proc/1/environ', '/proc/self/environ', inputs['value']['own']]\n    \
                 libc = ctypes.CDLL(None, use_errno=True)\n    \
                 return {'result': {'names': sorted(os.environ), 'files': [attempt(path) for path in paths], 'cwd': os.listdir(),\n        \
                 'unshare': libc.unshare(0x10000000)}}\n";
    let pod = start(20, &[("looks", looks)]).await?;
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let result = pod.result("looks", json!({ "own": own })).await?;
    let names: BTreeSet<&str> = result["names"].as_array().context("names")?.iter().filter_map(Value::as_str).collect();
    assert_eq!(names, BTreeSet::from(["HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "TMPDIR"]));
    let denied = json!(vec!["PermissionError"; 5]);
    assert_eq!(result["files"], denied);
    assert_eq!((&result["cwd"], &result["unshare"]), (&json!([]), &json!(-1)));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_has_the_network_only_if_its_own_definition_names_the_policy() -> Result<()> {
    let connects = "import socket\ndef execute(inputs):\n    try:\n        \
                    socket.create_connection(('127.0.0.1', inputs['value']['port']), 5).close()\n        return {'result': {'connected': True}}\n    \
                    except OSError as error:\n        return {'result': {'connected': False, 'error': type(error).__name__}}\n";
    let local = "import socket\ndef execute(inputs):\n    try:\n        socket.socket(socket.AF_UNIX)\n        return {'result': {'opened': True}}\n    \
                 except OSError:\n        return {'result': {'opened': False}}\n";
    let handlers = Handlers::new()?;
    handlers.write("connects.py", connects)?;
    handlers.write("local.py", local)?;
    handlers.write_agent("offline", "connects.execute", 20, "")?;
    handlers.write_agent("online", "connects.execute", 20, "policies: [allow_network]\n")?;
    handlers.write_agent("local", "local.execute", 20, "policies: [allow_network]\n")?;
    let pod = handlers.start(|_| {}).await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = json!({ "port": listener.local_addr()?.port() });
    assert_eq!(pod.result("offline", port.clone()).await?["connected"], false);
    assert_eq!(pod.result("online", port).await?, json!({ "connected": true }));
    let opened = pod.result("local", json!({})).await?;
    assert_eq!(opened["opened"], false, "a local socket could be that of the pod");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_kills_the_process_and_its_folder_is_removed() -> Result<()> {
    let handlers = Handlers::new()?;
    let waits = "import time\ndef execute(inputs):\n    open('started', 'w').close()\n    time.sleep(600)\n";
    handlers.write_function("waits", 600, waits)?;
    let flow = "workflow_id: waiting_flow\nname: Flow\ndescription: One step\nversion: \"1.0.0\"\n\
                steps:\n  - id: work\n    agent: waits\n    outputs: [result]\n";
    handlers.definitions.write_workflow("waiting_flow", flow)?;
    let pod = handlers.start(|_| {}).await?;
    let client = pod.client()?;
    let params = CallParams { detach: true, ..CallParams::default() };
    let started = client.run_workflow(WorkflowId::new("waiting_flow")?, params).await?;
    pod.wait_for_file("started").await?;
    client.cancel(RunId::new(started.id)?).await?;
    pod.wait_for_no_process().await?;
    pod.shutdown().await;
    Ok(())
}
