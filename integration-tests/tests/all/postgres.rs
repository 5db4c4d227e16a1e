//! The command line over a PostgreSQL database: migrated by a command, then used like any other store, also by several
//! data directories that have one key.

mod copies;
mod faults;

use std::fs;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::artifacts::s3_variables;
use crate::tls::variable;

/// The variable with the URL of a server, as a user who may create databases.
const URL_VARIABLE: &str = "GREENROOM_TEST_POSTGRES_URL";

/// A database of its own for one test, without a schema. The server of the tests ends with them, so it is not dropped.
pub(crate) async fn create_database(name: &str) -> Result<String> {
    let server = std::env::var(URL_VARIABLE)
        .with_context(|| format!("{URL_VARIABLE} names no server; `scripts/test` starts one"))?;
    let name = format!("greenroom_cli_{name}_{}", std::process::id());
    let options: PgConnectOptions = server.parse()?;
    options.connect().await?.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    Ok(options.database(&name).to_url_lossy().to_string())
}

/// A harness whose commands use this database and the agent `echo_agent`.
pub(super) fn harness(url: &str) -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    DefinitionsDir::new(&terminal.folder().join("definitions"))?.write_echo_agent("echo_agent")?;
    terminal.add_options(&["--definitions", "definitions"]);
    terminal.set_variable("DATABASE_URL", url);
    Ok(terminal)
}

#[tokio::test]
async fn a_database_is_migrated_by_a_command_and_then_used_like_any_other_store() -> Result<()> {
    let terminal = harness(&create_database("used").await?)?;
    let echo = ["run", "agent", "echo_agent", "--input", "text=hello"];
    let error = terminal.run(&echo).await?.expect_error(1)?;
    assert_eq!(error["details"]["store"], "unmigrated", "{error:#}");
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    assert_eq!(terminal.run(&echo).await?.expect_success()?["outputs"]["text"], "hello");
    let checked = terminal.run(&["db", "check"]).await?.expect_success()?;
    assert_eq!((&checked["ok"], &checked["audit"]["valid"]), (&true.into(), &true.into()), "{checked:#}");
    let pruned = terminal.run(&["db", "prune", "--older-than", "1d"]).await?.expect_success()?;
    assert_eq!((&pruned["runs"], &pruned["audit_records"]), (&0.into(), &0.into()), "{pruned:#}");
    let backup = terminal.run(&["db", "backup", "copy.dump"]).await?.expect_success()?;
    assert!(backup["command"].as_str().is_some_and(|command| command.starts_with("pg_dump ")), "{backup:#}");
    Ok(())
}

/// Executes a statement past the pods.
async fn execute(url: &str, sql: &'static str) -> Result<()> {
    let options: PgConnectOptions = url.parse()?;
    options.connect().await?.execute(sql).await?;
    Ok(())
}

#[tokio::test]
async fn a_format_is_finalized_by_a_command_once_every_pod_reads_it() -> Result<()> {
    const FINALIZE: [&str; 2] = ["cluster", "finalize"];
    const FINALIZE_AS_TEXT: [&str; 4] = ["cluster", "finalize", "-o", "table"];
    let url = create_database("finalized").await?;
    let terminal = harness(&url)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    let unchanged = terminal.run(&FINALIZE).await?.expect_success()?;
    assert_eq!((&unchanged["state"], &unchanged["journal_version"]), (&"unchanged".into(), &2.into()), "{unchanged:#}");

    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    // As if the pod were of the release that has written version 1.
    execute(&url, "UPDATE cluster_format SET journal_version = 1").await?;
    execute(&url, "UPDATE pods SET reads_to = 1").await?;
    let refused = terminal.run(&FINALIZE).await?;
    let document = refused.json()?;
    assert_eq!((refused.code, &document["state"]), (1, &"refused".into()), "{refused:?}");
    assert_eq!(document["pods"].as_array().map(Vec::len), Some(1), "{refused:?}");
    let text = terminal.run(&FINALIZE_AS_TEXT).await?;
    let expected = "not finalized: these pods do not read the format of this release: ";
    assert!(text.code == 1 && text.out.starts_with(expected), "{text:?}");

    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    let done = terminal.run(&FINALIZE).await?.expect_success()?;
    assert_eq!((&done["state"], &done["journal_version"]), (&"done".into(), &2.into()), "{done:#}");
    assert!(done["finalized_at"].is_i64(), "{done:#}");
    let text = terminal.run(&FINALIZE_AS_TEXT).await?;
    assert!(text.code == 0 && text.out.starts_with("journals of version 2 may be written already"), "{text:?}");
    Ok(())
}

#[tokio::test]
async fn a_file_has_no_format_to_finalize() -> Result<()> {
    let error = CliHarness::open()?.run(&["cluster", "finalize"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    Ok(())
}

#[tokio::test]
async fn the_chains_of_all_starts_are_exported_and_verified_with_the_public_key() -> Result<()> {
    let terminal = harness(&create_database("exported").await?)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    for _ in 0..3 {
        terminal.run(&["agents", "list"]).await?.expect_success()?;
    }
    terminal.run(&["audit", "export-key", "--out", "audit.pem"]).await?.expect_success()?;
    let exported = terminal.run(&["audit", "export", "audit.export"]).await?.expect_success()?;
    assert!(exported["root_records"].as_u64().is_some_and(|records| records >= 3), "{exported:#}");
    for source in [&["--export", "audit.export"][..], &[]] {
        let words = [&["audit", "verify", "--public-key", "audit.pem"][..], source].concat();
        let verified = terminal.run(&words).await?.expect_success()?;
        assert_eq!((&verified["valid"], &verified["records"]), (&true.into(), &exported["records"]), "{verified:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_record_of_several_chains_is_listed_and_shown_with_its_chain() -> Result<()> {
    let terminal = harness(&create_database("chains").await?)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    let echo = ["run", "agent", "echo_agent", "--input", "text=hello"];
    for _ in 0..2 {
        terminal.run(&echo).await?.expect_success()?;
    }
    let listed = terminal.run(&["audit", "list", "-o", "json"]).await?.expect_success()?;
    let records = listed["records"].as_array().context("records")?;
    let is_closed = |record: &&Json| record["event"]["kind"] == "closed";
    let closed = records.iter().find(is_closed).with_context(|| format!("a closed entry: {listed:#}"))?;
    let position = |record: &Json| format!("{}/{}", record["chain"], record["number"]);
    assert_eq!(closed["opened"]["chain"], closed["chain"], "{closed:#}");
    for name in [position(closed), position(&closed["opened"])] {
        let reply = terminal.run(&["audit", "show", &name, "-o", "json"]).await?.expect_success()?;
        let found: Vec<_> = reply["records"].as_array().context("records")?.iter().map(position).collect();
        assert_eq!(found, [name.as_str()], "{reply:#}");
        let table = terminal.run(&["audit", "show", &name, "-o", "table"]).await?;
        assert!(table.out.contains(&name), "{}", table.out);
    }
    let table = terminal.run(&["audit", "list", "-o", "table"]).await?;
    let closing = format!("closed {}", position(&closed["opened"]));
    assert!(table.out.contains(&position(closed)) && table.out.contains(&closing), "{}", table.out);
    Ok(())
}

#[tokio::test]
async fn data_directories_that_share_a_database_have_one_key() -> Result<()> {
    let url = create_database("shared").await?;
    let (first, second) = (harness(&url)?, harness(&url)?);
    first.run(&["db", "migrate"]).await?.expect_success()?;
    first.run(&["agents", "list"]).await?.expect_success()?;
    let error = second.run(&["agents", "list"]).await?.expect_error(1)?;
    assert_eq!(error["details"]["store"], "other_directory", "{error:#}");
    fs::copy(first.data_dir().join("audit.key"), second.data_dir().join("audit.key"))?;
    let entries = second.run(&["audit", "list"]).await?.expect_success()?;
    assert!(entries["records"].as_array().is_some_and(|records| records.len() >= 2), "{entries:#}");
    assert_eq!(second.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

/// Fails unless a pod is refused that stores artifacts in a place with this end, because of one in another place.
async fn expect_not_shared(terminal: &CliHarness, own: &str, other: &str) -> Result<()> {
    let error = terminal.run(&["agents", "list"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "artifacts_not_shared", "{error:#}");
    assert!(error["details"]["pod"].is_string(), "{error:#}");
    let message = error["message"].as_str().context("a message")?;
    for (member, expected) in [("artifacts", own), ("pod_artifacts", other)] {
        let location = error["details"][member].as_str().context("a place")?;
        assert!(location.ends_with(expected) && message.contains(location), "{member}: {error:#}");
    }
    assert!(!error.to_string().contains(&s3_variables()?[3].1), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_further_pod_needs_artifacts_that_all_pods_of_the_database_share() -> Result<()> {
    let url = create_database("artifacts").await?;
    let [mut first, mut folder, mut bucket] = [harness(&url)?, harness(&url)?, harness(&url)?];
    for terminal in [&mut first, &mut folder, &mut bucket] {
        terminal.set_variable("GREENROOM_AUDIT_KEY", &"7".repeat(64));
    }
    let s3 = s3_variables()?;
    let bucket_location = format!("/{}/artifacts", s3[1].1);
    s3.iter().for_each(|(name, value)| bucket.set_variable(name, value));
    first.run(&["db", "migrate"]).await?.expect_success()?;
    let up = first.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    expect_not_shared(&folder, "own folder", "own folder").await?;
    // That this pod shares its folder does not let it find what the other one has in its own.
    folder.set_variable("GREENROOM_ARTIFACTS_SHARED", "true");
    expect_not_shared(&folder, "shared folder", "own folder").await?;
    expect_not_shared(&bucket, &bucket_location, "own folder").await?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);

    s3.iter().for_each(|(name, value)| first.set_variable(name, value));
    let up = first.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    bucket.run(&["agents", "list"]).await?.expect_success()?;
    expect_not_shared(&folder, "shared folder", &bucket_location).await?;
    // Another bucket, as far as an address shows it.
    bucket.set_variable("S3_ENDPOINT", &variable("GREENROOM_TEST_S3_TLS_URL")?);
    bucket.set_variable("S3_CA_FILE", &variable("GREENROOM_TEST_CA_FILE")?);
    expect_not_shared(&bucket, &bucket_location, &bucket_location).await?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    folder.run(&["agents", "list"]).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_declared_dead_starts_again_as_another_pod() -> Result<()> {
    let url = create_database("dead_host").await?;
    let terminal = harness(&url)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let options: PgConnectOptions = url.parse()?;
    options.connect().await?.execute("UPDATE pods SET dead = true").await?;
    up.wait_for_output("starting again as a new pod").await?;
    let echo = ["run", "agent", "echo_agent", "--input", "text=hello"];
    let is_executed = || async { terminal.run(&echo).await.ok()?.expect_success().ok() };
    let reply = wait_until("the new pod executes a request", COMMAND_WAIT_MAX, is_executed).await?;
    assert_eq!(reply["outputs"]["text"], "hello");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}
