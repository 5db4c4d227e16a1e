//! The arguments of the commands on runs, their reports and their artifacts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use greenroom_protocol::event::{EventNumber, RunStatus};
use greenroom_protocol::{ContentHash, EventName, IdempotencyKey, Json, RunId, WorkflowId, strict_json};

use super::approval_target::ApprovalTarget;

/// Commands of `runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List the newest runs
    List {
        /// Only runs with this status
        #[arg(long, value_name = "STATUS", value_parser = parse_status)]
        status: Option<RunStatus>,
        /// Only runs of this workflow
        #[arg(long, value_name = "ID")]
        workflow: Option<WorkflowId>,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Start after this cursor, which the previous page prints
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Show one run with its steps
    Show {
        /// Run id
        run: RunId,
    },
    /// Watch a run until it ends
    Watch {
        /// Run id
        run: RunId,
        /// Start after event N
        #[arg(long, default_value_t = EventNumber::START, value_name = "N")]
        after: EventNumber,
    },
    /// Write the report of a run as Markdown and as one HTML page
    Report {
        /// Run id
        run: RunId,
        /// Directory for report.md and report.html, neither of which may exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Cancel a run and compensate its finished steps
    Cancel {
        /// Run id
        run: RunId,
    },
    /// Resume an interrupted run, or all of them
    Resume {
        /// Run id; without it, every run that has no owner
        run: Option<RunId>,
    },
    /// List dead runs, or have one continued
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Approve steps that await approval, or calls of tools for which steps wait
    Approve {
        /// Run id
        run: RunId,
        /// Step id; with `/CALL`, one of the calls of tools for which the step waits, as `runs show` prints it
        #[arg(required = true, value_name = "STEP")]
        targets: Vec<ApprovalTarget>,
    },
    /// Reject steps that await approval, or calls of tools for which steps wait
    Reject {
        /// Run id
        run: RunId,
        /// Step id; with `/CALL`, one of the calls of tools for which the step waits, as `runs show` prints it
        #[arg(required = true, value_name = "STEP")]
        targets: Vec<ApprovalTarget>,
        /// Why, for the readers of the run and for the agent whose call is rejected
        #[arg(long)]
        reason: Option<String>,
    },
    /// Publish an event to a run, for which one of its steps waits
    Publish {
        /// Run id
        run: RunId,
        /// Name of the event
        event: EventName,
        /// Its data, as JSON
        #[arg(long, value_name = "JSON", value_parser = parse_json)]
        data: Option<Json>,
        /// Publish once for this key, however often the command is repeated
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<IdempotencyKey>,
    },
    /// Remove runs that ended long ago
    Prune {
        /// Minimum age, such as `30d`
        #[arg(long, value_name = "AGE")]
        older_than: humantime::Duration,
    },
}

/// Commands of `runs dead`: on runs that were given up after several failures.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List the newest dead runs, with their reasons
    List {
        /// Only runs of this workflow
        #[arg(long, value_name = "ID")]
        workflow: Option<WorkflowId>,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Start after this cursor, which the previous page prints
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Continue a dead run from its journal, as its owner, and watch it until it ends
    Retry {
        /// Run id
        run: RunId,
    },
}

/// Parses a status; the error names all of them.
fn parse_status(text: &str) -> Result<RunStatus, String> {
    let found = RunStatus::ALL.into_iter().find(|status| status.as_str() == text);
    let all = || RunStatus::ALL.map(RunStatus::as_str).join(", ");
    found.ok_or_else(|| format!("expected one of {}", all()))
}

fn parse_json(text: &str) -> Result<Json, String> {
    strict_json::from_str(text)
        .map_err(|error| format!("this is no JSON: {error}; put a text into quotes, as '\"text\"'"))
}

/// How a command that starts a run ends.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Return the id of the run as soon as it is accepted
    #[arg(long)]
    pub detach: bool,
    /// Write the run's report.md and report.html into this directory once it has succeeded
    #[arg(long, value_name = "DIR", conflicts_with = "detach")]
    pub report: Option<PathBuf>,
}

/// Commands of `artifacts`.
#[derive(Debug, Subcommand)]
pub enum ArtifactsCommand {
    /// Write the content of an artifact to a new file
    Get {
        /// Its hash, as the outputs of a run name it
        #[arg(value_parser = parse_hash)]
        hash: ContentHash,
        /// The file, which must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

fn parse_hash(text: &str) -> Result<ContentHash, String> {
    text.parse()
        .map_err(|_| "a hash has 64 hexadecimal digits; `greenroom runs show RUN` prints those of a run".to_owned())
}
