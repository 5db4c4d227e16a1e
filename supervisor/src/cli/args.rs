//! The words of the command line. What they do lies in the files beside this one.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use greenroom_protocol::{AgentId, ContentHash, IdempotencyKey, RunId, StepId, TeamId, WorkflowId};

const ABOUT: &str = "Runs declarative AI agents, teams and workflows; every message is judged by policy and recorded.";
const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 the work failed, was cancelled or timed out; 2 rejected before any work (usage, \
input, definition); 3 denied by policy.

Try `greenroom demo` first: it needs no key and no server.";

/// Declarative AI agents as a supervised, governed actor system.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, about = ABOUT, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: GlobalArgs,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Settings file instead of ./greenroom.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds all state; one process owns it at a time
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Definitions instead of the embedded catalogue
    #[arg(long, global = true, value_name = "DIR")]
    pub definitions: Option<PathBuf>,
    /// Policy bundle (a folder with guard.tar.gz) instead of the embedded one
    #[arg(long, global = true, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// Who asks: one of the configuration's users
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// How the answer is written; default: table on a terminal, json in a pipe
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// For people
    Table,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the quarterly report on sample data: no key, no server
    Demo(DemoArgs),
    /// Host the actors here: control socket, watcher, /metrics
    Up,
    /// Let an agent, a workflow or a team work
    #[command(subcommand)]
    Run(RunCommand),
    /// Agents of the catalogue
    #[command(subcommand)]
    Agents(CatalogueCommand),
    /// Workflows of the catalogue
    #[command(subcommand)]
    Workflows(CatalogueCommand),
    /// Teams of the catalogue
    #[command(subcommand)]
    Teams(CatalogueCommand),
    /// Runs: look, follow, answer, stop
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Definition files
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Policy: one decision explained, or all of them as a table
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What was asked, decided and done
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What agents remember
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Who spent what
    Costs {
        /// Only the last days, such as `7d`
        #[arg(long, value_name = "AGE")]
        since: Option<humantime::Duration>,
    },
    /// Settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The database
    #[command(subcommand)]
    Db(DbCommand),
    /// Shell completion on standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Which quarter of the sample data
    #[arg(long, default_value = "Q4 2024", value_name = "QUARTER")]
    pub quarter: String,
    /// Directory for the report
    #[arg(long, default_value = "greenroom-report", value_name = "DIR")]
    pub out: PathBuf,
    /// A model instead of the definitions': PROVIDER.NAME or a tier
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// What is to work.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Let one agent work
    Agent {
        /// The agent, with or without its trailing number
        id: AgentId,
        /// What it is given
        #[command(flatten)]
        work: CallArgs,
    },
    /// Run a workflow
    Workflow {
        /// The workflow
        id: WorkflowId,
        /// What it is given
        #[command(flatten)]
        work: CallArgs,
    },
    /// Form a team and let it run a workflow
    Team {
        /// The team
        id: TeamId,
        /// The workflow; may be left out where the team names one
        #[arg(long, value_name = "ID")]
        workflow: Option<WorkflowId>,
        /// What it is given
        #[command(flatten)]
        work: CallArgs,
    },
}

/// What the work is given.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// An input: `k=v` is read as its declared type, `k=@PATH` hands a file in
    #[arg(short, long = "input", value_name = "K=V")]
    pub inputs: Vec<String>,
    /// A value of the run's context: `k=v`
    #[arg(short, long = "context", value_name = "K=V")]
    pub context: Vec<String>,
    /// A model instead of the definition's: PROVIDER.NAME or a tier
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What the work may cost at most
    #[arg(long, value_name = "USD")]
    pub max_cost_usd: Option<f64>,
    /// Answer with the run's id as soon as it is accepted
    #[arg(long)]
    pub detach: bool,
    /// How long to wait for the answer, such as `90s`
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<humantime::Duration>,
    /// Asked twice with one key, it is done once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Looking at the catalogue.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// All of them
    List,
    /// One of them, as it is written
    Show {
        /// Which
        id: String,
    },
}

/// Runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// The newest runs
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// The cursor that the list before gave
        #[arg(long)]
        after: Option<String>,
    },
    /// One run with its steps
    Show {
        /// Which
        run: RunId,
    },
    /// Follow a run until it ends
    Watch {
        /// Which
        run: RunId,
        /// Begin behind this event
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Stop a run; what `compensate` says is undone
    Cancel {
        /// Which
        run: RunId,
    },
    /// Go on with an interrupted run, or with all of them
    Resume {
        /// Which; without it, all that nobody holds
        run: Option<RunId>,
    },
    /// Let a step that waits for a person go on
    Approve {
        /// Which run
        run: RunId,
        /// Which step
        step: StepId,
    },
    /// Let a step that waits for a person fail
    Reject {
        /// Which run
        run: RunId,
        /// Which step
        step: StepId,
    },
    /// Forget runs that ended long ago
    Prune {
        /// How long ago, such as `30d`
        #[arg(long, value_name = "AGE")]
        older_than: humantime::Duration,
    },
}

/// Definition files.
#[derive(Debug, Subcommand)]
pub enum DefinitionsCommand {
    /// Every problem of every file, with its place
    Check {
        /// The folder; without it, what the configuration names, else the embedded catalogue
        path: Option<PathBuf>,
    },
}

/// Policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Explain one decision; the input is the document that policy sees
    Eval {
        /// The input as JSON; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
    },
    /// Role × category × action, as ✔ and ✘
    Table,
}

/// Audit.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// The newest entries
    List {
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// The cursor that the list before gave
        #[arg(long)]
        after: Option<String>,
    },
    /// The entries of one number or request
    Show {
        /// Its number, or the id of its request
        id: String,
    },
    /// Walk the whole chain
    Verify,
    /// Remove old entries and leave a signed anchor
    Prune {
        /// How long ago, such as `365d`
        #[arg(long, value_name = "AGE")]
        older_than: humantime::Duration,
    },
}

/// What agents remember.
#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// The newest memories of an agent
    List {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// The memories that are most like a text
    Recall {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// What to look for
        query: String,
        /// How many
        #[arg(long, default_value_t = 5)]
        limit: u32,
    },
    /// Forget one memory, or all of an agent's
    Forget {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// Which, as `list` names it
        #[arg(required_unless_present = "all")]
        memory: Option<ContentHash>,
        /// All of them
        #[arg(long, conflicts_with = "memory")]
        all: bool,
    },
}

/// Settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every value and where it came from, secrets masked
    Check,
}

/// The database.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Read everything and say what is wrong
    Check,
    /// Write a consistent copy while work goes on
    Backup {
        /// The new file
        to: PathBuf,
    },
}
