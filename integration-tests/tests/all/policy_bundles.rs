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

/// The policies of the policy engine, as OPA has compiled them and as sources with their tests.
const REGO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego");
/// The bundles of the policy engine's tests, each beside its source.
const BUNDLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles");

/// One of the bundles of the policy engine's tests, in the folder of its harness as `NAME/guard.tar.gz`.
fn write_bundle(terminal: &CliHarness, name: &str) -> Result<PathBuf> {
    let path = terminal.write_file(&format!("{name}/guard.tar.gz"), fs::read(format!("{BUNDLES}/{name}.tar.gz"))?)?;
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

#[tokio::test]
async fn policy_pack_completes_the_text_of_a_bundle_of_opa() -> Result<()> {
    let terminal = CliHarness::open()?;
    let shipped = fs::read(format!("{REGO}/bundle/guard.tar.gz"))?;
    let bundle = terminal.write_file("in/guard.tar.gz", &shipped)?;
    let complete = terminal.write_file("out/guard.tar.gz", "to be replaced")?;
    let pack = async |out: &str| {
        let words = ["policy", "pack", "in", &format!("{REGO}/policy"), "--out", out];
        terminal.run(&words).await?.expect_success()
    };
    let result = pack("out/guard.tar.gz").await?;
    assert_eq!((&result["whole_input"], &result["errors"]), (&json!(false), &json!([])), "{result:#}");
    assert!(result["file"].as_str().is_some_and(|file| file.ends_with("out/guard.tar.gz")), "{result:#}");
    assert!(fs::read(&bundle)? == shipped, "the bundle is not changed");
    let report = terminal.run(&["policy", "check", "out"]).await?.expect_success()?;
    assert_eq!((&report["reads"], &report["hash"]), (&result["reads"], &result["hash"]));
    assert!(result["reads"].as_array().is_some_and(|reads| reads.contains(&json!("user.tenant"))), "{result:#}");

    // The bundle is replaced if it is the output.
    pack("in/guard.tar.gz").await?;
    assert!(fs::read(&bundle)? == fs::read(&complete)?, "the bytes depend on the bundle and the sources only");
    assert_eq!(fs::read_dir(terminal.folder().join("in"))?.count(), 1, "no other file remains");
    Ok(())
}

#[tokio::test]
async fn policy_pack_refuses_other_sources_and_a_warning_names_the_command() -> Result<()> {
    let terminal = CliHarness::open()?;
    let folder = write_bundle(&terminal, "faulty")?;
    let folder = folder.to_str().context("a path of words")?;
    let report = terminal.run(&["policy", "check", folder]).await?.expect_success()?;
    assert_eq!(report["whole_input"], json!(true));
    assert!(report["warnings"][0].as_str().is_some_and(|text| text.contains("`greenroom policy pack`")), "{report:#}");

    let source = fs::read_to_string(format!("{BUNDLES}/faulty.rego"))?;
    terminal.write_file("stale/faulty.rego", source.replace("== \"silent\"", "== \"quiet\""))?;
    terminal.write_file("foreign/faulty.rego", source.replace("package guard", "package other"))?;
    for (sources, message) in [
        ("stale", "stale/faulty.rego:43: the rule `guard.permitted` differs from the bundle's"),
        ("foreign", "no source has the name and the package (`guard`) of tests/bundles/faulty.rego"),
    ] {
        let error = terminal.run(&["policy", "pack", folder, sources, "--out", "new.tar.gz"]).await?.expect_error(2)?;
        assert_eq!(error["code"], "invalid_policy");
        let text = error["message"].as_str().unwrap_or_default();
        assert!(text.starts_with(message) && text.ends_with("not what the bundle was built from"), "{text}");
    }
    for (sources, out, code, message) in [
        ("stale", "stale/faulty.rego", "invalid_input", "is one of the sources"),
        ("nowhere", "new.tar.gz", "path_not_allowed", "nowhere cannot be read"),
    ] {
        let error = terminal.run(&["policy", "pack", folder, sources, "--out", out]).await?;
        let error = error.json()?["error"].clone();
        assert_eq!(error["code"], code, "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error:#}");
    }
    assert!(!terminal.folder().join("new.tar.gz").exists());
    Ok(())
}
