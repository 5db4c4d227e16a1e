//! The catalogue: lists of definitions, and one of each.

use axum::response::Response;
use greenroom_protocol::subject::{CatalogueEntry, CatalogueKind};
use greenroom_protocol::{AgentId, IngressSubject, TeamId, WorkflowId};

use super::call::serve;
use super::incoming::Incoming;
use super::problem::Problem;

/// Lists the agents.
pub(super) async fn agents(incoming: Incoming) -> Result<Response, Problem> {
    serve(incoming, IngressSubject::CatalogueList(CatalogueKind::Agents)).await
}

/// Describes an agent.
pub(super) async fn agent(incoming: Incoming) -> Result<Response, Problem> {
    let id = incoming.head.id::<AgentId>(0)?;
    serve(incoming, IngressSubject::CatalogueEntry(CatalogueEntry::Agent(id))).await
}

/// Lists the workflows.
pub(super) async fn workflows(incoming: Incoming) -> Result<Response, Problem> {
    serve(incoming, IngressSubject::CatalogueList(CatalogueKind::Workflows)).await
}

/// Describes a workflow.
pub(super) async fn workflow(incoming: Incoming) -> Result<Response, Problem> {
    let id = incoming.head.id::<WorkflowId>(0)?;
    serve(incoming, IngressSubject::CatalogueEntry(CatalogueEntry::Workflow(id))).await
}

/// Lists the teams.
pub(super) async fn teams(incoming: Incoming) -> Result<Response, Problem> {
    serve(incoming, IngressSubject::CatalogueList(CatalogueKind::Teams)).await
}

/// Describes a team.
pub(super) async fn team(incoming: Incoming) -> Result<Response, Problem> {
    let id = incoming.head.id::<TeamId>(0)?;
    serve(incoming, IngressSubject::CatalogueEntry(CatalogueEntry::Team(id))).await
}
