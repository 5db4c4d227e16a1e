//! The words of the command line: what inputs mean, what is printed where, and what a terminal receives.

use std::fs;

use anyhow::Result;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
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
    for words in ["agents list", "explain", "completions bash", "config check"] {
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
    Ok(())
}
