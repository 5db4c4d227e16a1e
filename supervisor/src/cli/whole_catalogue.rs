//! `greenroom catalogue search|show|graph|stats`: looks at all definitions of the configured source together.

mod statistics;

use std::sync::Arc;

use greenroom_definitions::graph::{Graph, to_svg};
use greenroom_definitions::{Catalogue, statistics::Statistics};
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, TeamId, WorkflowId};
use greenroom_registry::catalogue_search::{SearchEntry, search};
use serde_json::json;

use super::args::{GraphFormat, WholeCatalogueCommand};
use super::output::{Output, table};
use crate::compose::blocking::run_blocking;
use crate::compose::catalogue;
use crate::config::Config;

/// Executes the command. It runs and stores nothing, so it needs no data directory.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] if no definition is valid; [`ErrorCode::UnknownRecord`] for an unknown id; those of
/// a bucket.
pub async fn whole_catalogue(config: Config, command: WholeCatalogueCommand, output: Output) -> Result<u8, Cause> {
    let known_names = catalogue::known_names(&config).await?;
    let source = catalogue::source(&config).await?;
    let loaded = catalogue::require_catalogue(catalogue::load(source, false, known_names).await?, false)?;
    match command {
        WholeCatalogueCommand::Search { words, limit } => find(&loaded, words.join(" "), limit, output).await?,
        WholeCatalogueCommand::Show { id } => show(&loaded, &id, output)?,
        WholeCatalogueCommand::Graph { format, category } => print_graph(&loaded, format, category.as_deref(), output)?,
        WholeCatalogueCommand::Stats => {
            let computed = run_blocking(move || Statistics::new(&loaded)).await?;
            let document =
                serde_json::to_value(&computed).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
            output.document(&document, || statistics::format(&computed));
        }
    }
    Ok(0)
}

async fn find(catalogue: &Catalogue, query: String, limit: u32, output: Output) -> Result<(), Cause> {
    let entries = entries(catalogue);
    let found = run_blocking(move || search(&entries, &query, limit)).await?;
    let hits = found.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let rows: Vec<Json> = hits
        .into_iter()
        .map(|hit| json!({ "kind": hit.kind, "id": hit.id, "name": hit.name, "description": hit.description }))
        .collect();
    let columns = [("kind", "KIND"), ("id", "ID"), ("description", "DESCRIPTION")];
    output.document(&json!({ "found": rows }), || table(&rows, &columns));
    Ok(())
}

/// Everything by which definitions are found. No agent and no workflow is compiled for it.
fn entries(catalogue: &Catalogue) -> Vec<SearchEntry> {
    let agents = catalogue.agent_summaries().map(|agent| {
        let mut words: Vec<&str> = agent.capabilities.iter().chain(&agent.tags).map(String::as_str).collect();
        words.push(agent.category.as_str());
        words.extend(agent.owner.as_deref());
        SearchEntry {
            kind: "agent".to_owned(),
            id: agent.agent_id.to_string(),
            words: words.join(" "),
            name: agent.name,
            description: agent.description,
        }
    });
    let teams = catalogue.teams().map(|team| {
        let spec = team.spec();
        let members: Vec<&str> = spec.agents.iter().map(AgentId::as_str).collect();
        SearchEntry {
            kind: "team".to_owned(),
            id: spec.team_id.to_string(),
            name: spec.name.clone(),
            description: spec.description.clone(),
            words: members.join(" "),
        }
    });
    let workflows = catalogue.workflow_summaries().map(|workflow| {
        let called: Vec<&str> = workflow.agents.iter().map(AgentId::as_str).collect();
        SearchEntry {
            kind: "workflow".to_owned(),
            id: workflow.workflow_id.to_string(),
            words: called.join(" "),
            name: workflow.name,
            description: workflow.description,
        }
    });
    agents.chain(teams).chain(workflows).collect()
}

/// Shows each definition that has the id, and what an edge of the graph connects with it.
fn show(catalogue: &Arc<Catalogue>, id: &str, output: Output) -> Result<(), Cause> {
    let agent = AgentId::new(id).ok().and_then(|id| catalogue.agent(&id));
    let team = TeamId::new(id).ok().and_then(|id| catalogue.team(&id));
    let workflow = WorkflowId::new(id).ok().and_then(|id| catalogue.workflow(&id));
    let full = agent.map_or_else(|| id.to_owned(), |agent| agent.id().to_string());
    let mut document = serde_json::Map::new();
    let definitions = [
        ("agent", agent.map(|agent| serde_json::to_value(agent.spec()))),
        ("team", team.map(|team| serde_json::to_value(team.spec()))),
        ("workflow", workflow.map(|workflow| serde_json::to_value(workflow.spec()))),
    ];
    for (kind, spec) in definitions {
        if let Some(spec) = spec {
            let spec = spec.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
            document.insert(kind.to_owned(), spec);
        }
    }
    if document.is_empty() {
        let message = format!("no agent, team or workflow has the id `{id}`; `greenroom catalogue search` finds them");
        return Err(Cause::new(ErrorCode::UnknownRecord, message));
    }
    document.insert("connections".to_owned(), Json::Array(connections(catalogue, &full)));
    let document = Json::Object(document);
    output.document(&document, || serde_yaml_ng::to_string(&document).unwrap_or_default());
    Ok(())
}

fn connections(catalogue: &Catalogue, id: &str) -> Vec<Json> {
    let graph = Graph::new(catalogue, None);
    let touching = graph.edges.iter().filter(|(from, to, _)| from.1 == id || to.1 == id);
    touching
        .map(|((from_kind, from), (to_kind, to), kind)| {
            json!({
                "from": format!("{} {from}", from_kind.as_str()),
                "to": format!("{} {to}", to_kind.as_str()),
                "as": kind.as_str(),
            })
        })
        .collect()
}

fn print_graph(
    catalogue: &Catalogue,
    format: GraphFormat,
    category: Option<&str>,
    output: Output,
) -> Result<(), Cause> {
    if let Some(category) = category.filter(|category| !catalogue.categories().any(|one| one.id.as_str() == *category))
    {
        return Err(Cause::new(ErrorCode::UnknownRecord, format!("there is no category `{category}`")));
    }
    let graph = Graph::new(catalogue, category);
    let text = match format {
        GraphFormat::Dot => graph.to_dot(),
        GraphFormat::Svg => to_svg(&graph),
    };
    let (nodes, edges) = (graph.nodes.len(), graph.edges.len());
    output.document(&json!({ "nodes": nodes, "edges": edges, "graph": text }), || text.clone());
    Ok(())
}

#[cfg(test)]
mod tests;
