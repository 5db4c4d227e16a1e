//! The words of the command line: what inputs mean, what is printed where, and what a terminal receives.

use std::fs;

use anyhow::Result;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{CliHarness, CommandOutput};
use greenroom_protocol::Json;
use serde_json::json;

const LIST_AGENT: &str = "
agent_id: echo_list
name: Echo List
category: business_ops
description: Returns its list
version: 1.0.0
inputs: [{ name: items, type: array, items: text, required: true }]
outputs: [{ name: items, type: array, items: text }]
implementation: { runtime: native, handler: native.echo }
";

/// A harness whose commands use the agents `echo_agent` and `echo_list`.
fn harness() -> Result<CliHarness> {
    let mut terminal = CliHarness::open_without_format()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
    definitions.write_echo_agent("echo_agent")?;
    terminal.write_file("definitions/agents/business_ops/echo_list.yaml", LIST_AGENT)?;
    terminal.add_options(&["--definitions", "definitions"]);
    Ok(terminal)
}

async fn echo(terminal: &CliHarness, agent: &str, inputs: &[&str]) -> Result<Json> {
    let inputs = inputs.iter().flat_map(|input| ["--input", input]);
    let words: Vec<&str> = ["run", "agent", agent].into_iter().chain(inputs).chain(["-o", "json"]).collect();
    Ok(terminal.run(&words).await?.expect_success()?["outputs"].clone())
}

#[tokio::test]
async fn a_list_is_json_or_a_repeated_input_and_a_comma_splits_nothing() -> Result<()> {
    let terminal = harness()?;
    let one = echo(&terminal, "echo_list", &["items=Revenue rose, costs fell."]).await?;
    assert_eq!(one["items"], json!(["Revenue rose, costs fell."]));
    let two = echo(&terminal, "echo_list", &["items=a, b", "items=c"]).await?;
    assert_eq!(two["items"], json!(["a, b", "c"]));
    let json_list = echo(&terminal, "echo_list", &["items=[\"x, y\", \"z\"]"]).await?;
    assert_eq!(json_list["items"], json!(["x, y", "z"]));
    Ok(())
}

#[tokio::test]
async fn two_at_signs_begin_a_text_and_a_dash_is_standard_input() -> Result<()> {
    let terminal = harness()?;
    assert_eq!(echo(&terminal, "echo_agent", &["text=@@mention"]).await?["text"], "@mention");
    let line = "printf 'from a pipe' | \"$0\" run agent echo_agent --input text=- --definitions definitions -o json";
    assert_eq!(terminal.run_shell(line).await?.expect_success()?["outputs"]["text"], "from a pipe");
    Ok(())
}

#[tokio::test]
async fn a_device_without_an_end_is_rejected_at_the_bound() -> Result<()> {
    let terminal = harness()?;
    let words = ["run", "agent", "echo_agent", "--input", "text=@/dev/zero", "-o", "json"];
    let error = terminal.run(&words).await?.expect_error(2)?;
    assert_eq!(error["code"], "payload_too_large", "{error:#}");
    terminal.write_file("pipe.sh", "")?;
    let line = "mkfifo pipe && (printf piped >pipe &) && \"$0\" run agent echo_agent --input text=@pipe \
                --definitions definitions -o json";
    assert_eq!(terminal.run_shell(line).await?.expect_success()?["outputs"]["text"], "piped");
    Ok(())
}

#[tokio::test]
async fn the_output_is_the_same_table_in_a_pipe_and_the_progress_is_on_standard_error() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    let listed = terminal.run(&["agents", "list"]).await?;
    assert!(listed.out.contains("AGENT") && listed.out.contains("executive_summary_agent_001"), "{listed:?}");
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let words = ["run", "workflow", "generate_quarterly_report", "--input", "data_source=@s.csv"];
    let loud = terminal.run(&words).await?;
    assert_eq!(loud.code, 0, "{loud:?}");
    assert!(loud.err.contains("▶ run_") && loud.err.contains("■ run_"), "{loud:?}");
    assert!(!loud.out.contains('▶'), "{loud:?}");
    let quiet = terminal.run(&[&words[..], &["--quiet"]].concat()).await?;
    assert!(quiet.code == 0 && quiet.err.is_empty(), "{quiet:?}");
    assert!(!quiet.out.contains('\u{1b}'), "{quiet:?}");
    Ok(())
}

/// Runs a command on a terminal of its own, with this assignment of a variable before it.
async fn run_on_terminal(terminal: &CliHarness, variable: &str, words: &str) -> Result<CommandOutput> {
    // `script` starts its command with a pseudo-terminal as standard output and as standard error.
    terminal.run_shell(&format!("TERM=xterm {variable} script -qec \"$0 {words}\" /dev/null")).await
}

#[tokio::test]
async fn a_terminal_receives_the_table_of_a_file_and_no_colors_if_the_user_wants_none() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    let file_output = terminal.run(&["agents", "list"]).await?;
    let terminal_output = run_on_terminal(&terminal, "", "agents list").await?;
    assert_eq!(terminal_output.code, 0, "{terminal_output:?}");
    assert_eq!(terminal_output.out.replace("\r\n", "\n").trim(), file_output.out.trim());
    for (variable, has_colors) in [("", true), ("NO_COLOR=1", false)] {
        let usage = run_on_terminal(&terminal, variable, "agents lst").await?;
        assert_eq!(usage.code, 2, "{usage:?}");
        assert!(usage.out.contains("Usage"), "{usage:?}");
        assert_eq!(usage.out.contains('\u{1b}'), has_colors, "{usage:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_detached_agent_is_refused_and_the_help_names_what_an_argument_is() -> Result<()> {
    let terminal = harness()?;
    let words = ["run", "agent", "echo_agent", "--input", "text=x", "--detach", "-o", "json"];
    let error = terminal.run(&words).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_request", "{error:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("--detach")), "{error:#}");
    for (words, text) in [
        (&["runs", "show"][..], "Run id"),
        (&["runs", "watch"], "Start after event N"),
        (&["runs", "resume"], "Run id; without it"),
    ] {
        let help = terminal.run(&[words, &["--help"]].concat()).await?;
        assert!(help.code == 0 && help.out.contains(text), "{help:?}");
    }
    Ok(())
}

#[tokio::test]
async fn text_of_a_model_or_a_document_reaches_the_terminal_without_its_escape_sequences() -> Result<()> {
    let terminal = harness()?;
    terminal.write_file("evil.txt", "before\u{1b}]0;owned\u{7}\u{1b}[2Jafter")?;
    let words = ["run", "agent", "echo_agent", "--input", "text=@evil.txt"];
    let table = terminal.run(&words).await?;
    assert!(table.code == 0 && !table.out.contains(['\u{1b}', '\u{7}']), "{table:?}");
    assert!(table.out.contains("before\\u{1b}]0;owned"), "{table:?}");
    let document = terminal.run(&[&words[..], &["-o", "json"]].concat()).await?.expect_success()?;
    assert_eq!(document["outputs"]["text"], "before\u{1b}]0;owned\u{7}\u{1b}[2Jafter");
    Ok(())
}

#[tokio::test]
async fn a_full_standard_output_is_a_failure_and_a_closed_pipe_is_not() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    for words in ["agents list", "explain", "completions bash", "config check", "--help", "--version"] {
        let full = terminal.run_shell(&format!("\"$0\" {words} >/dev/full")).await?;
        assert_eq!(full.code, 1, "{full:?}");
        assert!(full.err.contains("standard output cannot be written"), "{full:?}");
        let closed = terminal.run_shell(&format!("{{ \"$0\" {words}; echo $? >code; }} | true; cat code")).await?;
        assert_eq!(closed.out.trim(), "0", "{closed:?}");
        assert!(!closed.err.contains("panicked"), "{closed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_code_is_explained_by_its_page() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    let page = terminal.run(&["explain", "policy_denied"]).await?;
    assert_eq!(page.code, 0);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors/policy_denied.md");
    assert_eq!(page.out.trim(), fs::read_to_string(file)?.trim());
    let unknown = terminal.run(&["explain", "policy_deny", "-o", "json"]).await?.expect_error(2)?;
    assert!(unknown["message"].as_str().unwrap_or_default().contains("policy_denied"), "{unknown:#}");
    Ok(())
}

#[tokio::test]
async fn runs_are_listed_by_status_and_workflow_a_page_at_a_time() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    terminal.write_file("wrong.csv", "day,sold\n2025-01-02,\n")?;
    for (file, code) in [("s.csv", 0), ("s.csv", 0), ("wrong.csv", 1)] {
        let source = format!("data_source=@{file}");
        let words = ["run", "workflow", "generate_quarterly_report", "--input", &source];
        assert_eq!(terminal.run(&words).await?.code, code);
    }
    let count = async |more: &[&str]| -> Result<usize> {
        let runs = terminal.run(&[&["runs", "list", "-o", "json"], more].concat()).await?.expect_success()?;
        Ok(runs["runs"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(count(&["--status", "success"]).await?, 2);
    assert_eq!(count(&["--status", "failed", "--workflow", "generate_quarterly_report"]).await?, 1);
    assert_eq!(count(&["--workflow", "another"]).await?, 0);
    let wrong = terminal.run(&["runs", "list", "--status", "done"]).await?;
    assert!(wrong.code == 2 && wrong.err.contains("waiting_approval"), "{wrong:?}");

    let first = terminal.run(&["runs", "list", "--limit", "1"]).await?;
    let cursor = first.err.split("--after ").nth(1).unwrap_or_default().trim().to_owned();
    assert!(!cursor.is_empty(), "{first:?}");
    let second = terminal.run(&["runs", "list", "--limit", "2", "--after", &cursor]).await?;
    assert!(second.code == 0 && !second.err.contains("--after"), "{second:?}");
    let audit = terminal.run(&["audit", "list", "--limit", "1"]).await?;
    assert!(audit.code == 0 && audit.err.contains("for the next page, add: --after "), "{audit:?}");
    Ok(())
}

/// An agent with an input of each type, and a list of numbers.
const TYPED_AGENT: &str = "
agent_id: typed
name: Typed
category: business_ops
description: Returns its inputs
version: 1.0.0
inputs:
  - { name: text, type: text }
  - { name: count, type: integer }
  - { name: share, type: number }
  - { name: urgent, type: boolean }
  - { name: numbers, type: array, items: integer }
  - { name: order, type: object }
  - { name: table, type: file }
outputs:
  - { name: text, type: text }
  - { name: count, type: integer }
  - { name: share, type: number }
  - { name: urgent, type: boolean }
  - { name: numbers, type: array, items: integer }
  - { name: order, type: object }
  - { name: table, type: object }
implementation: { runtime: native, handler: native.echo }
";

/// A workflow whose input only the agent of its step declares.
const COUNTED: &str = "
workflow_id: counted
name: Counted
steps: [{ id: one, agent: counting, outputs: [count] }]
final_output: \"${steps.one.outputs.count}\"
";
const COUNTING_AGENT: &str = "
agent_id: counting
name: Counting
category: business_ops
description: Returns its number
version: 1.0.0
inputs: [{ name: count, type: integer, required: true }]
outputs: [{ name: count, type: integer }]
implementation: { runtime: native, handler: native.echo }
";

/// The requests of users in the audit, as action and resource, the oldest first.
async fn audited(terminal: &CliHarness) -> Result<Vec<(String, String)>> {
    let list = terminal.run(&["audit", "list", "--limit", "1000", "-o", "json"]).await?.expect_success()?;
    let records = list["records"].as_array().expect("records").clone();
    let of_users = records.iter().rev().map(|record| &record["event"]).filter(|event| {
        event["kind"] == "opened" && event["caller"].as_str().is_some_and(|caller| caller.starts_with("user:"))
    });
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    Ok(of_users.map(|event| (text(&event["action"]), text(&event["resource"]))).collect())
}

#[tokio::test]
async fn typing_the_inputs_of_a_call_costs_no_request_of_its_own() -> Result<()> {
    let terminal = harness()?;
    terminal.write_file("definitions/agents/business_ops/typed.yaml", TYPED_AGENT)?;
    terminal.write_file("definitions/agents/business_ops/counting.yaml", COUNTING_AGENT)?;
    terminal.write_file("definitions/workflows/counted.yaml", COUNTED)?;
    terminal.write_file("count.txt", " 8\n")?;
    terminal.write_file("table.csv", "a,b\n1,2\n")?;
    let large = "x".repeat(1024 * 1024 + 1);
    terminal.write_file("large.txt", &large)?;
    // The echo of an output needs the input of its name.
    let call = async |text: &str, count: &str| {
        let more = ["share=0.5", "urgent=yes", "numbers=1", "numbers=2", "order={\"a\": 1}", "table=@table.csv"];
        echo(&terminal, "typed", &[&[text, count][..], &more].concat()).await
    };
    let outputs = call("text=7", "count=7").await?;
    assert_eq!((&outputs["text"], &outputs["count"]), (&json!("7"), &json!(7)), "{outputs:#}");
    assert_eq!((&outputs["share"], &outputs["urgent"]), (&json!(0.5), &json!(true)), "{outputs:#}");
    assert_eq!((&outputs["numbers"], &outputs["order"]), (&json!([1, 2]), &json!({ "a": 1 })), "{outputs:#}");
    assert_eq!(outputs["table"]["$artifact"]["name"], "table.csv", "{outputs:#}");
    // The content of a file is the value of an input that is no file.
    assert_eq!(call("text=x", "count=@count.txt").await?["count"], 8);
    let text = call("text=@large.txt", "count=1").await?["text"].clone();
    let length = text.as_str().map(str::len).or_else(|| usize::try_from(text["$artifact"]["bytes"].as_u64()?).ok());
    assert_eq!(length, Some(large.len()));
    let expected = vec![("invoke".to_owned(), "typed".to_owned()); 3];
    assert_eq!(audited(&terminal).await?.get(..3), Some(&expected[..]));

    let run = ["run", "workflow", "counted", "--input", "count=9", "--quiet", "-o", "json"];
    let reply = terminal.run(&run).await?.expect_success()?;
    assert!(reply["outputs"].as_object().is_some_and(|outputs| outputs.values().any(|value| *value == 9)), "{reply:#}");
    let of_workflow: Vec<_> =
        audited(&terminal).await?.into_iter().filter(|(_, resource)| resource == "counted").collect();
    assert_eq!(of_workflow, [("start_run".to_owned(), "counted".to_owned())]);
    Ok(())
}

#[tokio::test]
async fn an_input_that_is_not_of_its_type_is_rejected_by_the_request_itself() -> Result<()> {
    let terminal = harness()?;
    terminal.write_file("definitions/agents/business_ops/typed.yaml", TYPED_AGENT)?;
    for (input, message) in [
        ("count=many", "the input count must be an integer"),
        ("numbers=@missing.txt", "missing.txt cannot be read"),
        ("order=[1]", "the input order must be an object"),
    ] {
        let output = terminal.run(&["run", "agent", "typed", "--input", input, "-o", "json"]).await?;
        let error = output.expect_error(2)?;
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{input}: {error:#}");
    }
    let twice = ["run", "agent", "typed", "--input", "count=1", "--input", "count=2", "-o", "json"];
    let error = terminal.run(&twice).await?.expect_error(2)?;
    assert!(error["message"].as_str().is_some_and(|text| text.contains("given more than once, but is an integer")));
    Ok(())
}
