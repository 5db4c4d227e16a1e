//! The commands of the command line, as its parser lists them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory as _;
use greenroom_integration_tests::terminal::CommandOutput;
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_supervisor::cli::args::Cli;

const WORKFLOW: &str = "generate_quarterly_report";
const AGENT: &str = "executive_summary_agent";
const TEAM: &str = "report_team";
const SALES: &str = "day,sold\n2025-01-02,3\n2025-02-02,4\n";

/// Who may use a command.
#[derive(Debug, Clone, Copy)]
enum Access {
    /// Whoever has its files, its settings or its other credentials: no pod is asked. The words after the command are those
    /// with which it succeeds for a user who does not exist, if it can be tried.
    Anyone(Option<&'static str>),
    /// Every configured user.
    User(&'static str),
    /// A user whom policy permits it; and the code by which the administrator of another tenant is refused.
    Permitted(&'static str, Option<&'static str>),
    /// As each call that it makes.
    Calls(&'static str),
}

use Access::{Anyone, Calls, Permitted, User};

/// What no other tenant has, and what only the tenant of the pod maintains.
const FOREIGN_RUN: Option<&str> = Some("unknown_run");
const FOREIGN_RECORD: Option<&str> = Some("unknown_record");
const OF_THE_POD: Option<&str> = Some("policy_denied");

/// Each command with its access. `RUN`, `HASH` and `KEY` are those of a run, of an artifact and of an API key of the
/// administrator.
const ROWS: &[(&str, Access)] = &[
    ("agents list", User("")),
    ("agents show", User(AGENT)),
    ("artifacts get", Permitted("HASH --out copy", FOREIGN_RECORD)),
    ("audit export", Anyone(None)),
    ("audit export-key", Anyone(None)),
    ("audit list", Permitted("", None)),
    ("audit prune", Permitted("--older-than 365d", OF_THE_POD)),
    ("audit show", Permitted("1", None)),
    ("audit verify", Permitted("", OF_THE_POD)),
    ("bridge", Anyone(None)),
    ("catalogue graph", Anyone(Some(""))),
    ("catalogue sample", Anyone(Some("analytics_data_cleaning"))),
    ("catalogue search", Anyone(Some("summary"))),
    ("catalogue show", Anyone(Some(AGENT))),
    ("catalogue stats", Anyone(Some(""))),
    ("cluster finalize", Anyone(None)),
    ("cluster status", Anyone(None)),
    ("completions", Anyone(Some("bash"))),
    ("config check", Anyone(None)),
    ("config mcp", Anyone(Some(""))),
    ("costs", Permitted("", None)),
    ("db backup", Permitted("copy.db", OF_THE_POD)),
    ("db check", Permitted("", OF_THE_POD)),
    ("db migrate", Anyone(None)),
    ("db prune", Permitted("--older-than 365d", OF_THE_POD)),
    ("db restore", Anyone(None)),
    ("definitions apply", Permitted("folder", OF_THE_POD)),
    ("definitions check", Anyone(Some(""))),
    ("demo", Permitted("--out demo_report", None)),
    ("eval", Calls(AGENT)),
    ("explain", Anyone(Some("policy_denied"))),
    ("healthcheck", Anyone(None)),
    ("keys create", Permitted("--owner operator", FOREIGN_RECORD)),
    ("keys list", Permitted("", None)),
    ("keys reinstate", Permitted("login/default/alice", FOREIGN_RECORD)),
    ("keys revoke", Permitted("KEY", FOREIGN_RECORD)),
    // Each message is a request of the user, and has a reply of its own.
    ("mcp", Anyone(None)),
    ("memory count", Permitted(AGENT, None)),
    ("memory forget", Permitted("executive_summary_agent --all", None)),
    ("memory ingest", Permitted("executive_summary_agent s.csv", None)),
    ("memory list", Permitted(AGENT, None)),
    ("memory recall", Permitted("executive_summary_agent anything", None)),
    ("pod", Anyone(None)),
    ("policy apply", Permitted("folder", OF_THE_POD)),
    ("policy check", Anyone(Some(""))),
    ("policy eval", Anyone(None)),
    ("policy pack", Anyone(None)),
    ("policy table", Anyone(Some(""))),
    ("run agent", Permitted("executive_summary_agent --input document=text", None)),
    ("run team", Permitted("report_team --workflow generate_quarterly_report --input data_source=@s.csv", None)),
    ("run workflow", Permitted("generate_quarterly_report --input data_source=@s.csv", None)),
    ("runpod deploy", Anyone(None)),
    ("runpod scale", Permitted("--endpoint e --endpoints-url http://127.0.0.1:1", OF_THE_POD)),
    ("runpod status", Anyone(None)),
    ("runpod worker", Anyone(None)),
    ("runs approve", Permitted("RUN gather_data", FOREIGN_RUN)),
    ("runs cancel", Permitted("RUN", FOREIGN_RUN)),
    ("runs dead list", Permitted("", None)),
    ("runs dead retry", Permitted("RUN", FOREIGN_RUN)),
    ("runs list", Permitted("", None)),
    ("runs prune", Permitted("--older-than 365d", None)),
    ("runs publish", Permitted("RUN paid", FOREIGN_RUN)),
    ("runs reject", Permitted("RUN gather_data", FOREIGN_RUN)),
    ("runs report", Permitted("RUN --out report", FOREIGN_RUN)),
    ("runs resume", Permitted("RUN", FOREIGN_RUN)),
    ("runs show", Permitted("RUN", FOREIGN_RUN)),
    ("runs watch", Permitted("RUN", FOREIGN_RUN)),
    ("teams list", User("")),
    ("teams show", User(TEAM)),
    ("up", Anyone(None)),
    ("workflows list", User("")),
    ("workflows show", User(WORKFLOW)),
];

/// The names of all commands that have none below them.
fn leaves(command: &clap::Command, above: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|one| one.get_name() != "help");
    let names = below.map(|one| (one, format!("{above} {}", one.get_name()).trim().to_owned()));
    names.flat_map(|(one, name)| if one.has_subcommands() { leaves(one, &name) } else { vec![name] }).collect()
}

/// A process, and a run, an artifact and an API key of its administrator.
struct Fixture {
    up: UpProcess,
    run: String,
    hash: String,
    key: String,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let mut up = UpProcess::start_embedded().await?;
        up.terminal.set_variable("RUNPOD_API_KEY", "rpa_of_no_account");
        up.terminal.write_file("s.csv", SALES)?;
        std::fs::create_dir(up.terminal.folder().join("folder"))?;
        let words = ["run", "workflow", WORKFLOW, "--input", "data_source=@s.csv"];
        let reply = up.terminal.run(&words).await?.expect_success()?;
        let run = reply["id"].as_str().context("a run")?.to_owned();
        let stored = up.post("/v1/artifacts?name=a.txt", &["Content-Type: text/plain"], "content").await?;
        let hash = stored.json()?["hash"].as_str().context("a hash")?.to_owned();
        let created = up.terminal.run(&["keys", "create", "--owner", "admin"]).await?.expect_success()?;
        let key = created["key"].as_str().context("a key")?.to_owned();
        Ok(Self { up, run, hash, key })
    }

    /// Executes a command with these words after it, as this user.
    async fn run(&self, command: &str, words: &str, user: &str) -> Result<CommandOutput> {
        let line = format!("{command} {words} --user {user}").replace("RUN", &self.run);
        let line = line.replace("HASH", &self.hash).replace("KEY", &self.key);
        let words: Vec<&str> = line.split_whitespace().collect();
        self.up.terminal.run(&words).await
    }

    /// Fails unless the command is refused by this code.
    async fn expect_refusal(&self, command: &str, words: &str, user: &str, code: &str) -> Result<()> {
        let output = self.run(command, words, user).await?;
        let found = output.json()?;
        ensure!(output.code != 0 && found["error"]["code"] == code, "{command} as {user}, not {code}: {output:?}");
        Ok(())
    }

    async fn check(&self, command: &str, access: Access) -> Result<()> {
        match access {
            Anyone(None) => {}
            Anyone(Some(words)) => {
                let output = self.run(command, words, "stranger").await?;
                ensure!(output.code == 0, "{command} needs no user: {output:?}");
            }
            User(words) => {
                self.expect_refusal(command, words, "stranger", "unauthenticated").await?;
                let output = self.run(command, words, "guest").await?;
                ensure!(output.code == 0, "{command} is for every user: {output:?}");
            }
            Permitted(words, foreign) => {
                self.expect_refusal(command, words, "stranger", "unauthenticated").await?;
                self.expect_refusal(command, words, "guest", "policy_denied").await?;
                if let Some(code) = foreign {
                    self.expect_refusal(command, words, "other", code).await?;
                }
            }
            Calls(words) => {
                for user in ["stranger", "guest"] {
                    let output = self.run(command, words, user).await?;
                    ensure!(output.code != 0, "{command} as {user}: {output:?}");
                }
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn every_command_refuses_the_users_who_may_not_use_it() -> Result<()> {
    let rows: BTreeMap<&str, Access> = ROWS.iter().copied().collect();
    let commands = leaves(&Cli::command(), "");
    for command in &commands {
        ensure!(rows.contains_key(command.as_str()), "{command} has no row: add one, with who may use it");
    }
    ensure!(rows.len() == commands.len(), "a row names a command that is not there");
    let fixture = Fixture::start().await?;
    for (command, access) in rows {
        fixture.check(command, access).await?;
    }
    Ok(())
}
