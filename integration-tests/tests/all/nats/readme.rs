//! The commands of the README that start two pods, as they are printed, on servers of the test.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::terminal::CliHarness;

use crate::postgres::create_database;

const README: &str = include_str!("../../../../README.md");
const SECTION: &str = "\n## Many pods\n";
/// The servers that the README names.
const DATABASE: &str = "postgres://greenroom@127.0.0.1:5432/greenroom";
const NATS: &str = "nats://127.0.0.1:4222";
/// What precedes the commands: the processes that they start end with the script, which ends before the test gives it up.
const BEFORE: &str = r#"
set -eu
pids=
trap 'kill $pids 2>/dev/null || true' EXIT
trap 'exit 1' TERM
(sleep 50; kill $$) &
pids=$!
"#;
/// What follows them: both pods are shown.
const AFTER: &str = r#"
both_are_shown() {
    shown=$(GREENROOM_DATA_DIR=pods/one "$0" cluster status -o json)
    case $shown in *one-*two-* | *two-*one-*) ;; *) return 1 ;; esac
}
for _ in $(seq 30); do both_are_shown && break; sleep 1; done
both_are_shown || { echo "only some pods are shown: $shown" >&2; exit 1; }
"#;

/// The commands, as a script in which `"$0"` is the binary.
fn script(database: &str, nats: &str) -> Result<String> {
    let (_, section) = README.split_once(SECTION).context("the README has the section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    ensure!(commands.iter().filter(|command| command.ends_with("greenroom pod &")).count() == 2, "{commands:?}");
    let mut script = BEFORE.to_owned();
    for command in commands {
        let command = command.replace(DATABASE, &format!("'{database}'")).replace(NATS, nats);
        script.push_str(&command.replace(" greenroom ", " \"$0\" "));
        script.push_str(if command.ends_with(" &") { "\npids=\"$pids $!\"\n" } else { "\n" });
    }
    ensure!(script.contains(database) && script.contains(nats), "the commands have other servers: {script}");
    Ok(script + AFTER)
}

#[tokio::test]
async fn the_commands_of_the_readme_start_two_pods_as_they_are_printed() -> Result<()> {
    let (database, server) = (create_database("readme").await?, NatsServer::start().await?);
    let terminal = CliHarness::open_without_format()?;
    let output = terminal.run_shell(&script(&database, &server.url())?).await?;
    ensure!(output.code == 0, "{output:?}");
    ensure!(output.out.contains("Revenue"), "the agent has summarised the document: {output:?}");
    Ok(())
}
