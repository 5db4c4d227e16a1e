//! Workflows as their users run them, with the command line: loops, branches, arithmetic, and people who are asked.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CommandOutput};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

/// An agent that returns its inputs.
fn echo_agent(id: &str, fields: &str) -> String {
    format!(
        "agent_id: {id}\nname: {id}\ncategory: business_ops\ndescription: Returns its inputs\nversion: \"1.0.0\"\n\
         inputs: {fields}\noutputs: {fields}\nimplementation: {{ runtime: native, handler: native.echo, timeout: 10 }}\n"
    )
}

/// Agents that return a text, a list, or one of two texts; and these workflows.
pub(crate) fn fixture(workflows: &[(&str, &str)]) -> Result<ModelFixture> {
    // No command of these tests calls a model.
    let fixture = ModelFixture::with_openai("http://127.0.0.1:9")?;
    let folder = fixture.definitions.dir().join("agents/business_ops");
    std::fs::create_dir_all(&folder)?;
    let agents = [
        ("echo_text", "[{ name: text, type: text, required: true }]"),
        ("echo_list", "[{ name: items, type: array, required: true }]"),
        ("echo_pair", "[{ name: left, type: text, required: false }, { name: right, type: text, required: false }]"),
    ];
    for (id, fields) in agents {
        std::fs::write(folder.join(format!("{id}.yaml")), echo_agent(id, fields))?;
    }
    for (id, yaml) in workflows {
        fixture.definitions.write_workflow(id, &format!("workflow_id: {id}\nname: {id}\n{yaml}"))?;
    }
    Ok(fixture)
}

async fn outputs(fixture: &ModelFixture, workflow: &str, inputs: &[&str]) -> Result<Json> {
    let mut words = vec!["run", "workflow", workflow];
    words.extend(inputs.iter().flat_map(|input| ["--input", input]));
    let reply = fixture.terminal.run(&words).await?.expect_success()?;
    Ok(reply["outputs"].clone())
}

const LOOP: &str = "inputs: [{ name: documents, type: array, required: true }]
steps:
  - id: each
    agent: echo_text
    for_each: { items: \"${inputs.documents}\", max_concurrency: 4, on_error: continue }
    inputs: { text: \"${item}\" }
    outputs: [text]
  - id: all
    agent: echo_list
    inputs: { items: \"${steps.each.outputs.text}\" }
    outputs: [items]
";

#[tokio::test]
async fn a_loop_over_an_empty_list_has_an_empty_list_as_its_output() -> Result<()> {
    let with_when = LOOP
        .replace("    agent: echo_list\n", "    agent: echo_list\n    when: \"size(steps.each.outputs.text) > 0\"\n");
    let with_when = format!(
        "{with_when}outputs: {{ texts: \"${{steps.each.outputs.text}}\", all: \"${{steps.all.outputs.items}}\" }}\n"
    );
    let without_when = format!("{LOOP}outputs: {{ all: \"${{steps.all.outputs.items}}\" }}\n");
    let fixture = fixture(&[("with_when", &with_when), ("without_when", &without_when)])?;
    assert_eq!(outputs(&fixture, "with_when", &["documents=[]"]).await?, json!({"texts": []}));
    assert_eq!(outputs(&fixture, "without_when", &["documents=[]"]).await?, json!({"all": []}));
    // Every item fails: a number is no text.
    assert_eq!(outputs(&fixture, "without_when", &["documents=[1, 2]"]).await?, json!({"all": []}));
    let one = outputs(&fixture, "with_when", &[r#"documents=["a"]"#]).await?;
    assert_eq!(one, json!({"texts": ["a"], "all": ["a"]}));
    assert_eq!(outputs(&fixture, "without_when", &[r#"documents=["a"]"#]).await?, json!({"all": ["a"]}));
    Ok(())
}

const BRANCHES: &str = "inputs: [{ name: kind, type: string, required: true, enum: [a, b] }]
steps:
  - { id: left, agent: echo_text, when: \"inputs.kind == 'a'\", inputs: { text: went left }, outputs: [text] }
  - { id: right, agent: echo_text, when: \"inputs.kind == 'b'\", inputs: { text: went right }, outputs: [text] }
";

#[tokio::test]
async fn a_step_after_two_branches_runs_with_the_one_that_was_taken() -> Result<()> {
    let branches = format!(
        "{BRANCHES}  - id: join\n    agent: echo_pair\n    inputs: {{ left: \"${{steps.left.outputs.text}}\", right: \"${{steps.right.outputs.text}}\" }}\n\
         outputs: {{ left: \"${{steps.join.outputs.left}}\", right: \"${{steps.join.outputs.right}}\" }}\n"
    );
    let either = format!(
        "{BRANCHES}  - id: join\n    agent: echo_text\n    depends_on: [left, right]\n    \
         when: \"has(steps.left.outputs.text) || has(steps.right.outputs.text)\"\n    inputs: {{ text: joined }}\n    \
         outputs: [text]\noutputs: {{ joined: \"${{steps.join.outputs.text}}\" }}\n"
    );
    let fixture = fixture(&[("branches", &branches), ("either", &either)])?;
    let check = fixture.terminal.run(&["definitions", "check"]).await?.expect_success()?;
    assert_eq!(check["problems"], json!([]), "{check:#}");
    for (kind, expected) in [("a", json!({"left": "went left"})), ("b", json!({"right": "went right"}))] {
        let input = format!("kind={kind}");
        assert_eq!(outputs(&fixture, "branches", &[&input]).await?, expected);
        assert_eq!(outputs(&fixture, "either", &[&input]).await?, json!({"joined": "joined"}));
    }
    Ok(())
}

#[tokio::test]
async fn the_reason_of_a_skipped_step_is_shown() -> Result<()> {
    let after = "  - { id: after, agent: echo_text, inputs: { text: \"so: ${steps.right.outputs.text}\" } }\n";
    let fixture = fixture(&[("w", &format!("{BRANCHES}{after}"))])?;
    let reply = fixture.terminal.run(&["run", "workflow", "w", "--input", "kind=a"]).await?.expect_success()?;
    let run = reply["id"].as_str().context("a run")?;
    let output = fixture.terminal.run(&["runs", "show", run, "-o", "table"]).await?;
    for line in
        ["right skipped · its condition is false", "after skipped · it refers only to `right`, which was skipped"]
    {
        assert!(output.out.contains(line), "{}", output.out);
    }
    Ok(())
}

#[tokio::test]
async fn a_condition_computes_the_same_however_a_number_is_written() -> Result<()> {
    let sums = "inputs: [{ name: amount, type: number, required: true }]
steps:
  - { id: taxed, agent: echo_text, when: \"inputs.amount * 1.2 > 100.0\", inputs: { text: taxed }, outputs: [text] }
";
    let shares = "inputs: [{ name: part, type: number, required: true }, { name: whole, type: number, required: true }]
steps:
  - { id: most, agent: echo_text, when: \"inputs.part / inputs.whole > 0.5\", inputs: { text: most }, outputs: [text] }
";
    let fixture = fixture(&[("sums", sums), ("shares", shares)])?;
    for amount in ["amount=90", "amount=90.0", "amount=90.5"] {
        assert_eq!(outputs(&fixture, "sums", &[amount]).await?, json!({"text": "taxed"}), "{amount}");
    }
    for (part, whole) in [("part=3", "whole=4"), ("part=3.0", "whole=4.0"), ("part=3.5", "whole=4")] {
        assert_eq!(outputs(&fixture, "shares", &[part, whole]).await?, json!({"text": "most"}), "{part} {whole}");
    }
    Ok(())
}

/// Starts a detached run.
pub(crate) async fn detach(fixture: &ModelFixture, workflow: &str) -> Result<String> {
    let reply = fixture.terminal.run(&["run", "workflow", workflow, "--detach"]).await?.expect_success()?;
    Ok(reply["outputs"]["run_id"].as_str().context("a run")?.to_owned())
}

pub(crate) async fn show(fixture: &ModelFixture, run: &str) -> Result<Json> {
    fixture.terminal.run(&["runs", "show", run]).await?.expect_success()
}

/// Waits until a run has this status.
pub(crate) async fn reaches(fixture: &ModelFixture, run: &str, status: &str) -> Result<Json> {
    let probe = || async {
        let output = show(fixture, run).await.ok()?;
        (output["run"]["status"] == status).then_some(output)
    };
    wait_until(&format!("{run} is {status}"), COMMAND_WAIT_MAX, probe).await
}

/// Starts a detached run, and waits until this many of its steps wait for an approval.
async fn detach_until_waiting(fixture: &ModelFixture, workflow: &str, count: usize) -> Result<String> {
    let run = detach(fixture, workflow).await?;
    let are_waiting = || async {
        let output = show(fixture, &run).await.ok()?;
        (output["run"]["pending_approvals"].as_array()?.len() == count).then_some(())
    };
    wait_until("the steps wait", COMMAND_WAIT_MAX, are_waiting).await?;
    Ok(run)
}

async fn approve(fixture: &ModelFixture, run: &str, step: &str) -> Result<CommandOutput> {
    fixture.terminal.run(&["runs", "approve", run, step]).await
}

/// How often each step of a run was started.
fn starts(output: &Json) -> BTreeMap<String, usize> {
    let events = output["events"].as_array().into_iter().flatten();
    let mut starts = BTreeMap::new();
    for step in events.filter(|event| event["event"] == "step_started").filter_map(|event| event["step"].as_str()) {
        *starts.entry(step.to_owned()).or_default() += 1;
    }
    starts
}

const OUTER: &str = "steps:
  - { id: before, agent: echo_text, inputs: { text: before }, outputs: [text] }
  - { id: inner, workflow: inner, depends_on: [before], inputs: { text: \"${steps.before.outputs.text}\" } }
  - { id: after, agent: echo_text, inputs: { text: \"after ${steps.inner.outputs.done}\" }, outputs: [text] }
outputs: { text: \"${steps.after.outputs.text}\" }
";
const INNER: &str = "inputs: [{ name: text, type: text, required: true }]
steps:
  - { id: prepare, agent: echo_text, outputs: [text] }
  - { id: ask, approval: { prompt: \"Go on with ${steps.prepare.outputs.text}?\" } }
  - { id: act, agent: echo_text, depends_on: [ask], inputs: { text: acted }, outputs: [text] }
outputs: { done: \"${steps.act.outputs.text}\" }
";

#[tokio::test]
async fn an_approval_in_an_inner_run_is_named_by_the_outer_one_and_survives_a_kill() -> Result<()> {
    let fixture = fixture(&[("outer", OUTER), ("inner", INNER)])?;
    let (host, _client) = fixture.up().await?;
    let outer = detach(&fixture, "outer").await?;
    let pending = || async {
        let output = show(&fixture, &outer).await.ok()?;
        output["run"]["pending_approvals"][0]["run"].as_str().map(str::to_owned)
    };
    let inner = wait_until("the outer run names the inner one", COMMAND_WAIT_MAX, pending).await?;
    let table = fixture.terminal.run(&["runs", "show", &outer, "-o", "table"]).await?;
    assert!(table.out.contains(&format!("greenroom runs approve {inner} ask")), "{}", table.out);
    assert!(table.out.contains("without limit"), "{}", table.out);
    let refused = approve(&fixture, &outer, "ask").await?.expect_error(2)?;
    assert!(refused["message"].as_str().context("a message")?.contains(&inner), "{refused:#}");
    drop(host);

    let (_host, _client) = fixture.up().await?;
    let resumed = || async { approve(&fixture, &inner, "ask").await.ok().filter(|output| output.code == 0) };
    wait_until("the resumed inner run is approved", COMMAND_WAIT_MAX, resumed).await?;
    let outer_shown = reaches(&fixture, &outer, "success").await?;
    assert_eq!(outer_shown["reply"]["outputs"]["text"], "after acted");
    let mut all = starts(&outer_shown);
    all.extend(starts(&show(&fixture, &inner).await?));
    for step in ["before", "prepare", "act", "after"] {
        assert_eq!(all.get(step), Some(&1), "{step}: {all:?}");
    }
    Ok(())
}

#[tokio::test]
async fn waiting_for_a_person_does_not_use_up_the_time_of_a_run() -> Result<()> {
    let unlimited = "timeout: 1
steps:
  - { id: ask, approval: { prompt: \"Send it?\" } }
  - { id: send, agent: echo_text, depends_on: [ask], inputs: { text: sent }, outputs: [text] }
";
    let limited = unlimited.replace("\"Send it?\"", "\"Send it?\", timeout: 3600");
    let fixture = fixture(&[("asks", unlimited), ("limited", &limited)])?;
    let (_host, _client) = fixture.up().await?;
    let run = detach(&fixture, "asks").await?;
    let output = reaches(&fixture, &run, "waiting_approval").await?;
    assert!(output["run"].get("deadline").is_none(), "{output:#}");
    let time_left = &output["run"]["time_left_ms"];
    assert!(time_left.as_u64().is_some_and(|left| left <= 1_000), "{output:#}");
    let started = std::time::Instant::now();
    let longer = || async { (started.elapsed() > Duration::from_millis(1_500)).then_some(()) };
    wait_until("the timeout of the run has passed", COMMAND_WAIT_MAX, longer).await?;
    let later = show(&fixture, &run).await?;
    assert_eq!((&later["run"]["status"], &later["run"]["time_left_ms"]), (&json!("waiting_approval"), time_left));
    ensure!(approve(&fixture, &run, "ask").await?.code == 0, "the approval is accepted");
    reaches(&fixture, &run, "success").await?;

    let run = detach(&fixture, "limited").await?;
    let output = reaches(&fixture, &run, "waiting_approval").await?;
    assert!(output["run"]["pending_approvals"][0]["until"].is_string(), "{output:#}");
    let table = fixture.terminal.run(&["runs", "show", &run, "-o", "table"]).await?;
    assert!(table.out.contains("ask awaits approval until 2"), "{}", table.out);
    Ok(())
}

#[tokio::test]
async fn two_approvals_at_one_time_both_count_and_a_run_that_waits_is_not_pruned() -> Result<()> {
    let two = "steps:
  - { id: legal, approval: { prompt: \"Legal?\" } }
  - { id: money, approval: { prompt: \"Money?\" } }
  - { id: send, agent: echo_text, depends_on: [legal, money], inputs: { text: sent }, outputs: [text] }
";
    let fixture = fixture(&[("two", two)])?;
    let (_host, _client) = fixture.up().await?;
    let run = detach_until_waiting(&fixture, "two", 2).await?;
    fixture.terminal.run(&["runs", "prune", "--older-than", "0s"]).await?.expect_success()?;
    assert_eq!(show(&fixture, &run).await?["run"]["status"], "waiting_approval");
    let commands = ["legal", "money", "legal"].map(|step| fixture.terminal.start(&["runs", "approve", &run, step]));
    let mut codes = Vec::new();
    for command in commands {
        let output = command?.wait().await?;
        codes.push(output.code);
        if output.code != 0 {
            let code = output.expect_error(2)?["code"].as_str().context("a code")?.to_owned();
            assert!(["unknown_step", "run_not_active"].contains(&code.as_str()), "{code}");
        }
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 2]);
    let output = reaches(&fixture, &run, "success").await?;
    assert_eq!(starts(&output).get("send"), Some(&1), "{output:#}");
    Ok(())
}

#[tokio::test]
async fn decisions_of_one_command_are_one_list_and_a_single_one_is_its_reply() -> Result<()> {
    let three = "steps:
  - { id: legal, approval: { prompt: \"Legal?\" } }
  - { id: money, approval: { prompt: \"Money?\" } }
  - { id: tax, approval: { prompt: \"Tax?\" } }
  - { id: send, agent: echo_text, depends_on: [legal, money, tax], inputs: { text: sent }, outputs: [text] }
";
    let fixture = fixture(&[("three", three)])?;
    let (_host, _client) = fixture.up().await?;
    let run = detach_until_waiting(&fixture, "three", 3).await?;
    let single = approve(&fixture, &run, "legal").await?.expect_success()?;
    assert_eq!(single["status"], "success", "{single:#}");

    // What was decided before the refusal is in the list, and nothing after it is decided.
    let refused = fixture.terminal.run(&["runs", "approve", &run, "money", "send", "tax"]).await?;
    let list = refused.json()?;
    assert_eq!((refused.code, list.as_array().map(Vec::len)), (2, Some(2)), "{refused:?}");
    assert_eq!((&list[0]["status"], &list[1]["error"]["code"]), (&json!("success"), &json!("unknown_step")));
    assert!(refused.err.contains("unknown_step"), "{refused:?}");
    approve(&fixture, &run, "tax").await?.expect_success()?;
    reaches(&fixture, &run, "success").await?;

    let run = detach_until_waiting(&fixture, "three", 3).await?;
    let list = fixture.terminal.run(&["runs", "approve", &run, "legal", "money"]).await?.expect_success()?;
    let replies = list.as_array().context("a list")?;
    assert!(replies.len() == 2 && replies.iter().all(|reply| reply["status"] == "success"), "{list:#}");
    let rejected = fixture.terminal.run(&["runs", "reject", &run, "tax"]).await?.expect_success()?;
    assert_eq!(rejected["status"], "success", "{rejected:#}");
    reaches(&fixture, &run, "failed").await?;

    let run = detach_until_waiting(&fixture, "three", 3).await?;
    let rejected = fixture.terminal.run(&["runs", "reject", &run, "send", "tax"]).await?;
    let list = rejected.json()?;
    assert_eq!((rejected.code, list.as_array().map(Vec::len)), (2, Some(1)), "{rejected:?}");
    assert_eq!(list[0]["error"]["code"], "unknown_step", "{list:#}");
    let table = fixture.terminal.run(&["runs", "approve", &run, "legal", "money", "tax", "-o", "table"]).await?;
    assert_eq!((table.code, table.out.matches("was approved").count()), (0, 3), "{table:?}");
    reaches(&fixture, &run, "success").await?;
    Ok(())
}
