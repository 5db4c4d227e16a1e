//! `greenroom db restore` through the binary: who may, what it refuses, what it leaves behind, and what the audit
//! says about it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

use super::maintenance::USERS;

const RESTORE: [&str; 3] = ["db", "restore", "copy.db"];
const VERIFY: [&str; 2] = ["audit", "verify"];

/// A database with some entries, and `copy.db`, its backup from before the last of them.
async fn with_backup() -> Result<CliHarness> {
    let terminal = CliHarness::open()?;
    terminal.write_file("greenroom.toml", USERS)?;
    terminal.run(&["agents", "list"]).await?.expect_success()?;
    terminal.run(&["db", "backup", "copy.db"]).await?.expect_success()?;
    for _ in 0..3 {
        terminal.run(&["agents", "list"]).await?.expect_success()?;
    }
    Ok(terminal)
}

fn database(terminal: &CliHarness) -> PathBuf {
    terminal.data_dir().join("greenroom.db")
}

/// The databases under other names beside the first one.
fn replaced(terminal: &CliHarness) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(terminal.data_dir())?.filter_map(|file| Some(file.ok()?.path()));
    let is_other = |path: &Path| path.to_string_lossy().contains("greenroom.db.");
    Ok(files.filter(|path| is_other(path) && !path.to_string_lossy().ends_with("-wal")).collect())
}

/// The users who requested it, and the status of each request, the oldest first.
async fn audited(terminal: &CliHarness, reader: &str) -> Result<Vec<(Json, Json)>> {
    let list = terminal.run(&["audit", "list", "--limit", "1000", "--user", reader]).await?.expect_success()?;
    let records = list["records"].as_array().context("records")?;
    let opened = records.iter().rev().filter(|record| record["event"]["action"] == "restore_store");
    let entries = opened.map(|record| {
        let closing = records.iter().find(|other| other["event"]["opened"] == record["number"]);
        (record["event"]["user"].clone(), closing.map(|closing| closing["event"]["status"].clone()).unwrap_or_default())
    });
    Ok(entries.collect())
}

#[tokio::test]
async fn a_backup_is_restored_with_the_break_in_the_audit() -> Result<()> {
    let terminal = with_backup().await?;
    for user in ["guest", "auditor", "alice"] {
        let error = terminal.run(&[&RESTORE[..], &["--user", user]].concat()).await?.expect_error(3)?;
        assert_eq!(error["code"], "policy_denied", "{user}: {error:#}");
    }
    let denied = |user: &str| (Json::from(user), Json::from("denied"));
    assert_eq!(audited(&terminal, "admin").await?, [denied("guest"), denied("auditor")]);
    assert_eq!(audited(&terminal, "alice").await?, [denied("alice")]);
    assert_eq!(replaced(&terminal)?, [""; 0].map(PathBuf::from), "nothing was replaced, and no copy is left");

    let head: Json = serde_json::from_slice(&fs::read(terminal.data_dir().join("audit.head"))?)?;
    let report = terminal.run(&RESTORE).await?.expect_success()?;
    let [stored] = <[PathBuf; 1]>::try_from(replaced(&terminal)?).map_err(|found| anyhow::anyhow!("{found:?}"))?;
    assert_eq!(report["replaced_database"], stored.display().to_string(), "{report:#}");
    let numbers =
        [&report["break"]["restored"]["number"], &report["break"]["record"], &report["break"]["replaced"]["number"]];
    let [Some(restored), Some(record), Some(lost)] = numbers.map(Json::as_u64) else { anyhow::bail!("{report:#}") };
    assert!(record > restored && lost > record && lost > head["number"].as_u64().unwrap_or_default(), "{report:#}");

    let verified = terminal.run(&VERIFY).await?.expect_success()?;
    let found = &verified["breaks"][0];
    assert_eq!(
        (&verified["valid"], verified["breaks"].as_array().map(Vec::len)),
        (&true.into(), Some(1)),
        "{verified:#}"
    );
    assert_eq!((&found["record"], &found["restored"]["user"]), (&record.into(), &"admin".into()), "{verified:#}");
    assert_eq!(found["restored"]["replaced"], report["break"]["replaced"], "{verified:#}");
    let table = terminal.run(&["audit", "list", "-o", "table"]).await?;
    assert!(table.out.contains("restored") && table.out.contains("copy.db"), "{}", table.out);
    assert_eq!(terminal.run(&["db", "check"]).await?.expect_success()?["ok"], true);

    // The replaced database has the decision, and can be restored itself.
    let stored = stored.display().to_string();
    terminal.run(&["db", "restore", &stored]).await?.expect_success()?;
    let entries = audited(&terminal, "admin").await?;
    assert_eq!(entries.last(), Some(&("admin".into(), "success".into())), "{entries:?}");
    assert_eq!(terminal.run(&VERIFY).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_database_that_a_pod_owns_is_not_replaced() -> Result<()> {
    let terminal = with_backup().await?;
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let error = terminal.run(&RESTORE).await?.expect_error(1)?;
    assert_eq!(error["code"], "data_directory_in_use", "{error:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&up.id()) && text.contains("stop it")));
    let error = terminal.run(&[&RESTORE[..], &["--user", "guest"]].concat()).await?.expect_error(3)?;
    assert_eq!(error["code"], "policy_denied", "{error:#}");
    assert_eq!(
        audited(&terminal, "admin").await?,
        [("admin".into(), "failed".into()), ("guest".into(), "denied".into())]
    );
    assert_eq!(replaced(&terminal)?, [""; 0].map(PathBuf::from));
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    terminal.run(&RESTORE).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_backup_of_this_directory_is_rejected() -> Result<()> {
    let terminal = with_backup().await?;
    let before = fs::read(database(&terminal))?;
    let mut damaged = fs::read(terminal.folder().join("copy.db"))?;
    let text = damaged
        .windows(11)
        .position(|bytes| bytes == b"agents_list")
        .or_else(|| damaged.windows(13).position(|bytes| bytes == b"\"kind\":\"opene"));
    let at = text.context("a record")?;
    damaged[at + 2] ^= 1;
    terminal.write_file("damaged.db", damaged)?;
    terminal.write_file("text.db", "no database")?;
    let other = with_backup().await?;
    let foreign = other.folder().join("copy.db").display().to_string();
    for (file, problem) in [
        ("missing.db", "is not a file"),
        ("damaged.db", "was changed"),
        ("text.db", "not a database"),
        (&foreign, "belongs to another data directory"),
    ] {
        let error = terminal.run(&["db", "restore", file]).await?.expect_error(2)?;
        assert_eq!(error["code"], "invalid_input", "{file}: {error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(problem)), "{file}: {error:#}");
    }
    assert!(fs::read(database(&terminal))? == before, "the database is unchanged");
    Ok(())
}

#[tokio::test]
async fn a_damaged_or_lost_database_is_replaced_by_whom_policy_permits() -> Result<()> {
    for damage in [true, false] {
        let terminal = with_backup().await?;
        let head = fs::read(terminal.data_dir().join("audit.head"))?;
        match damage {
            true => fs::write(database(&terminal), "this is no database, but has many bytes".repeat(200))?,
            false => fs::remove_file(database(&terminal))?,
        }
        let error = terminal.run(&["agents", "list"]).await?.expect_error(1)?;
        assert_eq!(error["code"], "store_unavailable", "{error:#}");
        let error = terminal.run(&[&RESTORE[..], &["--user", "auditor"]].concat()).await?.expect_error(3)?;
        assert_eq!(error["code"], "policy_denied", "{error:#}");
        assert_eq!(fs::read(terminal.data_dir().join("audit.head"))?, head, "the denied one changed nothing");
        let output = terminal.run(&RESTORE).await?;
        assert!(output.err.contains("the backup records the decision"), "{}", output.err);
        let report = output.expect_success()?;
        assert_eq!(report["replaced_database"].is_null(), !damage && replaced(&terminal)?.is_empty(), "{report:#}");
        let verified = terminal.run(&VERIFY).await?.expect_success()?;
        assert_eq!((&verified["valid"], verified["breaks"].as_array().map(Vec::len)), (&true.into(), Some(1)));
        assert_eq!(audited(&terminal, "admin").await?, [("admin".into(), "success".into())]);
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_that_was_copied_by_hand_is_refused_with_what_to_do() -> Result<()> {
    let terminal = with_backup().await?;
    fs::copy(terminal.folder().join("copy.db"), database(&terminal))?;
    for name in ["greenroom.db-wal", "greenroom.db-shm"] {
        let _ = fs::remove_file(terminal.data_dir().join(name));
    }
    let error = terminal.run(&["agents", "list"]).await?.expect_error(1)?;
    assert_eq!(
        (&error["code"], &error["details"]["store"]),
        (&"store_unavailable".into(), &"chain".into()),
        "{error:#}"
    );
    let message = error["message"].as_str().context("a message")?;
    assert!(message.contains("an older copy") && message.contains("greenroom db restore FILE"), "{message}");
    let this = database(&terminal).display().to_string();
    assert!(message.contains(&this), "{message}");
    terminal.run(&["db", "restore", &this]).await?.expect_success()?;
    let verified = terminal.run(&VERIFY).await?.expect_success()?;
    assert_eq!((&verified["valid"], verified["breaks"].as_array().map(Vec::len)), (&true.into(), Some(1)));
    Ok(())
}
