//! `greenroom policy`: one decision explained, or all of them as a table. Both ask an engine of their
//! own over the bundle that is configured; nothing is run and nothing is recorded.

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
use crate::config::{Config, UserConfig};

/// Bytes of an input document.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Does it.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] for a document that is not what policy sees; [`ErrorCode::InvalidPolicy`].
pub async fn policy(config: &Config, command: PolicyCommand, output: Output) -> Result<u8, Cause> {
    let snapshot = compose::policy::load_snapshot(config).await?;
    let alone = Alone(Mutex::new(Engine::new(snapshot).await?));
    match command {
        PolicyCommand::Eval { input } => {
            let explanation = alone.explain(Arc::new(read(&input)?)).await?;
            let document = serde_json::to_value(&explanation).unwrap_or_default();
            output.document(&document, || for_people(&explanation));
            Ok(if explanation.allow { 0 } else { ErrorCode::PolicyDenied.exit_code() })
        }
        PolicyCommand::Table => {
            let categories = compose::catalogue::categories(config).await?;
            let table = greenroom_rego::access_matrix::access_matrix(&alone, &bearers(config), &categories).await?;
            let document = serde_json::to_value(&table).unwrap_or_default();
            output.document(&document, || table.to_string());
            Ok(0)
        }
    }
}

/// One engine that is asked by one command.
struct Alone(Mutex<Engine>);

#[async_trait]
impl Evaluator for Alone {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.0.lock().await.decide(&input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.0.lock().await.explain(&input).await
    }
}

/// The configuration's users, as the columns of the table.
fn bearers(config: &Config) -> Vec<Subject> {
    let bearer = |user: &UserConfig| Subject {
        name: user.name.to_string(),
        roles: user.roles.iter().collect(),
        categories: user.permissions.allowed_categories.iter().map(ToString::to_string).collect(),
    };
    config.users.users.iter().map(bearer).collect()
}

fn read(path: &Path) -> Result<Input, Cause> {
    let refused = |error: std::io::Error| {
        Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", path.display()))
    };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text).map_err(refused)?;
    } else {
        let file = std::fs::File::open(path).map_err(refused)?;
        file.take(INPUT_BYTES_MAX).read_to_string(&mut text).map_err(refused)?;
    }
    serde_json::from_str(&text).map_err(|error| {
        let message =
            format!("{} is not a policy input: {error}; rego/schema/input.json says what one is", path.display());
        Cause::new(ErrorCode::InvalidInput, message)
    })
}

fn for_people(explanation: &Explanation) -> String {
    let mut text = if explanation.allow { "allowed".to_owned() } else { "denied".to_owned() };
    text.push_str(&format!("  (policy {})\n", explanation.revision));
    for check in &explanation.checks {
        text.push_str(&format!("  {} {}\n", if check.pass { "✔" } else { "✘" }, check.id));
    }
    for rule in &explanation.deny {
        text.push_str(&format!("  {}: {}\n", rule.code, rule.message));
    }
    text
}
