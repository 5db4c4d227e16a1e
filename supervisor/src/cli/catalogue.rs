//! `greenroom agents|workflows|teams list|show`: lists and shows definitions.

use std::collections::BTreeSet;

use greenroom_definitions::Field;
use greenroom_definitions::types::outline;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Reply, TeamId, WorkflowId};

use super::args::{AgentsCommand, CatalogueCommand, OutputFormat};
use super::output::{Output, table};
use super::session::Session;

/// The columns of the definitions that are not in service in the version of their file.
const QUARANTINED_COLUMNS: &[(&str, &str)] =
    &[("id", "QUARANTINED"), ("in_service", "LAST VERSION IN SERVICE"), ("file", "FILE"), ("problem", "PROBLEM")];

/// Lists or shows agents.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn agents(session: &Session, command: AgentsCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        AgentsCommand::List { category } => {
            let columns = [
                ("agent_id", "AGENT"),
                ("category", "CATEGORY"),
                ("runtime", "RUNTIME"),
                ("description", "DESCRIPTION"),
            ];
            let mut reply = client.agents().await?;
            if let Some(category) = &category {
                retain_category(&mut reply, category)?;
            }
            Ok(print_list(&reply, "agents", &columns, output))
        }
        AgentsCommand::Show { id } => {
            Ok(print_one(&client.agent_definition(parse_id::<AgentId>(&id)?).await?, "agent", output))
        }
    }
}

/// Removes the agents of other categories from a list. What is quarantined stays: the category of an invalid file may not
/// be known.
///
/// # Errors
/// [`ErrorCode::UnknownRecord`] if no agent has the category.
pub(super) fn retain_category(reply: &mut Reply, category: &str) -> Result<(), Cause> {
    let Some(rows) = reply.outputs.get_mut("agents").and_then(Json::as_array_mut) else {
        return Ok(());
    };
    let category_of = |row: &Json| row.get("category").and_then(Json::as_str).unwrap_or_default().to_owned();
    let categories: BTreeSet<String> = rows.iter().map(category_of).collect();
    if !categories.contains(category) {
        let known = categories.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("no agent has the category `{category}`; the categories are: {known}");
        return Err(Cause::new(ErrorCode::UnknownRecord, message));
    }
    rows.retain(|row| category_of(row) == category);
    Ok(())
}

/// Lists or shows workflows.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn workflows(session: &Session, command: CatalogueCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        CatalogueCommand::List => {
            let columns = [("workflow_id", "WORKFLOW"), ("steps", "STEPS"), ("description", "DESCRIPTION")];
            Ok(print_list(&client.workflows().await?, "workflows", &columns, output))
        }
        CatalogueCommand::Show { id } => {
            Ok(print_one(&client.workflow_definition(parse_id::<WorkflowId>(&id)?).await?, "workflow", output))
        }
    }
}

/// Lists or shows teams.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn teams(session: &Session, command: CatalogueCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        CatalogueCommand::List => {
            let columns = [("team_id", "TEAM"), ("agents", "AGENTS"), ("workflows", "WORKFLOWS")];
            Ok(print_list(&client.teams().await?, "teams", &columns, output))
        }
        CatalogueCommand::Show { id } => {
            Ok(print_one(&client.team_definition(parse_id::<TeamId>(&id)?).await?, "team", output))
        }
    }
}

fn parse_id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Cause> {
    text.parse().map_err(|error| Cause::new(ErrorCode::InvalidInput, format!("{text:?}: {error}")))
}

/// Writes the list of a query.
pub(super) fn print_list(reply: &Reply, name: &str, columns: &[(&str, &str)], output: Output) -> u8 {
    let exit_code = output.outputs(reply, |outputs| {
        let rows = |name: &str| outputs.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        match rows("quarantined") {
            [] => table(rows(name), columns),
            quarantined => format!("{}\n\n{}", table(rows(name), columns), table(quarantined, QUARANTINED_COLUMNS)),
        }
    });
    print_next_page(reply, output);
    exit_code
}

/// Says how to print the next page of a table, if there is one. The other formats have the cursor itself.
pub(super) fn print_next_page(reply: &Reply, output: Output) {
    if let (OutputFormat::Table, Some(Json::String(cursor))) = (output.format(), reply.outputs.get("next")) {
        output.note(&format!("there are more rows; for the next page, add: --after {cursor}"));
    }
}

/// Writes the definition of a query; in the table format as YAML, like its file.
pub(super) fn print_one(reply: &Reply, name: &str, output: Output) -> u8 {
    output.outputs(reply, |outputs| {
        let definition = outputs.get(name).unwrap_or(outputs);
        format_types(definition) + &serde_yaml_ng::to_string(definition).unwrap_or_default()
    })
}

/// Describes the types of the inputs and outputs as comments, so that the whole text remains YAML. The outputs
/// of a workflow have no types.
fn format_types(definition: &Json) -> String {
    let section = |member: &str| {
        let fields: Vec<Field> = serde_json::from_value(definition.get(member)?.clone()).ok()?;
        let lines: String = outline(&fields).lines().map(|line| format!("#   {line}\n")).collect();
        (!fields.is_empty()).then(|| format!("# {member}:\n{lines}"))
    };
    ["inputs", "outputs"].into_iter().filter_map(section).collect()
}
