//! Handlers in Python, in a whole pod: the file of the client as it was written, what a handler may rely on, and the calls
//! of its host. What a bad one does is in `python_runtime/bad_handlers.rs`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_client::CallParams;
use greenroom_protocol::{AgentId, ErrorCode, Json, Status};
use serde_json::json;

use self::fixture::Handlers;

mod bad_handlers;
mod fixture;
mod host_calls;

const CLIENT_AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../definitions/tests/fixtures/client_agent.yaml");
/// Counts the calls of its process.
const COUNTING: &str = "calls = 0\ndef execute(inputs, context):\n    global calls\n    calls += 1\n    \
                        return {'result': {'calls': calls}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_agent_file_is_executed_as_it_was_written() -> Result<()> {
    let handlers = Handlers::new()?;
    for id in ["meeting_notes_agent", "action_tracker_agent"] {
        handlers.definitions.write_echo_agent(id)?;
    }
    let agents = handlers.definitions.dir().join("agents/business_ops");
    fs::copy(CLIENT_AGENT, agents.join("executive_summary_agent_001.yaml"))?;
    handlers.write(
        "agents/business_ops/executive_summary.py",
        "def execute(inputs, context):\n    document = inputs['document']\n    \
         points = [part.strip() for part in document.split('.') if part.strip()]\n    \
         return {'summary': document[: inputs['max_length']], 'key_points': points}\n",
    )?;
    let pod = handlers.start(|_| {}).await?;
    let params = CallParams {
        inputs: [("document".to_owned(), Json::from("Revenue grew. Costs were flat."))].into(),
        ..CallParams::default()
    };
    let reply = pod.client()?.run_agent(AgentId::new("executive_summary_agent")?, params).await?;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["summary"], "Revenue grew. Costs were flat.");
    assert_eq!(reply.outputs["key_points"], json!(["Revenue grew", "Costs were flat"]));
    assert_eq!((reply.metadata.model.as_deref(), reply.metadata.tokens_used.input), (Some("native"), 0));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_called_with_what_it_takes_synchronously_or_not() -> Result<()> {
    let handlers = Handlers::new()?;
    let functions = [
        ("inputs_only", "def execute(inputs):\n    return {'result': inputs['value']}\n"),
        (
            "two",
            "def execute(inputs, context):\n    return {'result': {'value': inputs['value'], 'context': context}}\n",
        ),
        (
            "third",
            "def execute(inputs, context, host):\n    return {'result': {'agent': host.agent, 'key': bool(host.key)}}\n",
        ),
        (
            "named",
            "def execute(inputs, *, ctx):\n    return {'result': {'agent': ctx.agent, 'left': ctx.timeout > 1}}\n",
        ),
        (
            "awaiting",
            "import asyncio\nasync def execute(inputs, context):\n    await asyncio.sleep(0.01)\n    \
                      return {'result': {'done': True}}\n",
        ),
        (
            "current",
            "import greenroom\ndef execute(inputs, context):\n    return {'result': {'agent': greenroom.current().agent}}\n",
        ),
    ];
    for (id, text) in functions {
        handlers.write_function(id, 20, text)?;
    }
    let pod = handlers.start(|_| {}).await?;
    let value = json!({ "text": "ä€😀", "number": 1.5, "none": null, "list": [1, { "deep": true }] });
    assert_eq!(pod.result("inputs_only", value.clone()).await?, value);
    assert_eq!(pod.result("two", json!({})).await?, json!({ "value": {}, "context": {} }));
    assert_eq!(pod.result("third", json!({})).await?, json!({ "agent": "third", "key": true }));
    assert_eq!(pod.result("named", json!({})).await?, json!({ "agent": "named", "left": true }));
    assert_eq!(pod.result("awaiting", json!({})).await?, json!({ "done": true }));
    assert_eq!(pod.result("current", json!({})).await?, json!({ "agent": "current" }));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_reused_until_it_has_served_enough_and_a_changed_module_is_read_again() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write_function("counting", 20, COUNTING)?;
    let module = handlers.path("counting.py");
    let pod = handlers.start(|settings| settings.worker_calls_max = 3).await?;
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(pod.result("counting", json!({})).await?["calls"].clone());
    }
    assert_eq!(counts, [1, 2, 3, 1], "the fourth call has a new process");
    let changed = COUNTING.replace("'calls': calls", "'calls': 'changed'");
    fs::write(&module, changed)?;
    let file = fs::File::options().append(true).open(&module)?;
    file.set_modified(file.metadata()?.modified()? + Duration::from_secs(2))?;
    assert_eq!(pod.result("counting", json!({})).await?["calls"], "changed");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_too_old_serves_no_call() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write_function("counting", 20, COUNTING)?;
    let pod = handlers.start(|settings| settings.worker_age_max = Duration::ZERO).await?;
    for _ in 0..2 {
        assert_eq!(pod.result("counting", json!({})).await?["calls"], 1);
    }
    pod.wait_for_no_process().await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_wait_for_a_process_and_each_is_served() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write_function("counting", 60, COUNTING)?;
    let pod = handlers.start(|settings| settings.workers_max = 1).await?;
    let calls = futures::future::try_join_all((0..20).map(|_| pod.result("counting", json!({})))).await?;
    let mut counts: Vec<u64> = calls.iter().filter_map(|result| result["calls"].as_u64()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=20).collect::<Vec<_>>(), "one process has served all of them");
    pod.shutdown().await;
    Ok(())
}

/// Writes a package as a wheel, by Python itself.
fn write_wheel(folder: &Path) -> Result<()> {
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1] + '/stage_words-1.0-py3-none-any.whl', 'w') as wheel:\n\
        \x20   wheel.writestr('stage_words.py', 'WORD = \"curtain\"\\n')\n\
        \x20   info = 'stage_words-1.0.dist-info/'\n\
        \x20   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: stage-words\\nVersion: 1.0\\n')\n\
        \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \x20   wheel.writestr(info + 'RECORD', '')\n";
    ensure!(Command::new("python3").arg("-c").arg(script).arg(folder).status()?.success(), "no wheel was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_the_requirements_are_installed_and_imported() -> Result<()> {
    let handlers = Handlers::new()?;
    write_wheel(&handlers.path(""))?;
    handlers.write("requirements.txt", "--no-index\n--find-links .\nstage-words==1.0\n")?;
    handlers.write_function(
        "importing",
        120,
        "import stage_words\ndef execute(inputs):\n    return {'result': {'word': stage_words.WORD}}\n",
    )?;
    let pod = handlers.start(|_| {}).await?;
    assert_eq!(pod.result("importing", json!({})).await?, json!({ "word": "curtain" }));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_nothing_is_executed() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write_function("present", 20, COUNTING)?;
    handlers.write_agent("absent", "agents.absent.execute", 20, "")?;
    let expected = handlers.path("agents/absent.py").display().to_string();
    let pod = handlers.start(|settings| settings.interpreter = "/no/such/python3".into()).await?;
    let cause = pod.cause("absent", json!({})).await?;
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains(&expected), "{cause}");
    let cause = pod.cause("present", json!({})).await?;
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.message.contains("/no/such/python3") && cause.message.contains("apt-get install python3"), "{cause}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_cannot_be_installed_are_an_error_of_each_call() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write("requirements.txt", "--no-index\nno-such-package==9\n")?;
    handlers.write_function("counting", 120, COUNTING)?;
    let pod = handlers.start(|_| {}).await?;
    let cause = pod.cause("counting", json!({})).await?;
    assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
    assert!(cause.details["output"].as_str().context("the output")?.contains("no-such-package"), "{cause:?}");
    pod.shutdown().await;
    Ok(())
}
