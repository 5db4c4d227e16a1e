//! Definitions and policies that are applied for every pod: active on all of them, at every start, refused as a whole,
//! and rolled back as they were applied.

mod bucket;
mod pods;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{CliHarness, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

use crate::postgres::{create_database, harness};
use crate::reload::{SHIPPED, bundle_with_wider_role, changed_bundle, edited_bundle};

/// Bound of a wait, which only ends a test that hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);
const RUNNING: &str = "greenroom is up";
/// What the own definitions of each pod say.
const OWN: &str = "Returns its input";
/// The bundles of the policy engine's tests.
const BUNDLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles");

/// A pod in a process of its own.
struct Host {
    terminal: CliHarness,
    up: RunningCommand,
}

impl Host {
    async fn start(terminal: CliHarness) -> Result<Self> {
        let up = terminal.start(&["up"])?;
        up.wait_for_output(RUNNING).await?;
        Ok(Self { terminal, up })
    }

    async fn restart(self) -> Result<Self> {
        self.up.terminate()?;
        assert_eq!(self.up.wait().await?.code, 0);
        Self::start(self.terminal).await
    }

    /// Applies something, which must be active on this pod when the command ends.
    async fn apply(&self, subject: &str, source: &str, generation: u64) -> Result<()> {
        let report = self.terminal.run(&[subject, "apply", source]).await?.expect_success()?;
        let expected = (&json!(generation), &json!(true), &json!(true));
        assert_eq!((&report["generation"], &report["changed"], &report["active"]), expected, "{report:#}");
        Ok(())
    }

    async fn description(&self) -> Result<Json> {
        let document = self.terminal.run(&["agents", "show", "echo_agent"]).await?.expect_success()?;
        Ok(document["agent"]["description"].clone())
    }

    /// Waits until definitions with this description are active.
    async fn wait_for_description(&self, text: &str) -> Result<()> {
        let probe = || async { self.description().await.is_ok_and(|found| found == text).then_some(()) };
        wait_until(text, WAIT_MAX, probe).await.with_context(|| self.up.err())
    }

    /// Lists the audit as the operator, which the shipped policy denies, and returns the exit code.
    async fn exit_code_of_operator(&self) -> Result<i32> {
        Ok(self.terminal.run(&["audit", "list", "--user", "operator"]).await?.code)
    }

    async fn wait_for_operator(&self, code: i32) -> Result<()> {
        let probe = || async { self.exit_code_of_operator().await.is_ok_and(|found| found == code).then_some(()) };
        wait_until("the policy is active", WAIT_MAX, probe).await.with_context(|| self.up.err())
    }
}

/// Two pods over a database of their own.
async fn start_hosts(name: &str) -> Result<[Host; 2]> {
    let url = create_database(name).await?;
    let (mut first, mut second) = (harness(&url)?, harness(&url)?);
    for terminal in [&mut first, &mut second] {
        terminal.set_variable("GREENROOM_ARTIFACTS_SHARED", "true");
    }
    first.run(&["db", "migrate"]).await?.expect_success()?;
    let first = Host::start(first).await?;
    // It creates its directory, and is refused because of its key.
    second.run(&["agents", "list"]).await?.expect_error(1)?;
    fs::copy(first.terminal.data_dir().join("audit.key"), second.data_dir().join("audit.key"))?;
    Ok([first, Host::start(second).await?])
}

/// Writes definitions of `echo_agent` with this description.
fn write_definitions(terminal: &CliHarness, folder: &str, description: &str) -> Result<()> {
    let definitions = DefinitionsDir::new(&terminal.folder().join(folder))?;
    definitions.write_echo_agent("echo_agent")?;
    let file = definitions.dir().join("agents/business_ops/echo_agent.yaml");
    Ok(fs::write(&file, fs::read_to_string(&file)?.replace(OWN, description))?)
}

/// The entries of the audit that record an apply of definitions.
async fn applied_events(terminal: &CliHarness) -> Result<usize> {
    let is_applied = |record: &&Json| {
        let message = record["event"]["message"].as_str();
        message.is_some_and(|text| text.contains("of the catalogue") && text.contains("was applied by"))
    };
    let (mut count, mut after) = (0, None::<String>);
    loop {
        let arguments =
            ["audit", "list", "--limit", "200"].into_iter().chain(after.iter().flat_map(|at| ["--after", at]));
        let page = terminal.run(&arguments.collect::<Vec<_>>()).await?.expect_success()?;
        count += page["records"].as_array().context("records")?.iter().filter(is_applied).count();
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(count),
        }
    }
}

#[tokio::test]
async fn definitions_that_one_pod_applies_are_active_on_every_pod_and_at_every_start() -> Result<()> {
    let [first, second] = start_hosts("applied_definitions").await?;
    write_definitions(&first.terminal, "one", "First")?;
    write_definitions(&first.terminal, "two", "Second")?;
    assert_eq!(second.description().await?, OWN);
    // The last one is a rollback.
    for (generation, folder, description) in [(1, "one", "First"), (2, "two", "Second"), (3, "one", "First")] {
        first.apply("definitions", folder, generation).await?;
        assert_eq!(first.description().await?, description);
        second.wait_for_description(description).await?;
    }
    assert!(second.up.err().contains("reload activated"), "{}", second.up.err());

    let second = second.restart().await?;
    assert_eq!(second.description().await?, "First");
    let log = second.up.err();
    assert!(log.contains("source is not used, because a generation was applied for every pod"), "{log}");
    assert_eq!(applied_events(&second.terminal).await?, 3);
    assert_eq!(second.terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_one_pod_applies_decides_on_every_pod_and_at_every_start() -> Result<()> {
    let [first, second] = start_hosts("applied_policy").await?;
    first.terminal.write_file("wider/guard.tar.gz", bundle_with_wider_role()?)?;
    assert_eq!(second.exit_code_of_operator().await?, 3);
    first.apply("policy", "wider", 1).await?;
    assert_eq!(first.exit_code_of_operator().await?, 0);
    second.wait_for_operator(0).await?;
    let second = second.restart().await?;
    assert_eq!(second.exit_code_of_operator().await?, 0);

    second.apply("policy", SHIPPED, 2).await?;
    assert_eq!(second.exit_code_of_operator().await?, 3);
    first.wait_for_operator(3).await
}

#[tokio::test]
async fn what_is_broken_is_refused_whole_with_all_its_problems_and_changes_nothing() -> Result<()> {
    let [first, second] = start_hosts("refused").await?;
    write_definitions(&first.terminal, "broken", "Broken")?;
    let broken = DefinitionsDir::new(&first.terminal.folder().join("broken"))?;
    broken.write_agent("a_agent", "business_ops", "runtime: native\n  handler: native.none")?;
    broken.write_agent("b_agent", "business_ops", "runtime: native\n  handler: native.echo\n  timeouts: 1")?;
    let error = first.terminal.run(&["definitions", "apply", "broken"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_definition", "{error:#}");
    let problems = error["details"]["problems"].to_string();
    assert!(["a_agent.yaml", "b_agent.yaml"].iter().all(|file| problems.contains(file)), "{error:#}");
    let read = first.terminal.run(&["definitions", "apply", "broken", "-o", "table"]).await?;
    let is_listed = |file: &str| read.err.lines().any(|line| line.contains(file) && line.contains("error["));
    assert!(read.code == 2 && is_listed("a_agent.yaml:") && is_listed("b_agent.yaml:"), "{read:?}");

    // Its text reads less than what it decides by, which the trial finds.
    let own = format!("{BUNDLES}/own.tar.gz");
    let untrue = edited_bundle(&own, |name, contents| {
        let text = String::from_utf8(contents.clone()).unwrap_or_default();
        let is_edited = name.ends_with(".rego");
        Ok(if is_edited { text.replace("input.user.id == ", "\"x\" == ").into_bytes() } else { contents })
    })?;
    first.terminal.write_file("untrue.tar.gz", untrue)?;
    first.terminal.write_file("text.tar.gz", "not a bundle")?;
    let last = changed_bundle(|data| data["cfg"]["roles"]["admin"]["anywhere"]["apply_policy"] = json!(0))?;
    first.terminal.write_file("last.tar.gz", last)?;
    let (open, misspelt) = (format!("{BUNDLES}/open.tar.gz"), format!("{BUNDLES}/misspelt.tar.gz"));
    for (bundle, message) in [
        ("untrue.tar.gz", "input.user.id"),
        ("text.tar.gz", "not a gzipped tar"),
        ("last.tar.gz", "denies `apply_policy` to local/default/admin"),
        (&*open, "fails its validation"),
        (&*misspelt, "input.principal.tenannt"),
    ] {
        let error = first.terminal.run(&["policy", "apply", bundle]).await?.expect_error(2)?;
        assert_eq!(error["code"], "invalid_policy", "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error:#}");
    }
    assert_eq!((first.description().await?, second.exit_code_of_operator().await?), (json!(OWN), 3));
    // Nothing of it was stored.
    write_definitions(&first.terminal, "one", "First")?;
    first.apply("definitions", "one", 1).await?;
    second.wait_for_description("First").await
}

#[tokio::test]
async fn an_embedded_pod_uses_its_folder_until_a_catalogue_is_applied() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    write_definitions(&terminal, "definitions", OWN)?;
    terminal.add_options(&["--definitions", "definitions"]);
    let host = Host::start(terminal).await?;
    write_definitions(&host.terminal, "definitions", "Edited")?;
    host.wait_for_description("Edited").await?;
    write_definitions(&host.terminal, "one", "First")?;
    host.apply("definitions", "one", 1).await?;
    assert_eq!(host.description().await?, "First");

    write_definitions(&host.terminal, "definitions", "Edited again")?;
    let host = host.restart().await?;
    assert_eq!(host.description().await?, "First");
    host.apply("definitions", "definitions", 2).await?;
    assert_eq!(host.description().await?, "Edited again");
    Ok(())
}
