//! `greenroom db backup` and `db restore` over PostgreSQL: the printed commands are executed, and the database that was
//! restored is checked.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::{create_database, harness};

const RESTORE: [&str; 3] = ["db", "restore", "copy.dump"];
const ECHO: [&str; 5] = ["run", "agent", "echo_agent", "--input", "text=hello"];
/// Debian has the programs of the newest version of the server in a folder that is in no path.
const FIND_PROGRAMS: &str = "PATH=$(printf '%s:' $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV))$PATH";
/// Changes what a record of the audit says.
const TAMPER: &str =
    "UPDATE audit SET record = replace(record, 'echo_agent', 'other_agent') WHERE record LIKE '%echo_agent%'";

/// Executes a command that the product has printed: with the credentials of the server, which it does not print.
async fn execute(terminal: &CliHarness, report: &Json, url: &str) -> Result<()> {
    let printed = report["command"].as_str().context("a command")?;
    let (_, rest) = printed.split_once("--dbname=").context("a database")?;
    let masked = rest.split(' ').next().unwrap_or_default();
    // The parameters of the driver are none of the programs.
    let server = url.split('?').next().unwrap_or_default();
    let command = printed.replace(masked, &format!("'{server}'"));
    let ended = terminal.run_shell(&format!("{FIND_PROGRAMS} && {command}")).await?;
    ensure!(ended.code == 0, "{printed}: {ended:?}");
    Ok(())
}

async fn audited_records(terminal: &CliHarness) -> Result<Json> {
    Ok(terminal.run(&["audit", "verify"]).await?.expect_success()?["records"].clone())
}

#[tokio::test]
async fn a_database_is_copied_and_restored_by_the_printed_commands_and_checked() -> Result<()> {
    let url = create_database("copied").await?;
    let terminal = harness(&url)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    terminal.run(&ECHO).await?.expect_success()?;
    let backup = terminal.run(&["db", "backup", "copy.dump"]).await?.expect_success()?;
    execute(&terminal, &backup, &url).await?;
    let copied = audited_records(&terminal).await?;
    terminal.run(&ECHO).await?.expect_success()?;
    ensure!(audited_records(&terminal).await? != copied, "the second request is in the audit");

    // Until the command is executed, the database is newer than the copy, and checked as it is.
    let restore = terminal.run(&RESTORE).await?.expect_success()?;
    assert_eq!(restore["check"]["ok"], true, "{restore:#}");
    execute(&terminal, &restore, &url).await?;
    let restored = terminal.run(&RESTORE).await?.expect_success()?;
    assert_eq!((&restored["check"]["ok"], &restored["check"]["audit"]["valid"]), (&true.into(), &true.into()));
    let records = &restored["check"]["audit"]["records"];
    ensure!(*records != restore["check"]["audit"]["records"], "the second request is not in the copy: {restored:#}");

    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    ensure!(connection.execute(TAMPER).await?.rows_affected() > 0, "the copy has the first request");
    let tampered = terminal.run(&RESTORE).await?;
    let report = tampered.json()?;
    assert_eq!((tampered.code, &report["check"]["ok"]), (1, &false.into()), "{report:#}");
    assert_eq!(report["check"]["audit"]["valid"], false, "{report:#}");
    Ok(())
}
