//! `greenroom policy`: checks a bundle, completes its text, explains one decision, or shows all as a table. Each loads
//! a bundle into an engine of its own; nothing is executed or recorded. `apply` alone changes something, through a pod.

pub mod apply;
mod check;
mod pack;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::access_matrix::Subject;
use greenroom_rego::{Engine, EvaluationError, Evaluator, Explanation, Input, PolicyDecision};
use tokio::sync::Mutex;

use super::args::PolicyCommand;
use super::output::Output;
use crate::compose;
use crate::compose::blocking::run_blocking;
use crate::config::{Config, UserConfig};

/// Bytes of an input document.
const INPUT_BYTES_MAX: u64 = 64 * 1024;
/// The mark that editors on Windows write before UTF-8.
const UTF8_BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] for a document that is not a policy input; [`ErrorCode::InvalidPolicy`].
pub async fn policy(config: Config, command: PolicyCommand, output: Output) -> Result<u8, Cause> {
    match command {
        PolicyCommand::Check { path } => check::check(config, path, output).await,
        PolicyCommand::Pack(args) => pack::pack(config, args, output).await,
        // It needs a session, and the caller executes it.
        PolicyCommand::Apply { .. } => Ok(0),
        PolicyCommand::Eval { input } => {
            let evaluator = open_engine(&config, output).await?;
            let explanation = evaluator.explain(Arc::new(run_blocking(move || read_input(&input)).await??)).await?;
            let document = serde_json::to_value(&explanation).unwrap_or_default();
            output.document(&document, || format_explanation(&explanation));
            Ok(if explanation.allow { 0 } else { ErrorCode::PolicyDenied.exit_code() })
        }
        PolicyCommand::Table => {
            let evaluator = open_engine(&config, output).await?;
            let categories = compose::catalogue::categories(&config).await?;
            let table =
                greenroom_rego::access_matrix::access_matrix(&evaluator, &subjects(&config), &categories).await?;
            let document = serde_json::to_value(&table).unwrap_or_default();
            output.document(&document, || table.to_string());
            Ok(0)
        }
    }
}

/// An engine with the configured bundle; its warnings are notes.
async fn open_engine(config: &Config, output: Output) -> Result<SingleEngine, Cause> {
    let snapshot = compose::policy::load_snapshot(config).await?;
    for warning in snapshot.warnings() {
        output.note(&format!("warning: {warning}"));
    }
    Ok(SingleEngine(Mutex::new(Engine::new(snapshot).await?)))
}

/// The engine of one command.
struct SingleEngine(Mutex<Engine>);

#[async_trait]
impl Evaluator for SingleEngine {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.0.lock().await.decide(&input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.0.lock().await.explain(&input).await
    }
}

/// The users of the configuration, the columns of the table.
fn subjects(config: &Config) -> Vec<Subject> {
    let subject = |user: &UserConfig| Subject {
        name: user.name.to_string(),
        roles: user.roles.iter().collect(),
        categories: user.permissions.allowed_categories.iter().map(ToString::to_string).collect(),
    };
    config.users.users.iter().map(subject).collect()
}

fn read_input(path: &Path) -> Result<Input, Cause> {
    let unreadable = |error: std::io::Error| {
        Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", path.display()))
    };
    // One byte more than allowed, so that a truncated document differs from one that is too large.
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    parse_input(&bytes).map_err(|problem| {
        let message = format!("{} is not a policy input: {problem}; see rego/schema/input.json", path.display());
        Cause::new(ErrorCode::InvalidInput, message)
    })
}

/// Parses a policy input. A byte order mark of UTF-8 is ignored, which RFC 8259 permits.
fn parse_input(bytes: &[u8]) -> Result<Input, String> {
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(format!("it has more than {INPUT_BYTES_MAX} bytes"));
    }
    let text = bytes.strip_prefix(UTF8_BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(text).map_err(|error| format!("it is not UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn format_explanation(explanation: &Explanation) -> String {
    let mut text = if explanation.allow { "allowed".to_owned() } else { "denied".to_owned() };
    text.push_str(&format!("  (policy {})\n", explanation.revision));
    for check in &explanation.checks {
        text.push_str(&format!("  {} {}\n", if check.pass { "✔" } else { "✘" }, check.id));
    }
    for reason in &explanation.deny {
        text.push_str(&format!("  {}: {}\n", reason.code, reason.message));
    }
    text
}
