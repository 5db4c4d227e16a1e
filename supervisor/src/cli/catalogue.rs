//! `greenroom agents|workflows|teams list|show`: what there is, and how it is written.

use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Reply, TeamId, WorkflowId};

use super::args::CatalogueCommand;
use super::output::Output;
use super::session::Session;

/// Looks at agents.
///
/// # Errors
/// A cause that came before any reply.
pub async fn agents(session: &Session, command: CatalogueCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        CatalogueCommand::List => {
            let columns =
                [("agent_id", "AGENT"), ("category", "CATEGORY"), ("runtime", "RUNTIME"), ("description", "DOES")];
            Ok(list(&client.agents().await?, "agents", &columns, output))
        }
        CatalogueCommand::Show { id } => Ok(show(&client.agent(id_of::<AgentId>(&id)?).await?, "agent", output)),
    }
}

/// Looks at workflows.
///
/// # Errors
/// A cause that came before any reply.
pub async fn workflows(session: &Session, command: CatalogueCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        CatalogueCommand::List => {
            let columns = [("workflow_id", "WORKFLOW"), ("steps", "STEPS"), ("description", "DOES")];
            Ok(list(&client.workflows().await?, "workflows", &columns, output))
        }
        CatalogueCommand::Show { id } => {
            Ok(show(&client.workflow(id_of::<WorkflowId>(&id)?).await?, "workflow", output))
        }
    }
}

/// Looks at teams.
///
/// # Errors
/// A cause that came before any reply.
pub async fn teams(session: &Session, command: CatalogueCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        CatalogueCommand::List => {
            let columns = [("team_id", "TEAM"), ("agents", "AGENTS"), ("workflows", "WORKFLOWS")];
            Ok(list(&client.teams().await?, "teams", &columns, output))
        }
        CatalogueCommand::Show { id } => Ok(show(&client.team(id_of::<TeamId>(&id)?).await?, "team", output)),
    }
}

fn id_of<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Cause> {
    text.parse().map_err(|error| Cause::new(ErrorCode::InvalidInput, format!("{text:?}: {error}")))
}

/// Writes a list that a look gave back.
pub(super) fn list(reply: &Reply, name: &str, columns: &[(&str, &str)], output: Output) -> u8 {
    if let Some(cause) = &reply.error {
        output.print_error(cause);
        return reply.exit_code();
    }
    let rows = reply.outputs.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let document = serde_json::to_value(&reply.outputs).unwrap_or_default();
    output.rows(&document, rows, columns);
    0
}

/// Writes one thing that a look gave back; a person reads it as YAML, as its file is written.
pub(super) fn show(reply: &Reply, name: &str, output: Output) -> u8 {
    if let Some(cause) = &reply.error {
        output.print_error(cause);
        return reply.exit_code();
    }
    let document = serde_json::to_value(&reply.outputs).unwrap_or_default();
    output.document(&document, || {
        let shown = reply.outputs.get(name).unwrap_or(&document);
        serde_yaml_ng::to_string(shown).unwrap_or_default()
    });
    0
}
