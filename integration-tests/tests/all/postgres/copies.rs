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
const PASSWORD: &str = "hunter2";
/// Debian has the programs of the newest version of the server in a folder that is in no path.
const FIND_PROGRAMS: &str = "PATH=$(printf '%s:' $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV))$PATH";
/// Changes what a record of the audit says.
const TAMPER: &str =
    "UPDATE audit SET record = replace(record, 'echo_agent', 'other_agent') WHERE record LIKE '%echo_agent%'";

/// Executes a command that the product has printed, as it was printed: it has the user, and not the password, which is in
/// a variable as its note demands.
async fn execute(terminal: &CliHarness, report: &Json) -> Result<()> {
    let printed = report["command"].as_str().context("a command")?;
    ensure!(printed.contains("://greenroom@") && !report.to_string().contains(PASSWORD), "{report:#}");
    let note = report["note"].as_str().context("a note about the password")?;
    ensure!(note.contains("PGPASSWORD") && note.contains(".pgpass"), "{note}");
    let ended = terminal.run_shell(&format!("{FIND_PROGRAMS} && PGPASSWORD={PASSWORD} {printed}")).await?;
    ensure!(ended.code == 0, "{printed}: {ended:?}");
    Ok(())
}

async fn audited_records(terminal: &CliHarness) -> Result<Json> {
    Ok(terminal.run(&["audit", "verify"]).await?.expect_success()?["records"].clone())
}

#[tokio::test]
async fn a_database_is_copied_and_restored_by_the_printed_commands_and_checked() -> Result<()> {
    let options: PgConnectOptions = create_database("copied").await?.parse()?;
    // The server of the tests trusts this user, whatever the password is.
    let url = options.username("greenroom").password(PASSWORD).to_url_lossy().to_string();
    let terminal = harness(&url)?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    terminal.run(&ECHO).await?.expect_success()?;
    let backup = terminal.run(&["db", "backup", "copy.dump"]).await?.expect_success()?;
    let table = terminal.run(&["db", "backup", "copy.dump", "-o", "table"]).await?;
    let lines: Vec<_> = table.out.lines().collect();
    assert!(lines[0].starts_with("# ") && lines[1].starts_with("pg_dump "), "{table:?}");
    execute(&terminal, &backup).await?;
    let copied = audited_records(&terminal).await?;
    terminal.run(&ECHO).await?.expect_success()?;
    ensure!(audited_records(&terminal).await? != copied, "the second request is in the audit");

    // Nothing is changed beside a pod.
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let beside = terminal.run(&RESTORE).await?;
    let report = beside.json()?;
    assert_eq!((beside.code, &report["check"]["ok"]), (1, &true.into()), "{report:#}");
    assert!(report["raised"]["pods_alive"][0].is_string(), "{report:#}");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);

    // Until the command is executed, the database is newer than the copy, and checked as it is.
    let restore = terminal.run(&RESTORE).await?.expect_success()?;
    assert_eq!(restore["check"]["ok"], true, "{restore:#}");
    let steps = restore["steps"].as_str().context("the further steps")?;
    assert!(steps.contains("stop all pods") && steps.contains("flush Redis"), "{steps}");
    execute(&terminal, &restore).await?;
    let restored = terminal.run(&RESTORE).await?.expect_success()?;
    assert_eq!((&restored["check"]["ok"], &restored["check"]["audit"]["valid"]), (&true.into(), &true.into()));
    let records = &restored["check"]["audit"]["records"];
    ensure!(*records != restore["check"]["audit"]["records"], "the second request is not in the copy: {restored:#}");

    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    assert_eq!(restored["raised"]["pods"], 0, "all of them have left in order: {restored:#}");
    let pods: i64 = sqlx::query_scalar("SELECT last_value FROM pods_id_seq").fetch_one(&mut connection).await?;
    ensure!(pods > 1_000_000, "the next pod has an id that none had after the copy was made: {pods}");
    ensure!(connection.execute(TAMPER).await?.rows_affected() > 0, "the copy has the first request");
    let tampered = terminal.run(&RESTORE).await?;
    let report = tampered.json()?;
    assert_eq!((tampered.code, &report["check"]["ok"]), (1, &false.into()), "{report:#}");
    assert_eq!(report["check"]["audit"]["valid"], false, "{report:#}");
    assert_eq!(report["raised"], Json::Null, "a damaged database is not prepared: {report:#}");
    Ok(())
}
