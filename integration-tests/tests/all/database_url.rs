//! The URL of the store as users of other tools write it: the file that was meant is opened, or the command
//! is rejected with the name of the variable. A URL of another program stops only what needs a store.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::{CliHarness, CommandOutput};

const LIST: [&str; 4] = ["agents", "list", "-o", "json"];

/// Lists the agents with this URL in `DATABASE_URL`, in the folder of the terminal.
async fn list_with(url: &str) -> Result<(CliHarness, CommandOutput)> {
    let mut terminal = CliHarness::open()?;
    fs::create_dir_all(terminal.folder().join("my dir"))?;
    terminal.set_variable("DATABASE_URL", &url.replace("FOLDER", &terminal.folder().display().to_string()));
    let listed = terminal.run(&LIST).await?;
    Ok((terminal, listed))
}

/// The names of the databases in a folder.
fn databases(folder: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(folder)?.filter_map(|file| file.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.contains(".db") && !name.ends_with("-wal") && !name.ends_with("-shm")).collect())
}

#[tokio::test]
async fn each_form_of_the_url_opens_the_file_that_was_meant() -> Result<()> {
    for (url, meant) in [
        ("sqlite:x.db", "x.db"),
        ("sqlite://./x.db?mode=rwc", "x.db"),
        ("sqlite://FOLDER/x.db", "x.db"),
        ("sqlite:///FOLDER/x.db", "x.db"),
        ("sqlite:FOLDER/my%20dir/x.db", "my dir/x.db"),
        ("sqlite:my dir/a%23b%3F.db", "my dir/a#b?.db"),
    ] {
        let (terminal, listed) = list_with(url).await?;
        listed.expect_success().context(url)?;
        let meant = Path::new(meant);
        let folder = terminal.folder().join(meant.parent().context("a folder")?);
        assert_eq!(databases(&folder)?, [meant.file_name().context("a name")?.to_string_lossy()], "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn a_url_that_cannot_be_followed_is_rejected_with_its_variable_and_opens_no_file() -> Result<()> {
    for (url, problem) in [
        ("mysql://u:secret@h/app", "not mysql"),
        ("postgres://u:secret@h/app?pool_size=5", "pool_size"),
        ("sqlite://./x.db?mode=ro", "mode"),
        ("sqlite:x.db?timeout=5", "timeout"),
        ("sqlite:/100%/x.db", "%25"),
    ] {
        let (terminal, listed) = list_with(url).await?;
        let error = listed.expect_error(2)?;
        assert_eq!(error["code"], "invalid_configuration", "{url}: {error:#}");
        let message = error["message"].as_str().context("a message")?;
        assert!(message.contains("DATABASE_URL") && message.contains(problem), "{url}: {message}");
        assert!(!format!("{listed:?}").contains("secret"), "{listed:?}");
        assert_eq!(databases(terminal.folder())?, [""; 0], "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn a_database_url_of_another_program_stops_only_what_needs_a_store() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("DATABASE_URL", "mysql://h/app");
    for words in [&["definitions", "check"][..], &["policy", "table"], &["completions", "bash"]] {
        assert_eq!(terminal.run(words).await?.code, 0, "{words:?}");
    }
    for words in [&["config", "check"][..], &["agents", "list"], &["up"], &["db", "check"]] {
        let output = terminal.run(words).await?;
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.err.contains("DATABASE_URL"), "{output:?}");
    }
    // Our own variable has priority over the one that programs share.
    terminal.set_variable("GREENROOM_STORE_URL", "sqlite:own.db");
    terminal.run(&LIST).await?.expect_success()?;
    assert!(terminal.folder().join("own.db").is_file());
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_without_its_password() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/app");
    for words in [&LIST[..], &["db", "migrate", "-o", "json"], &["db", "check", "-o", "json"]] {
        let output = terminal.run(words).await?;
        let error = output.expect_error(1)?;
        assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &"unreachable".into()));
        assert_eq!(error["details"]["database"], "postgres://***@127.0.0.1:1/app", "{error:#}");
        assert!(!format!("{output:?}").contains("secret"), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn only_a_database_of_postgresql_is_migrated_by_a_command() -> Result<()> {
    let terminal = CliHarness::open()?;
    let error = terminal.run(&["db", "migrate", "-o", "json"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_data_directory_may_have_any_name() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let odd = terminal.folder().join("a b#1?c%20");
    terminal.add_options(&["--data-dir", &odd.display().to_string()]);
    terminal.run(&LIST).await?.expect_success()?;
    assert_eq!(terminal.run(&["db", "check", "-o", "json"]).await?.expect_success()?["ok"], true);
    assert!(odd.join("greenroom.db").is_file());
    terminal.run(&["db", "backup", "copy?%20.db", "-o", "json"]).await?.expect_success()?;
    assert!(terminal.folder().join("copy?%20.db").is_file());
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_not_known_is_a_mistake_in_the_named_variable() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("DATABASE_URL", "postgres://u:secret@greenroom.invalid/app");
    let error = terminal.run(&["agents", "list"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_configuration", "{error:#}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("DATABASE_URL") && !message.contains("secret"), "{message}");
    Ok(())
}
