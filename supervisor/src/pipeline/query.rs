//! Queries: reads of the stores and the catalogue, after the guard has permitted them. No actor is involved.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::handler::unknown_artifact_error;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_definitions::types::object_schema;
use greenroom_definitions::{Catalogue, DefinitionKind};
use greenroom_protocol::limits::ARTIFACT_PART_BYTES_MAX;
use greenroom_protocol::request::{Page, Query, RunListFilter};
use greenroom_protocol::{Cause, Clock, ContentHash, ErrorCode, Json, MicroUsd, Outcome, TenantId, Timestamp};
use greenroom_registry::Stores;
use greenroom_registry::audit::{AuditScope, AuditSeq};
use greenroom_registry::ledger::CostRow;
use greenroom_registry::runs::RunFilter;
use greenroom_rego::Permitted;
use serde_json::json;

use super::preconditions::within_deadline;
use super::reply::query_outcome;
use artifact_part::read_base64;

mod artifact_part;
mod run_report;

/// Handles queries.
pub struct QueryHandler {
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
}

impl QueryHandler {
    /// Handles a permitted query, for the tenant of its principal.
    ///
    /// # Errors
    /// A code of the class "rejected" if the resource does not exist; those of a store.
    pub async fn handle(&self, permit: Permitted<Query>) -> Result<Outcome, Cause> {
        let (grant, query) = permit.redeem();
        let tenant = &grant.principal().id.tenant;
        match query {
            Query::Agents => Ok(self.agents()),
            Query::Agent { id } => {
                let agent = self.definitions.agent(&id, None).await?;
                Ok(query_outcome([
                    ("agent", to_json(agent.spec())?),
                    ("version", json!(agent.hash())),
                    ("input_schema", agent.input_schema()),
                ]))
            }
            Query::Workflows => Ok(self.workflows()),
            Query::Workflow { id } => {
                let workflow = self.definitions.workflow(&id, None).await?;
                Ok(query_outcome([
                    ("workflow", to_json(workflow.spec())?),
                    ("version", json!(workflow.hash())),
                    ("input_schema", object_schema(&workflow.spec().inputs)),
                ]))
            }
            Query::Teams => Ok(self.teams()),
            Query::Team { id } => {
                let team = self.definitions.catalogue().require_team(&id).cloned()?;
                Ok(query_outcome([("team", to_json(team.spec())?), ("version", json!(team.hash()))]))
            }
            Query::Runs { filter, page } => self.runs(tenant, filter, &page).await,
            Query::Run { run } => self.run(&run).await,
            Query::Events { run, after } => self.events(&run, after).await,
            Query::Audit { page } => self.audit(tenant, &page).await,
            Query::AuditEntry { id } => self.audit_entry(tenant, &id).await,
            Query::Artifact { hash, after } => {
                let reading = self.artifact(tenant, &hash, after);
                within_deadline(grant.deadline(), self.clock.now(), reading).await?
            }
            Query::Costs { since } => self.costs(tenant, since).await,
        }
    }

    fn agents(&self) -> Outcome {
        let catalogue = self.definitions.catalogue();
        let rows = catalogue.agent_summaries().map(|agent| {
            json!({
                "agent_id": agent.agent_id, "name": agent.name, "category": agent.category, "version": agent.version,
                "runtime": runtime_json(agent.runtime()), "description": agent.description,
            })
        });
        query_outcome([
            ("agents", rows.collect()),
            ("quarantined", quarantined_json(&catalogue, DefinitionKind::Agent)),
        ])
    }

    fn workflows(&self) -> Outcome {
        let catalogue = self.definitions.catalogue();
        let rows = catalogue.workflow_summaries().map(|workflow| {
            json!({
                "workflow_id": workflow.workflow_id, "name": workflow.name, "steps": workflow.steps,
                "description": workflow.description,
            })
        });
        let quarantined = quarantined_json(&catalogue, DefinitionKind::Workflow);
        query_outcome([("workflows", rows.collect()), ("quarantined", quarantined)])
    }

    fn teams(&self) -> Outcome {
        let catalogue = self.definitions.catalogue();
        let rows = catalogue.teams().map(|team| {
            let spec = team.spec();
            json!({
                "team_id": spec.team_id, "name": spec.name, "agents": spec.agents, "workflows": spec.workflows,
                "description": spec.description,
            })
        });
        query_outcome([("teams", rows.collect()), ("quarantined", quarantined_json(&catalogue, DefinitionKind::Team))])
    }

    async fn runs(&self, tenant: &TenantId, filter: RunListFilter, page: &Page) -> Result<Outcome, Cause> {
        let RunListFilter { status, workflow } = filter;
        let filter = RunFilter { tenant: Some(tenant.clone()), status, workflow };
        let page = self.stores.runs.list(&filter, page.cursor()?, page.effective_limit()).await;
        let page = page.map_err(|error| error.cause())?;
        let mut rows = Vec::with_capacity(page.runs.len());
        for record in &page.runs {
            rows.push(self.run_json(record).await?);
        }
        let next = page.next.map(|number| number.to_string());
        Ok(query_outcome([("runs", json!(rows)), ("next", json!(next))]))
    }

    async fn audit(&self, tenant: &TenantId, page: &Page) -> Result<Outcome, Cause> {
        let before = page.cursor()?.map(AuditSeq);
        let scope = AuditScope::for_tenant(tenant);
        let page = self.stores.audit.read(&scope, before, page.effective_limit()).await;
        let page = page.map_err(|error| error.cause())?;
        let next = page.next.map(|seq| seq.0.to_string());
        Ok(query_outcome([("records", json!(page.records)), ("next", json!(next))]))
    }

    async fn audit_entry(&self, tenant: &TenantId, id: &str) -> Result<Outcome, Cause> {
        let scope = AuditScope::for_tenant(tenant);
        let records = self.stores.audit.find(&scope, id).await.map_err(|error| error.cause())?;
        if records.is_empty() {
            return Err(Cause::new(ErrorCode::UnknownRecord, format!("the audit has no entry {id}")));
        }
        Ok(query_outcome([("records", json!(records))]))
    }

    /// A part of an artifact, in Base64, and the number of bytes up to its end if there are more.
    async fn artifact(&self, tenant: &TenantId, hash: &ContentHash, after: u64) -> Result<Outcome, Cause> {
        let requested = after..after.saturating_add(ARTIFACT_PART_BYTES_MAX as u64);
        let content = self.stores.artifacts.read(tenant, hash, requested).await.map_err(|error| error.cause())?;
        let content = content.ok_or_else(|| unknown_artifact_error(hash))?;
        let (bytes, end) = (content.bytes, content.range.end);
        let part = read_base64(content).await.map_err(|error| error.cause())?;
        let next = (end < bytes).then_some(end);
        // `json!` would copy the text.
        Ok(query_outcome([("content", Json::String(part)), ("bytes", json!(bytes)), ("next", json!(next))]))
    }

    async fn costs(&self, tenant: &TenantId, since: Option<Timestamp>) -> Result<Outcome, Cause> {
        let rows = self.stores.ledger.costs(since).await.map_err(|error| error.cause())?;
        let own: Vec<_> = rows.iter().filter(|row| row.principal.tenant == *tenant).collect();
        let total: MicroUsd = own.iter().map(|row| row.actual.cost + row.estimated.cost).sum();
        let costs: Vec<Json> = own.iter().map(|row| cost_json(row)).collect();
        let totals = [("total_micro_usd", json!(total)), ("total_usd", json!(total.as_usd()))];
        Ok(query_outcome([("costs", json!(costs))].into_iter().chain(totals)))
    }
}

/// The quarantined definitions of a kind, and the quarantined files that concern every kind.
fn quarantined_json(catalogue: &Catalogue, kind: DefinitionKind) -> Json {
    let concerned = catalogue.quarantined().filter(|one| one.kind == kind || one.kind.id_member().is_none());
    let rows = concerned.map(|quarantined| {
        json!({
            "kind": quarantined.kind, "id": quarantined.id, "file": quarantined.file.display().to_string(),
            "problem": quarantined.reason(), "in_service": quarantined.in_service.is_some(),
            "version": quarantined.in_service.map(|version| version.short()),
        })
    });
    rows.collect()
}

fn to_json<T: serde::Serialize>(spec: &T) -> Result<Json, Cause> {
    serde_json::to_value(spec).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}

fn runtime_json(runtime: RuntimeKind) -> Json {
    serde_json::to_value(runtime).unwrap_or_default()
}

fn cost_json(row: &CostRow) -> Json {
    json!({
        "day": row.day.to_string().chars().take(10).collect::<String>(),
        "tenant": row.principal.tenant, "user": row.principal.user, "agent_id": row.agent, "workflow_id": row.workflow,
        "calls": row.calls, "tokens": row.actual.tokens,
        "cost_usd": row.actual.cost.as_usd(), "cost_micro_usd": row.actual.cost,
        "calls_estimated": row.calls_estimated,
        "estimated_usd": row.estimated.cost.as_usd(), "estimated_micro_usd": row.estimated.cost,
        "calls_assumed": row.calls_assumed,
        "assumed_usd": row.assumed.as_usd(), "assumed_micro_usd": row.assumed,
    })
}
