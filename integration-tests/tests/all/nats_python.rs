//! A client that is not ours finds, inspects and calls everything: nats-py, from what docs/nats.md states. The program
//! `integration-tests/python/nats_calls.py` prints what has arrived; these tests judge it.

mod documented;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;

/// The variable with the Python that has the packages of the tests.
const PYTHON_VARIABLE: &str = "GREENROOM_TEST_PYTHON";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/nats_calls.py");
const KEY: &str = "planted-key-of-python";
const USERS: &str = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\npermissions = { pii_access = true }\n\
                     api_key = \"planted-key-of-python\"\n";
/// The chunks and the bytes of the value that no message holds.
const CHUNKS: usize = 4;
const LARGE_BYTES: u64 = 2 * 1024 * 1024;

/// Writes the definitions that the program calls.
fn write_definitions(fixture: &ModelFixture) -> Result<()> {
    let definitions = &fixture.definitions;
    definitions.write_echo_agent("echo_agent")?;
    definitions.write_row_workflow("row", "echo_agent", 2)?;
    definitions.write_signed_workflow()?;
    definitions.write_letters_team()?;
    fixture.write_llm_agent("llm_agent", 60, 200)?;
    // The agent of the document, with the input that its command has.
    fixture.write_llm_agent("executive_summary_agent", 60, 200)?;
    let path = definitions.dir().join("agents/business_ops/executive_summary_agent.yaml");
    let text = std::fs::read_to_string(&path)?;
    let text = text.replacen("  - name: text\n", "  - name: document\n", 1).replace("inputs.text", "inputs.document");
    Ok(std::fs::write(path, text)?)
}

/// Starts a server and a pod, lets the program call them, and returns what has arrived.
async fn call_everything() -> Result<Json> {
    let python = std::env::var(PYTHON_VARIABLE).with_context(|| {
        format!("{PYTHON_VARIABLE} names no Python with the packages of the tests; `scripts/test` installs it")
    })?;
    let model = ScriptServer::start(|request| match request.body.to_string().contains("hold") {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    })
    .await?;
    let server = NatsServer::start().await?;
    let mut fixture = ModelFixture::with_openai(model.url())?;
    server.configure(&mut fixture.terminal)?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    write_definitions(&fixture)?;
    let (pod, _) = fixture.up().await?;
    pod.wait_for_output("greenroom is up").await?;
    let url = server.url();
    let arguments = [PROGRAM, "--server", &url, "--key", KEY];
    let output = fixture.terminal.start_program(Path::new(&python), &arguments)?.wait().await?;
    output.expect_success().with_context(|| pod.err())
}

/// What the report has under this path.
fn part_of<'a>(report: &'a Json, path: &str) -> Result<&'a Json> {
    report.pointer(path).with_context(|| format!("{path} is missing in {report:#}"))
}

/// Fails unless each reply below this name is a success without the headers of an error.
fn expect_successes(report: &Json, path: &str) -> Result<()> {
    let replies = part_of(report, path)?.as_object().context("an object of replies")?;
    for (name, reply) in replies.iter().filter(|(_, reply)| reply.get("headers").is_some()) {
        ensure!(reply["headers"]["Greenroom-Version"] == "1", "{name}: {reply:#}");
        ensure!(reply["headers"].get("Nats-Service-Error-Code").is_none(), "{name}: {reply:#}");
        ensure!(reply["body"]["status"] == "success" && reply["body"]["error"].is_null(), "{name}: {reply:#}");
    }
    Ok(())
}

/// Fails unless the reply has this code, in its body and in its headers.
fn expect_error(reply: &Json, code: &str, status: &str) -> Result<()> {
    let found = (&reply["body"]["error"]["code"], &reply["headers"]["Greenroom-Code"]);
    ensure!(found.0 == code && found.1 == code, "{code}: {reply:#}");
    ensure!(reply["headers"]["Nats-Service-Error-Code"] == status, "{code}: {reply:#}");
    let message = reply["headers"]["Nats-Service-Error"].as_str().unwrap_or_default();
    ensure!(!message.is_empty(), "{code}: {reply:#}");
    Ok(())
}

fn kinds(frames: &Json) -> Vec<&str> {
    frames.as_array().into_iter().flatten().filter_map(|frame| frame["frame"].as_str()).collect()
}

fn expect_service(report: &Json) -> Result<()> {
    let service = part_of(report, "/service")?;
    let [ping] = service["ping"].as_array().context("instances")?.as_slice() else {
        anyhow::bail!("one instance: {service:#}")
    };
    ensure!(ping["type"] == "io.nats.micro.v1.ping_response" && ping["name"] == "greenroom", "{ping:#}");
    let [info] = service["info"].as_array().context("documents")?.as_slice() else {
        anyhow::bail!("one document: {service:#}")
    };
    ensure!(info["type"] == "io.nats.micro.v1.info_response" && info["id"] == ping["id"], "{info:#}");
    ensure!(service["of_instances"][0] == *info, "an instance is found by its id");
    for endpoint in info["endpoints"].as_array().context("endpoints")? {
        for schema in ["request_schema", "response_schema"] {
            let text = endpoint["metadata"][schema].as_str().with_context(|| format!("{schema}: {endpoint:#}"))?;
            let schema: Json = serde_json::from_str(text)?;
            ensure!(schema.is_object() || schema.is_boolean(), "{endpoint:#}");
        }
    }
    let stats = part_of(report, "/stats/0")?;
    ensure!(stats["type"] == "io.nats.micro.v1.stats_response", "{stats:#}");
    let counted = |name: &str| {
        let endpoints = stats["endpoints"].as_array().into_iter().flatten();
        endpoints.filter(|endpoint| endpoint["name"] == name).find_map(|endpoint| endpoint["num_requests"].as_u64())
    };
    ensure!(counted("teams_execute") == Some(1) && counted("artifacts_upload") == Some(1), "{stats:#}");
    ensure!(counted("agents_execute") > Some(5), "{stats:#}");
    Ok(())
}

fn expect_runs(report: &Json) -> Result<()> {
    let runs = part_of(report, "/runs")?;
    for name in ["started", "approved"] {
        ensure!(runs[name]["body"]["error"].is_null(), "{name}: {:#}", runs[name]);
    }
    let watched = kinds(&runs["watched"]);
    ensure!(watched.first() == Some(&"accepted") && watched.last() == Some(&"reply"), "{watched:?}");
    let reply = runs["watched"].as_array().and_then(|frames| frames.last()).context("frames")?;
    ensure!(reply["reply"]["status"] == "success" && reply["reply"]["outputs"].is_object(), "{reply:#}");
    let later = kinds(&runs["watched_after_the_last_event"]);
    ensure!(later.last() == Some(&"reply") && !later.contains(&"event"), "{later:?}");
    ensure!(runs["cancelled"]["body"]["error"].is_null(), "{:#}", runs["cancelled"]);
    expect_error(&runs["resumed"], "run_not_active", "409")
}

fn expect_frames(report: &Json) -> Result<()> {
    let frames = part_of(report, "/frames")?;
    let answer = kinds(&frames["answer"]);
    ensure!(answer.first() == Some(&"accepted") && answer.last() == Some(&"reply"), "{answer:?}");
    let deltas = frames["answer"].as_array().into_iter().flatten().filter(|frame| frame["frame"] == "delta");
    let text: String = deltas.filter_map(|frame| frame["text"].as_str()).collect();
    let answer: Json = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(answer == serde_json::json!({ "text": "done" }), "{answer}");
    ensure!(kinds(&frames["refusal"]) == ["reply"], "{:#}", frames["refusal"]);
    ensure!(frames["refusal"][0]["reply"]["error"]["code"] == "unauthenticated", "{:#}", frames["refusal"]);
    Ok(())
}

fn expect_refusals(report: &Json) -> Result<()> {
    for (code, status) in [
        ("unauthenticated", "401"),
        ("unknown_agent", "404"),
        ("missing_input", "422"),
        ("invalid_request", "400"),
        ("unknown_run", "404"),
        ("timed_out", "504"),
    ] {
        expect_error(part_of(report, &format!("/refusals/{code}"))?, code, status)?;
    }
    let repetitions = part_of(report, "/repetitions")?;
    let (first, repeated) = (&repetitions["first"]["body"], &repetitions["repeated"]["body"]);
    ensure!(first["metadata"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736", "{first:#}");
    ensure!(first["id"] == repeated["id"] && first["outputs"] == repeated["outputs"], "{repetitions:#}");
    expect_error(&repetitions["changed"], "idempotency_conflict", "409")
}

fn expect_large_values(report: &Json) -> Result<()> {
    let values = part_of(report, "/large_values")?;
    ensure!(values["is_refused_by_the_library"] == true, "{values:#}");
    let numbers: Vec<usize> = (0..CHUNKS).collect();
    ensure!(values["uploaded"]["acknowledged"] == serde_json::json!(numbers), "{values:#}");
    ensure!(values["uploaded"]["reference"]["bytes"] == LARGE_BYTES, "{values:#}");
    let received = &values["reply"]["body"]["outputs"]["text"]["$artifact"];
    ensure!(received["bytes"] == LARGE_BYTES, "{values:#}");
    ensure!(
        values["received_sha256"].is_string() && values["received_sha256"] == values["expected_sha256"],
        "{values:#}"
    );
    Ok(())
}

/// The subjects of all messages of the program.
fn subjects_of(report: &Json) -> Result<BTreeSet<&str>> {
    let subjects = part_of(report, "/subjects")?.as_array().context("a list of subjects")?;
    subjects.iter().map(|subject| subject.as_str().context("a subject is text")).collect()
}

#[tokio::test]
async fn nats_py_finds_inspects_and_calls_everything() -> Result<()> {
    let report = call_everything().await?;
    expect_service(&report)?;
    expect_successes(&report, "/replies")?;
    expect_runs(&report)?;
    expect_frames(&report)?;
    expect_refusals(&report)?;
    expect_large_values(&report)?;
    let (subjects, endpoints) = (subjects_of(&report)?, part_of(&report, "/service/info/0/endpoints")?);
    let endpoints = endpoints.as_array().context("endpoints")?;
    let patterns = endpoints.iter().filter_map(|endpoint| endpoint["subject"].as_str().map(str::to_owned));
    for pattern in documented::subjects()?.into_iter().chain(patterns) {
        let is_called = subjects.iter().any(|subject| documented::is_matching(&pattern, subject));
        assert!(is_called, "nothing is sent to {pattern}: {subjects:#?}");
    }
    Ok(())
}
