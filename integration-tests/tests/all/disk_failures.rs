//! Disks that are full, files that are locked, damaged, put back or gone: each is said with its code and
//! with what to do, refuses new work, and loses nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_integration_tests::wait::until;
use greenroom_protocol::Json;
use sqlx::{Connection, Executor, SqliteConnection};

const AGENT: &str = "asking_agent";
const WORKFLOW: &str = "asking_in_a_row";
const ECHO: [&str; 5] = ["run", "agent", "echo_agent", "--input", "text=hello"];
/// Bytes of a page of the database.
const PAGE_BYTES: usize = 4096;

/// A stand with an agent that gives its input back, and one that asks the server.
fn stand(server: &ScriptServer) -> Result<ModelFixture> {
    let stand = ModelFixture::asking(server.url())?;
    stand.asking_agent(AGENT, 120, 100)?;
    stand.definitions.echo_agent("echo_agent")?;
    stand.definitions.row_workflow(WORKFLOW, AGENT, 2)?;
    Ok(stand)
}

async fn idle() -> Result<ModelFixture> {
    stand(&ScriptServer::start(|_| ServerBehavior::Good).await?)
}

fn database(terminal: &CliHarness) -> PathBuf {
    terminal.data_dir().join("greenroom.db")
}

/// Lets the process write files of at most this size: beyond it every write is refused, as on a full disk.
fn limit(process: &RunningCommand, bytes: &str) -> Result<()> {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &process.id(), &limit]).status()?;
    ensure!(status.success(), "prlimit says {status}");
    Ok(())
}

async fn expect_whole(terminal: &CliHarness) -> Result<()> {
    let checked = terminal.run(&["db", "check"]).await?.done()?;
    assert_eq!((&checked["sound"], &checked["audit"]["holds"]), (&true.into(), &true.into()), "{checked:#}");
    Ok(())
}

#[tokio::test]
async fn a_disk_that_takes_no_more_refuses_new_work_and_loses_none() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Slow(Duration::from_millis(100))).await?;
    let stand = stand(&server)?;
    let terminal = &stand.terminal;
    let (up, _) = stand.up().await?;
    let words = ["run", "workflow", WORKFLOW, "--input", "text=hello", "--detach"];
    let run = terminal.run(&words).await?.done()?["id"].as_str().context("a run")?.to_owned();
    let in_flight = || async { (server.count() > 0).then_some(()) };
    until("a step is in flight", COMMAND_WAIT_MAX, in_flight).await?;

    limit(&up, "1")?;
    let refused = terminal.run(&ECHO).await?;
    let error = refused.refused(1)?;
    assert_eq!(
        (&error["code"], &error["details"]["store"]),
        (&"audit_unavailable".into(), &"disk".into()),
        "{error:#}"
    );
    assert!(error["message"].as_str().is_some_and(|text| text.contains("look at the disk")), "{error:#}");
    let answered = || async { server.answered().values().next().copied() };
    until("the step in flight is answered", COMMAND_WAIT_MAX, answered).await?;
    terminal.run(&ECHO).await?.refused(1)?;

    limit(&up, "unlimited")?;
    let works = || async { terminal.run(&ECHO).await.ok()?.done().ok() };
    until("work goes on", COMMAND_WAIT_MAX, works).await?;
    let ended = || async {
        let shown = terminal.run(&["runs", "show", &run]).await.ok()?.done().ok()?;
        (shown["run"]["state"] != "running").then_some(shown)
    };
    let ended = until("the run goes on by itself", COMMAND_WAIT_MAX, ended).await?;
    assert_eq!(ended["run"]["state"], "success", "{ended:#}");
    assert_eq!(server.answered().len(), 2, "each step has one key: {:?}", server.answered());
    expect_whole(terminal).await?;
    up.terminate()?;
    assert_eq!(up.ended().await?.code, 0);
    expect_whole(terminal).await
}

#[tokio::test]
async fn a_database_that_somebody_else_has_locked_is_said_so_and_free_again_it_works() -> Result<()> {
    let stand = idle().await?;
    let terminal = &stand.terminal;
    let (up, _) = stand.up().await?;
    terminal.run(&ECHO).await?.done()?;
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", database(terminal).display())).await?;
    other.execute("BEGIN IMMEDIATE").await?;
    let error = terminal.run(&ECHO).await?.refused(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"audit_unavailable".into(), &"locked".into()));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("fuser")), "{error:#}");
    other.execute("ROLLBACK").await?;
    terminal.run(&ECHO).await?.done()?;
    up.terminate()?;
    assert_eq!(up.ended().await?.code, 0);

    // The same where nobody hosts, and the command would open the file itself.
    other.execute("BEGIN EXCLUSIVE").await?;
    let error = terminal.run(&ECHO).await?.refused(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"locked".into()));
    other.execute("ROLLBACK").await?;
    other.close().await?;
    terminal.run(&ECHO).await?.done()?;
    expect_whole(terminal).await
}

/// A database with some records, closed in order.
async fn closed() -> Result<ModelFixture> {
    let stand = idle().await?;
    for _ in 0..3 {
        stand.terminal.run(&ECHO).await?.done()?;
    }
    Ok(stand)
}

/// What `db check` says of a database that is not sound.
async fn unsound(terminal: &CliHarness) -> Result<Json> {
    let checked = terminal.run(&["db", "check"]).await?;
    assert_eq!(checked.code, 1, "{checked:?}");
    let report = checked.json()?;
    assert_eq!(report["sound"], false, "{report:#}");
    Ok(report)
}

async fn expect_damaged(terminal: &CliHarness) -> Result<()> {
    let error = terminal.run(&ECHO).await?.refused(1)?;
    assert_eq!(error["details"]["store"], "corrupt", "{error:#}");
    let report = unsound(terminal).await?;
    assert!(names_a_problem(&report), "{report:#}");
    Ok(())
}

async fn records(terminal: &CliHarness) -> Result<usize> {
    let listed = terminal.run(&["audit", "list", "--limit", "500"]).await?.done()?;
    Ok(listed["records"].as_array().context("records")?.len())
}

fn names_a_problem(report: &Json) -> bool {
    report["problems"].as_array().is_some_and(|problems| !problems.is_empty())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_examined() -> Result<()> {
    let stand = closed().await?;
    let terminal = &stand.terminal;
    let mut bytes = fs::read(database(terminal))?;
    bytes[..100].fill(b'x');
    fs::write(database(terminal), bytes)?;
    let error = terminal.run(&ECHO).await?.refused(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"corrupt".into()));
    let message = error["message"].as_str().context("a message")?;
    assert!(message.contains("greenroom db check") && message.contains("backup"), "{message}");
    let report = unsound(terminal).await?;
    assert!(names_a_problem(&report), "{report:#}");
    assert!(report["refused"].as_str().is_some_and(|text| text.contains("restore a backup")), "{report:#}");
    Ok(())
}

#[tokio::test]
async fn pages_that_were_flipped_are_named_by_the_check() -> Result<()> {
    let stand = closed().await?;
    let terminal = &stand.terminal;
    let mut bytes = fs::read(database(terminal))?;
    ensure!(bytes.len() > 8 * PAGE_BYTES, "the file has {} bytes", bytes.len());
    // Every page but the first, which says that it is a database at all.
    for page in bytes.chunks_mut(PAGE_BYTES).skip(1) {
        page.iter_mut().take(64).for_each(|byte| *byte = !*byte);
    }
    fs::write(database(terminal), bytes)?;
    expect_damaged(terminal).await
}

#[tokio::test]
async fn a_file_that_was_cut_is_named_by_the_check() -> Result<()> {
    let stand = closed().await?;
    let terminal = &stand.terminal;
    let length = fs::metadata(database(terminal))?.len();
    fs::OpenOptions::new().write(true).open(database(terminal))?.set_len(length / 2)?;
    expect_damaged(terminal).await
}

#[tokio::test]
async fn an_older_copy_put_back_is_refused_and_the_missing_record_is_named() -> Result<()> {
    let stand = closed().await?;
    let terminal = &stand.terminal;
    let copy = terminal.folder().join("copy.db");
    let to = copy.display().to_string();
    terminal.run(&["db", "backup", &to]).await?.done()?;
    for _ in 0..3 {
        terminal.run(&ECHO).await?.done()?;
    }
    let signed = terminal.run(&["audit", "verify"]).await?.done()?["signed"].clone();
    let newer = fs::read(database(terminal))?;
    fs::copy(&copy, database(terminal))?;

    let error = terminal.run(&ECHO).await?.refused(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"chain".into()));
    let verified = terminal.run(&["audit", "verify"]).await?;
    let report = verified.json()?;
    assert_eq!((verified.code, &report["holds"]), (1, &false.into()), "{report:#}");
    let fault = report["fault"].as_str().context("a fault")?;
    assert!(fault.contains("the end was cut off"), "{report:#}");
    let last = fault.split("but record ").nth(1).and_then(|rest| rest.split(' ').next()).context("a number")?;
    assert!(last.parse::<u64>()? >= signed.as_u64().context("a number")?, "{fault}, {signed}");
    let report = unsound(terminal).await?;
    assert_eq!((&report["problems"], &report["audit"]["fault"]), (&Json::Array(Vec::new()), &fault.into()));

    // Nothing was written meanwhile: the newer file still fits.
    fs::write(database(terminal), newer)?;
    terminal.run(&ECHO).await?.done()?;
    expect_whole(terminal).await
}

#[tokio::test]
async fn a_copy_is_never_written_over_a_file_nor_into_a_folder_that_is_not_there() -> Result<()> {
    let stand = closed().await?;
    let terminal = &stand.terminal;
    let there = terminal.file("there.db", "")?;
    let error = terminal.run(&["db", "backup", "there.db"]).await?.refused(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("there.db is there already")), "{error:#}");
    assert_eq!(fs::metadata(there)?.len(), 0, "it is as it was");
    let error = terminal.run(&["db", "backup", "nowhere/copy.db"]).await?.refused(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    terminal.run(&["db", "backup", "copy.db"]).await?.done()?;

    // A copy in the place of the file is a store like any other.
    let mut fresh = CliHarness::open()?;
    fresh.always(&["-o", "json"]);
    fs::create_dir_all(fresh.data_dir())?;
    for file in ["audit.key", "audit.head"] {
        fs::copy(terminal.data_dir().join(file), fresh.data_dir().join(file))?;
    }
    fs::copy(terminal.folder().join("copy.db"), database(&fresh))?;
    expect_whole(&fresh).await?;
    let (of_copy, of_first) = (records(&fresh).await?, records(terminal).await?);
    ensure!(of_copy > 0 && of_copy <= of_first, "the copy holds {of_copy} records, the file {of_first}");
    Ok(())
}
