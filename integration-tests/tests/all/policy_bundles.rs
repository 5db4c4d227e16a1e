//! A policy bundle of one's own on the whole program: its rules decide on every field that they read, declared
//! or not, and the program reports what cannot decide as it was meant.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;
use serde_json::json;

const ECHO: [&str; 6] = ["run", "agent", "echo_agent", "--input", "text=hello", "--user"];
const AGENT: &str = "agent_id: echo_agent\nname: Echo\ncategory: business_ops\ndescription: Returns its input\n\
                     version: \"1.0.0\"\ninputs: [{ name: text, type: text, required: true }]\n\
                     outputs: [{ name: text, type: text }]\n\
                     implementation: { runtime: native, handler: native.echo }\n";
const USERS: &str =
    "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\n[[users]]\nname = \"mallory\"\nroles = [\"admin\"]\n";

/// One of the bundles of the policy engine's tests, in the folder of its harness as `NAME/guard.tar.gz`.
fn write_bundle(terminal: &CliHarness, name: &str) -> Result<PathBuf> {
    let bundles = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles");
    let path = terminal.write_file(&format!("{name}/guard.tar.gz"), fs::read(format!("{bundles}/{name}.tar.gz"))?)?;
    Ok(path.parent().context("a folder")?.to_owned())
}

/// A terminal with an agent that returns its input, two administrators, and this bundle.
fn terminal_with(bundle: &str) -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    terminal.write_file("greenroom.toml", USERS)?;
    // It names no policies: the bundles of these tests have none.
    let agent = terminal.write_file("definitions/echo_agent.yaml", AGENT)?;
    let definitions = agent.parent().context("a folder")?.to_owned();
    let policy = write_bundle(&terminal, bundle)?;
    let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path of words");
    terminal.add_options(&["--definitions", &text(&definitions)?, "--policy", &text(&policy)?]);
    Ok(terminal)
}

#[tokio::test]
async fn a_rule_on_a_field_that_the_bundle_does_not_declare_denies() -> Result<()> {
    let terminal = terminal_with("own")?;
    let reply = terminal.run(&[&ECHO[..], &["admin"]].concat()).await?.expect_success()?;
    assert_eq!(reply["outputs"]["text"], "hello");
    let denied = terminal.run(&[&ECHO[..], &["mallory"]].concat()).await?.expect_error(3)?;
    assert_eq!(
        (&denied["code"], &denied["details"]["reasons"][0]["code"]),
        (&json!("policy_denied"), &json!("not_permitted"))
    );
    Ok(())
}

#[tokio::test]
async fn a_pod_reports_what_its_bundle_declares_too_narrowly() -> Result<()> {
    let terminal = terminal_with("own")?;
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let log = up.err();
    assert!(log.contains("policy bundle has a warning") && log.contains("declares user.id, user.tenant"), "{log}");
    Ok(())
}

#[tokio::test]
async fn policy_check_reports_what_the_rules_read_and_what_the_input_never_has() -> Result<()> {
    let terminal = CliHarness::open()?;
    let shipped = terminal.run(&["policy", "check"]).await?.expect_success()?;
    assert_eq!(
        (&shipped["whole_input"], &shipped["errors"], &shipped["warnings"]),
        (&json!(false), &json!([]), &json!([]))
    );
    assert!(shipped["inputs_tried"].as_u64().is_some_and(|tried| tried > 200), "{shipped:#}");

    let check = async |name: &str| {
        let folder = write_bundle(&terminal, name)?;
        terminal.run(&["policy", "check", folder.to_str().context("a path of words")?]).await
    };
    let own = check("own").await?.expect_success()?;
    assert_eq!(own["reads"], json!(["user.id", "user.roles", "user.tenant"]), "{own:#}");
    assert_eq!(own["warnings"].as_array().map(Vec::len), Some(1), "{own:#}");

    let misspelt = check("misspelt").await?;
    assert_eq!(misspelt.code, 2, "{misspelt:?}");
    let errors = misspelt.json()?["errors"].clone();
    let is_named =
        |text: &str| errors.as_array().into_iter().flatten().filter_map(Json::as_str).any(|error| error.contains(text));
    assert!(is_named("`input.principal.tenannt`") && is_named("did you mean `input.user.tenant`?"), "{errors:#}");
    assert!(is_named("misspelt.rego:23 reads `input.user.blocked`"), "{errors:#}");

    let invalid = check("open").await?.expect_error(2)?;
    assert_eq!(invalid["code"], "invalid_policy");
    let missing = terminal.run(&["policy", "check", "nowhere"]).await?.expect_error(2)?;
    assert_eq!(missing["code"], "invalid_policy");
    Ok(())
}

#[tokio::test]
async fn an_explanation_notes_the_warnings_of_its_bundle() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let folder = write_bundle(&terminal, "misspelt")?;
    terminal.add_options(&["--policy", folder.to_str().context("a path of words")?]);
    let input = terminal.write_file("input.json", include_str!("../../fuzz/corpus/policy/invoke"))?;
    let output = terminal.run(&["policy", "eval", "--input", input.to_str().context("a path of words")?]).await?;
    assert!(output.err.contains("warning: ") && output.err.contains("input.principal.tenannt"), "{output:?}");
    Ok(())
}
