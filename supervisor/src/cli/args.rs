//! The arguments of the command line. The commands are implemented in the files beside this one.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use greenroom_protocol::{AgentId, IdempotencyKey, MicroUsd, TeamId, WorkflowId};

mod approval_target;
mod audit;
mod catalogue;
mod cluster;
mod keys;
mod mcp;
mod memory;
mod money;
mod runpod;
mod runs;

pub use approval_target::ApprovalTarget;
pub use audit::{AuditCommand, VerifyArgs};
pub use catalogue::{AgentsCommand, CatalogueCommand, EvalArgs, GraphFormat, WholeCatalogueCommand};
pub use cluster::ClusterCommand;
pub use keys::{CreateKeyArgs, KeysCommand};
pub use mcp::McpArgs;
pub use memory::{ForgetArgs, MemoryCommand};
pub use runpod::{HealthcheckArgs, RunpodCommand, RunpodDeployArgs, RunpodFileArgs, RunpodScaleArgs, RunpodWorkerArgs};
pub use runs::{ArtifactsCommand, DeadCommand, RunsCommand, StartArgs};

const ABOUT: &str =
    "Runs declarative AI agents, teams and workflows; every message is authorized by policy and audited.";
const AFTER_HELP: &str = "\
Exit codes: 0 success; 1 failed, cancelled or timed out; 2 rejected before execution (usage, input, \
definition); 3 denied by policy; 130 or 143 interrupted by a signal.

Try `greenroom demo` first: it needs no key and no server.";

/// Declarative AI agents as a supervised, governed actor system.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, about = ABOUT, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Settings file instead of ./greenroom.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of all state; one process owns it at a time
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Definitions (a directory or `s3://BUCKET/PREFIX`) instead of the embedded catalogue
    #[arg(long, global = true, value_name = "DIR")]
    pub definitions: Option<PathBuf>,
    /// Refuse to start or to reload with an invalid definition, instead of quarantining it
    #[arg(long, global = true)]
    pub strict: bool,
    /// Policy bundle (a directory with guard.tar.gz, or `s3://BUCKET/PREFIX`) instead of the embedded one
    #[arg(long, global = true, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// User that the command line authenticates as
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Output format
    #[arg(short, long, global = true, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Print no progress and no notes, only results, errors and requests for approval
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Text for reading
    Table,
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the quarterly report on sample data: no key, no server
    Demo(DemoArgs),
    /// Run a pod: control socket, HTTP, requests over NATS if it is configured, reload of changed files, /metrics
    Up,
    /// Run a pod of a cluster: as `up`, with NATS and a shared database, both of which it needs
    Pod,
    /// Serve HTTP, and send the requests over NATS to the pods
    Bridge,
    /// Offer agents and workflows as tools over standard input and output (Model Context Protocol)
    Mcp(McpArgs),
    /// Run an agent, a workflow or a team
    #[command(subcommand)]
    Run(RunCommand),
    /// List and show agents
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// List and show workflows
    #[command(subcommand)]
    Workflows(CatalogueCommand),
    /// List and show teams
    #[command(subcommand)]
    Teams(CatalogueCommand),
    /// Search, show, draw and measure the catalogue
    #[command(subcommand)]
    Catalogue(WholeCatalogueCommand),
    /// Run the examples of agents and check what they expect
    Eval(EvalArgs),
    /// List, watch, report, resume, approve and cancel runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Get the content of inputs and outputs that are too large for a reply
    #[command(subcommand)]
    Artifacts(ArtifactsCommand),
    /// Check definition files, or apply them for every pod
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Check a policy bundle, apply it for every pod, complete its text, explain one decision, or show all as a table
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List, verify and prune the audit
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List, recall and forget memories of agents
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show model costs
    Costs {
        /// Only costs since this long ago, such as `7d`
        #[arg(long, value_name = "AGE")]
        since: Option<humantime::Duration>,
    },
    /// Check the configuration, and the MCP servers in it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check, back up and restore the database
    #[command(subcommand)]
    Db(DbCommand),
    /// Show the pods of the database, and finalize an upgrade of all of them
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Run the worker of RunPod Serverless, scale and deploy its endpoints
    #[command(subcommand)]
    Runpod(RunpodCommand),
    /// Check whether the process of this container serves, for the HEALTHCHECK of an image
    Healthcheck(HealthcheckArgs),
    /// Explain an error code
    Explain {
        /// The code, such as `policy_denied`; without it, all codes are listed
        code: Option<String>,
    },
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// True for a command that runs until a signal arrives, and writes a log instead of notes.
    #[must_use]
    pub const fn is_process(&self) -> bool {
        matches!(self, Self::Up | Self::Pod | Self::Bridge)
    }
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Quarter of the sample data
    #[arg(long, default_value = "Q4 2024", value_name = "QUARTER")]
    pub quarter: String,
    /// Directory for the report
    #[arg(long, default_value = "greenroom-report", value_name = "DIR")]
    pub out: PathBuf,
    /// Model instead of those of the definitions: PROVIDER.NAME or a tier
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// Commands of `run`.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Run one agent
    Agent {
        /// The agent, with or without its trailing number
        id: AgentId,
        /// Inputs and options
        #[command(flatten)]
        call: CallArgs,
    },
    /// Run a workflow
    Workflow {
        /// The workflow
        id: WorkflowId,
        /// Inputs and options
        #[command(flatten)]
        call: CallArgs,
        /// How the command ends
        #[command(flatten)]
        end: StartArgs,
    },
    /// Form a team that runs a workflow
    Team {
        /// The team
        #[arg(required_unless_present = "inline", conflicts_with = "inline")]
        id: Option<TeamId>,
        /// A YAML file with `name`, `agents` and `shared_context` of a team for this run only
        #[arg(long, value_name = "FILE", requires = "workflow")]
        inline: Option<PathBuf>,
        /// The workflow; optional if the team names one
        #[arg(long, value_name = "ID")]
        workflow: Option<WorkflowId>,
        /// Inputs and options
        #[command(flatten)]
        call: CallArgs,
        /// How the command ends
        #[command(flatten)]
        end: StartArgs,
    },
}

/// Inputs and options of a call.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// An input: `k=v` is parsed as its declared type; `k=@PATH` reads a file with your own permissions, `k=-`
    /// standard input; `k=@@v` is a text that begins with `@`. A list is JSON, or one `--input` for each item
    #[arg(short, long = "input", value_name = "K=V")]
    pub inputs: Vec<String>,
    /// A file with inputs: a JSON object, as a request over HTTP has it; `-` reads standard input. An `--input` replaces the
    /// one of its name
    #[arg(long = "inputs", value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
    /// A value of the context of the run: `k=v`
    #[arg(short, long = "context", value_name = "K=V")]
    pub context: Vec<String>,
    /// Model instead of that of the definition: PROVIDER.NAME or a tier
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Maximum cost
    #[arg(long, value_name = "USD", allow_negative_numbers = true, value_parser = money::parse_usd)]
    pub max_cost_usd: Option<MicroUsd>,
    /// Timeout of the request, such as `90s`
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub timeout: Option<humantime::Duration>,
    /// Repeating a request with the same key returns the first reply
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Commands of `definitions`.
#[derive(Debug, Subcommand)]
pub enum DefinitionsCommand {
    /// Print every problem of every file with its location
    Check {
        /// Directory or `s3://BUCKET/PREFIX`, or one file that is checked against the configured source; default: that
        /// source, else the embedded catalogue
        path: Option<PathBuf>,
    },
    /// Make definitions those of every pod that shares the database, if all of them are valid
    Apply {
        /// Directory or `s3://BUCKET/PREFIX`
        source: String,
    },
}

/// Commands of `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy bundle: what its rules read, and whether the input has it
    Check {
        /// Bundle, a directory with guard.tar.gz, or `s3://BUCKET/PREFIX`; without it, the configured one
        path: Option<PathBuf>,
    },
    /// Make a policy that of every pod that shares the database, if it passes its check and its trial
    Apply {
        /// Bundle, a directory with guard.tar.gz, or `s3://BUCKET/PREFIX`
        source: String,
    },
    /// Pack the complete sources into a bundle of `opa build`, so that it can be derived what its rules read
    Pack(PackArgs),
    /// Explain the decision on one policy input
    Eval {
        /// File with the input as JSON; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
    },
    /// Show role × category × action as ✔ and ✘
    Table,
}

/// Arguments of `policy pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// Bundle as `opa build` wrote it, or a directory with guard.tar.gz
    pub bundle: PathBuf,
    /// Rego files that the bundle was built from, or folders with them
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    /// File to write or to replace; the bundle is changed only if this names it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Commands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its origin, secrets masked
    Check,
    /// Connect the configured MCP servers, and list their tools and what is skipped
    Mcp {
        /// Only this server
        server: Option<String>,
    },
}

/// Commands of `db`.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Check the whole store
    Check,
    /// Migrate the schema of a PostgreSQL database to that of this release, beside the pods that have it open
    Migrate,
    /// Remove what is old: runs with their journals, replies and artifacts, and audit entries
    Prune {
        /// Minimum age, such as `90d`
        #[arg(long, value_name = "AGE")]
        older_than: humantime::Duration,
    },
    /// Write a consistent copy while the pod keeps running; for PostgreSQL, print the command that does
    Backup {
        /// The new file
        to: PathBuf,
    },
    /// Put a backup in the place of the database, which no process may own; the audit names the break. For PostgreSQL,
    /// print the command that does, check the database, and prepare it for its pods
    Restore {
        /// The backup
        from: PathBuf,
    },
}
