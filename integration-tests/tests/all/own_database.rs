//! A data directory and its database: what is said if they do not belong together, if a file cannot be used, and what
//! works if both were moved.

use std::fs;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

const LIST: [&str; 2] = ["agents", "list"];

fn message(error: &Json) -> &str {
    error["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_data_directory_with_another_database_is_reported_as_such_and_not_as_changed() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.run(&LIST).await?.expect_success()?;
    terminal.set_variable("DATABASE_URL", "sqlite:other.db");
    for words in [&LIST[..], &["audit", "list"]] {
        let error = terminal.run(words).await?.expect_error(1)?;
        assert_eq!(
            (&error["code"], &error["details"]["store"]),
            (&"store_unavailable".into(), &"other_database".into())
        );
        let text = message(&error);
        for part in ["belongs to another database", "audit.head", "other.db"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("changed") && !text.contains("removed") && !text.contains("inserted"), "{text}");
    }
    // Its own database works as before.
    terminal.set_variable("DATABASE_URL", "");
    terminal.run(&LIST).await?.expect_success()?;

    // The same database with a data directory of another one, which has a key of its own.
    let mut other = CliHarness::open()?;
    other.run(&LIST).await?.expect_success()?;
    other.set_variable("GREENROOM_STORE_URL", &format!("sqlite:{}/greenroom.db", terminal.data_dir().display()));
    let error = other.run(&LIST).await?.expect_error(1)?;
    assert_eq!(error["details"]["store"], "other_directory", "{error:#}");
    assert!(message(&error).contains("belongs to another data directory"), "{error:#}");
    // A restoration does not replace the database of another directory.
    other.write_file("copy.db", "x")?;
    other.set_variable("GREENROOM_STORE_URL", "");
    other.run(&["db", "backup", "own.db"]).await?.expect_success()?;
    other.set_variable("GREENROOM_STORE_URL", &format!("sqlite:{}/greenroom.db", terminal.data_dir().display()));
    let error = other.run(&["db", "restore", "own.db"]).await?.expect_error(1)?;
    assert_eq!(error["details"]["store"], "other_directory", "{error:#}");
    terminal.run(&LIST).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_named_by_its_path() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    fs::create_dir_all(terminal.folder().join("folder.db"))?;
    terminal.write_file("text.db", "this is no database, but has many bytes".repeat(200))?;
    for (url, path) in
        [("sqlite:folder.db", "folder.db"), ("sqlite:text.db", "text.db"), ("sqlite:none/x.db", "none/x.db")]
    {
        terminal.set_variable("DATABASE_URL", url);
        let output = terminal.run(&LIST).await?;
        let error = output.expect_error(1)?;
        assert_eq!(error["code"], "store_unavailable", "{url}: {error:#}");
        assert!(message(&error).contains(path), "{url}: {error:#}");
        assert!(output.err.contains("store failed"), "the log has the reason: {}", output.err);
    }
    terminal.set_variable("DATABASE_URL", "");
    fs::write(terminal.data_dir().with_file_name("file"), "x")?;
    terminal.set_variable("GREENROOM_DATA_DIR", &terminal.folder().join("file").display().to_string());
    let error = terminal.run(&LIST).await?.expect_error(1)?;
    assert!(message(&error).contains("file"), "{error:#}");
    Ok(())
}

/// A workflow that waits for a person between two steps.
const WAITING: &str = "
workflow_id: waiting
name: Waiting
inputs: [{ name: text, type: text, required: true }]
steps:
  - { id: first, agent: echo_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: sign, approval: { prompt: Sign it? }, depends_on: [first] }
  - { id: last, agent: echo_agent, inputs: { text: \"${steps.first.outputs.text}\" }, outputs: [text], depends_on: [sign] }
final_output: \"${steps.last.outputs.text}\"
";

#[tokio::test]
async fn a_data_directory_that_was_moved_to_another_machine_works() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
    definitions.write_echo_agent("echo_agent")?;
    definitions.write_workflow("waiting", WAITING)?;
    terminal.add_options(&["--definitions", "definitions"]);
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let started = terminal.run(&["run", "workflow", "waiting", "--input", "text=hello", "--detach"]).await?;
    let run = started.expect_success()?["id"].as_str().context("a run")?.to_owned();
    // The machine fails, and its disk is mounted elsewhere: the lock file, the socket and the log of the database are
    // those of the process that was killed.
    drop(up);
    let moved = terminal.folder().join("elsewhere").join("state");
    fs::create_dir_all(moved.parent().context("a folder")?)?;
    fs::rename(terminal.data_dir(), &moved)?;
    // What was compiled for the other machine cannot be used on this one.
    for file in list_files(&moved.join("cache"))? {
        fs::write(file, "compiled for another machine")?;
    }
    terminal.set_variable("GREENROOM_DATA_DIR", &moved.display().to_string());
    terminal.set_variable("GREENROOM_POD", "another-machine");
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let waits = || async {
        let output = terminal.run(&["runs", "show", &run]).await.ok()?.expect_success().ok()?;
        (output["run"]["status"] == "waiting_approval").then_some(())
    };
    let wait_max = greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
    greenroom_integration_tests::wait::wait_until("the run waits", wait_max, waits).await?;
    terminal.run(&["runs", "approve", &run, "sign"]).await?.expect_success()?;
    let watched = terminal.run(&["runs", "watch", &run]).await?;
    assert_eq!(watched.code, 0, "{watched:?}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    assert_eq!(terminal.run(&["db", "check"]).await?.expect_success()?["ok"], true);
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

/// Every file below a folder.
fn list_files(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(list_files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
