//! Disk failures: a full disk, a database that is locked, damaged, restored from an old copy or missing. Each
//! is reported with its code and a remedy, rejects new work, and loses no record.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use sqlx::{Connection, Executor, SqliteConnection};

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "calls_in_a_row";
const ECHO: [&str; 5] = ["run", "agent", "echo_agent", "--input", "text=hello"];
/// Size of a page of the database in bytes.
const PAGE_BYTES: usize = 4096;

/// A fixture with an agent that returns its input, and one that calls the model.
fn fixture(server: &ScriptServer) -> Result<ModelFixture> {
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent(AGENT, 120, 100)?;
    fixture.definitions.write_echo_agent("echo_agent")?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 2)?;
    Ok(fixture)
}

async fn fixture_without_load() -> Result<ModelFixture> {
    fixture(&ScriptServer::start(|_| ServerBehavior::Good).await?)
}

fn database(terminal: &CliHarness) -> PathBuf {
    terminal.data_dir().join("greenroom.db")
}

/// Limits the size of the files that the process writes: beyond it every write fails, as on a full disk.
fn limit_file_size(process: &RunningCommand, bytes: &str) -> Result<()> {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &process.id(), &limit]).status()?;
    ensure!(status.success(), "prlimit ended with {status}");
    Ok(())
}

async fn expect_sound(terminal: &CliHarness) -> Result<()> {
    let checked = terminal.run(&["db", "check"]).await?.expect_success()?;
    assert_eq!((&checked["ok"], &checked["audit"]["valid"]), (&true.into(), &true.into()), "{checked:#}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_rejects_new_work_and_loses_none() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Slow(Duration::from_millis(100))).await?;
    let fixture = fixture(&server)?;
    let terminal = &fixture.terminal;
    let (up, _) = fixture.up().await?;
    let words = ["run", "workflow", WORKFLOW, "--input", "text=hello", "--detach"];
    let run = terminal.run(&words).await?.expect_success()?["id"].as_str().context("a run")?.to_owned();
    let in_flight = || async { (server.count() > 0).then_some(()) };
    wait_until("a step is in flight", COMMAND_WAIT_MAX, in_flight).await?;

    limit_file_size(&up, "1")?;
    let refused = terminal.run(&ECHO).await?;
    let error = refused.expect_error(1)?;
    assert_eq!(
        (&error["code"], &error["details"]["store"]),
        (&"audit_unavailable".into(), &"disk".into()),
        "{error:#}"
    );
    assert!(error["message"].as_str().is_some_and(|text| text.contains("check the disk")), "{error:#}");
    let first_answer = || async { server.answers_sent().values().next().copied() };
    wait_until("the step in flight has its answer", COMMAND_WAIT_MAX, first_answer).await?;
    terminal.run(&ECHO).await?.expect_error(1)?;

    limit_file_size(&up, "unlimited")?;
    let succeeds = || async { terminal.run(&ECHO).await.ok()?.expect_success().ok() };
    wait_until("new work succeeds", COMMAND_WAIT_MAX, succeeds).await?;
    let has_ended = || async {
        let report = terminal.run(&["runs", "show", &run]).await.ok()?.expect_success().ok()?;
        (report["run"]["status"] != "running").then_some(report)
    };
    let report = wait_until("the run continues by itself", COMMAND_WAIT_MAX, has_ended).await?;
    assert_eq!(report["run"]["status"], "success", "{report:#}");
    assert_eq!(server.answers_sent().len(), 2, "each step has one key: {:?}", server.answers_sent());
    expect_sound(terminal).await?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    expect_sound(terminal).await
}

#[tokio::test]
async fn a_database_locked_by_another_process_is_reported_and_works_once_unlocked() -> Result<()> {
    let fixture = fixture_without_load().await?;
    let terminal = &fixture.terminal;
    let (up, _) = fixture.up().await?;
    terminal.run(&ECHO).await?.expect_success()?;
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", database(terminal).display())).await?;
    other.execute("BEGIN IMMEDIATE").await?;
    let error = terminal.run(&ECHO).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"audit_unavailable".into(), &"locked".into()));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("fuser")), "{error:#}");
    other.execute("ROLLBACK").await?;
    terminal.run(&ECHO).await?.expect_success()?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);

    // The same without a host, where the command opens the file itself.
    other.execute("BEGIN EXCLUSIVE").await?;
    let error = terminal.run(&ECHO).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"locked".into()));
    other.execute("ROLLBACK").await?;
    other.close().await?;
    terminal.run(&ECHO).await?.expect_success()?;
    expect_sound(terminal).await
}

/// A fixture whose database has some records and was closed properly.
async fn fixture_with_records() -> Result<ModelFixture> {
    let fixture = fixture_without_load().await?;
    for _ in 0..3 {
        fixture.terminal.run(&ECHO).await?.expect_success()?;
    }
    Ok(fixture)
}

/// The report of `db check` on a database that is not sound.
async fn check_unsound(terminal: &CliHarness) -> Result<Json> {
    let checked = terminal.run(&["db", "check"]).await?;
    assert_eq!(checked.code, 1, "{checked:?}");
    let report = checked.json()?;
    assert_eq!(report["ok"], false, "{report:#}");
    Ok(report)
}

async fn expect_damaged(terminal: &CliHarness) -> Result<()> {
    let error = terminal.run(&ECHO).await?.expect_error(1)?;
    assert_eq!(error["details"]["store"], "corrupt", "{error:#}");
    let report = check_unsound(terminal).await?;
    assert!(names_a_problem(&report), "{report:#}");
    Ok(())
}

async fn records(terminal: &CliHarness) -> Result<usize> {
    let page = terminal.run(&["audit", "list", "--limit", "500"]).await?.expect_success()?;
    Ok(page["records"].as_array().context("records")?.len())
}

fn names_a_problem(report: &Json) -> bool {
    report["problems"].as_array().is_some_and(|problems| !problems.is_empty())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_rejected_and_checked() -> Result<()> {
    let fixture = fixture_with_records().await?;
    let terminal = &fixture.terminal;
    let mut bytes = fs::read(database(terminal))?;
    bytes[..100].fill(b'x');
    fs::write(database(terminal), bytes)?;
    let error = terminal.run(&ECHO).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"corrupt".into()));
    let message = error["message"].as_str().context("a message")?;
    assert!(message.contains("greenroom db check") && message.contains("backup"), "{message}");
    let report = check_unsound(terminal).await?;
    assert!(names_a_problem(&report), "{report:#}");
    assert!(report["error"].as_str().is_some_and(|text| text.contains("restore a backup")), "{report:#}");
    Ok(())
}

#[tokio::test]
async fn damaged_pages_are_reported_by_the_check() -> Result<()> {
    let fixture = fixture_with_records().await?;
    let terminal = &fixture.terminal;
    let mut bytes = fs::read(database(terminal))?;
    ensure!(bytes.len() > 8 * PAGE_BYTES, "the file has {} bytes", bytes.len());
    // The first page is left intact, because it identifies the file as a database.
    for page in bytes.chunks_mut(PAGE_BYTES).skip(1) {
        page.iter_mut().take(64).for_each(|byte| *byte = !*byte);
    }
    fs::write(database(terminal), bytes)?;
    expect_damaged(terminal).await
}

#[tokio::test]
async fn a_truncated_file_is_reported_by_the_check() -> Result<()> {
    let fixture = fixture_with_records().await?;
    let terminal = &fixture.terminal;
    let length = fs::metadata(database(terminal))?.len();
    fs::OpenOptions::new().write(true).open(database(terminal))?.set_len(length / 2)?;
    expect_damaged(terminal).await
}

#[tokio::test]
async fn a_restored_older_copy_is_rejected_and_the_missing_record_is_named() -> Result<()> {
    let fixture = fixture_with_records().await?;
    let terminal = &fixture.terminal;
    let copy = terminal.folder().join("copy.db");
    let to = copy.display().to_string();
    terminal.run(&["db", "backup", &to]).await?.expect_success()?;
    for _ in 0..3 {
        terminal.run(&ECHO).await?.expect_success()?;
    }
    let signed = terminal.run(&["audit", "verify"]).await?.expect_success()?["signed"].clone();
    let newer = fs::read(database(terminal))?;
    fs::copy(&copy, database(terminal))?;

    let error = terminal.run(&ECHO).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"chain".into()));
    let verified = terminal.run(&["audit", "verify"]).await?;
    let report = verified.json()?;
    assert_eq!((verified.code, &report["valid"]), (1, &false.into()), "{report:#}");
    let violation = report["violation"].as_str().context("a violation")?;
    assert!(violation.contains("the chain was truncated"), "{report:#}");
    let last = violation.split("but record ").nth(1).and_then(|rest| rest.split(' ').next()).context("a number")?;
    assert!(last.parse::<u64>()? >= signed.as_u64().context("a number")?, "{violation}, {signed}");
    let report = check_unsound(terminal).await?;
    assert_eq!((&report["problems"], &report["audit"]["violation"]), (&Json::Array(Vec::new()), &violation.into()));

    // The rejected copy was not written to, so the newer file still matches the signed head.
    fs::write(database(terminal), newer)?;
    terminal.run(&ECHO).await?.expect_success()?;
    expect_sound(terminal).await
}

#[tokio::test]
async fn a_backup_overwrites_no_file_and_creates_no_folder() -> Result<()> {
    let fixture = fixture_with_records().await?;
    let terminal = &fixture.terminal;
    let existing = terminal.write_file("there.db", "")?;
    let error = terminal.run(&["db", "backup", "there.db"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("there.db exists already")), "{error:#}");
    assert_eq!(fs::metadata(existing)?.len(), 0, "the existing file is unchanged");
    let error = terminal.run(&["db", "backup", "nowhere/copy.db"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    terminal.run(&["db", "backup", "copy.db"]).await?.expect_success()?;

    // A copy in a data directory is a complete store. The head was signed after the copy was made.
    let mut restored = CliHarness::open()?;
    restored.add_options(&["-o", "json"]);
    fs::create_dir_all(restored.data_dir())?;
    fs::copy(terminal.data_dir().join("audit.key"), restored.data_dir().join("audit.key"))?;
    fs::copy(terminal.folder().join("copy.db"), database(&restored))?;
    expect_sound(&restored).await?;
    ensure!(records(&restored).await? > 0, "the copy holds the records");
    Ok(())
}
