//! Reading what is known: the stores and the catalogue answer, behind the guard, never an actor.

use std::sync::Arc;

use greenroom_actors::definition_resolver::Library;
use greenroom_definitions::agent::Runtime;
use greenroom_protocol::event::RunEvent;
use greenroom_protocol::limits::PAGE_ROWS_MAX;
use greenroom_protocol::request::{Look, Page};
use greenroom_protocol::{Cause, Code, Json, Outcome, RunId, TenantId, Timestamp};
use greenroom_registry::Stores;
use greenroom_registry::audit::AuditSeq;
use greenroom_registry::journal::Seq;
use greenroom_registry::ledger::CostRow;
use greenroom_registry::runs::{RunFilter, RunHead};
use greenroom_rego::Permitted;
use serde_json::json;

use super::reply::seen;

/// Events of a run after which one reply asks for another look.
const EVENTS_MAX: usize = 50_000;

/// Answers looks.
pub struct Reader {
    pub(crate) library: Arc<dyn Library>,
    pub(crate) stores: Stores,
}

impl Reader {
    /// Answers a permitted look, for the tenant of the one who asks.
    ///
    /// # Errors
    /// A code of the class "rejected" if what is looked for does not exist; what a store says.
    pub async fn look(&self, permit: Permitted<Look>) -> Result<Outcome, Cause> {
        let (grant, look) = permit.redeem();
        let tenant = &grant.principal().tenant;
        match look {
            Look::Agents => Ok(self.agents()),
            Look::Agent { id } => {
                let agent = self.library.agent(&id, None).await?;
                Ok(seen([("agent", written(agent.spec())?), ("version", json!(agent.hash()))]))
            }
            Look::Workflows => Ok(self.workflows()),
            Look::Workflow { id } => {
                let workflow = self.library.workflow(&id, None).await?;
                Ok(seen([("workflow", written(workflow.spec())?), ("version", json!(workflow.hash()))]))
            }
            Look::Teams => Ok(self.teams()),
            Look::Team { id } => {
                let team = self.library.catalogue().expect_team(&id).cloned()?;
                Ok(seen([("team", written(team.spec())?), ("version", json!(team.hash()))]))
            }
            Look::Runs { page } => self.runs(tenant, &page).await,
            Look::Run { run } => self.run(&run).await,
            Look::Events { run, after } => self.events(&run, after).await,
            Look::Audit { page } => self.audit(&page).await,
            Look::AuditEntry { id } => self.audit_entry(&id).await,
            Look::Costs { since } => self.costs(tenant, since).await,
        }
    }

    fn agents(&self) -> Outcome {
        let catalogue = self.library.catalogue();
        let rows = catalogue.agents().map(|agent| {
            let spec = agent.spec();
            json!({
                "agent_id": spec.agent_id, "name": spec.name, "category": spec.category, "version": spec.version,
                "runtime": runtime(spec.implementation.runtime), "description": spec.description,
            })
        });
        seen([("agents", rows.collect())])
    }

    fn workflows(&self) -> Outcome {
        let catalogue = self.library.catalogue();
        let rows = catalogue.workflows().map(|workflow| {
            let spec = workflow.spec();
            json!({
                "workflow_id": spec.workflow_id, "name": spec.name, "steps": spec.steps.len(),
                "description": spec.description,
            })
        });
        seen([("workflows", rows.collect())])
    }

    fn teams(&self) -> Outcome {
        let catalogue = self.library.catalogue();
        let rows = catalogue.teams().map(|team| {
            let spec = team.spec();
            json!({
                "team_id": spec.team_id, "name": spec.name, "agents": spec.agents, "workflows": spec.workflows,
                "description": spec.description,
            })
        });
        seen([("teams", rows.collect())])
    }

    async fn runs(&self, tenant: &TenantId, page: &Page) -> Result<Outcome, Cause> {
        let filter = RunFilter { tenant: Some(tenant.clone()), ..RunFilter::default() };
        let found = self.stores.runs.list(&filter, page.cursor()?, page.rows()).await;
        let found = found.map_err(|error| error.cause())?;
        let rows = found.runs.iter().map(head).collect();
        let next = found.next.map(|number| number.to_string());
        Ok(seen([("runs", rows), ("next", json!(next))]))
    }

    async fn run(&self, run: &RunId) -> Result<Outcome, Cause> {
        let found = self.stores.runs.get(run).await.map_err(|error| error.cause())?;
        let found = found.ok_or_else(|| Cause::new(Code::UnknownRun, format!("there is no run {run}")))?;
        let reply = self.stores.runs.reply(run).await.map_err(|error| error.cause())?;
        let (events, next) = self.journal(run, 0).await?;
        Ok(seen([("run", head(&found)), ("events", json!(events)), ("next", json!(next)), ("reply", json!(reply))]))
    }

    async fn events(&self, run: &RunId, after: u64) -> Result<Outcome, Cause> {
        let (events, next) = self.journal(run, after).await?;
        Ok(seen([("events", json!(events)), ("next", json!(next))]))
    }

    /// What has happened in a run behind this entry, and after which entry to ask for the rest where it
    /// is more than one reply may carry.
    async fn journal(&self, run: &RunId, after: u64) -> Result<(Vec<RunEvent>, Option<u64>), Cause> {
        let (mut events, mut after) = (Vec::new(), Seq(after));
        loop {
            let read = self.stores.journal.read(run, after, PAGE_ROWS_MAX).await.map_err(|error| error.cause())?;
            events.extend(read.iter().filter_map(|kept| RunEvent::of(run, kept.seq.0, kept.at, &kept.entry)));
            let Some(last) = read.last().filter(|_| read.len() == PAGE_ROWS_MAX as usize) else {
                return Ok((events, None));
            };
            after = last.seq;
            if events.len() >= EVENTS_MAX {
                return Ok((events, Some(after.0)));
            }
        }
    }

    async fn audit(&self, page: &Page) -> Result<Outcome, Cause> {
        let before = page.cursor()?.map(AuditSeq);
        let found = self.stores.audit.read(before, page.rows()).await.map_err(|error| error.cause())?;
        let next = found.next.map(|seq| seq.0.to_string());
        Ok(seen([("records", json!(found.records)), ("next", json!(next))]))
    }

    async fn audit_entry(&self, id: &str) -> Result<Outcome, Cause> {
        let records = self.stores.audit.find(id).await.map_err(|error| error.cause())?;
        if records.is_empty() {
            return Err(Cause::new(Code::UnknownRecord, format!("the audit has no entry {id}")));
        }
        Ok(seen([("records", json!(records))]))
    }

    async fn costs(&self, tenant: &TenantId, since: Option<Timestamp>) -> Result<Outcome, Cause> {
        let rows = self.stores.ledger.costs(since).await.map_err(|error| error.cause())?;
        let own: Vec<_> = rows.iter().filter(|row| row.tenant == *tenant).collect();
        let total: f64 = own.iter().map(|row| (row.actual.cost + row.estimated.cost).as_usd()).sum();
        let costs: Vec<Json> = own.iter().map(|row| cost(row)).collect();
        Ok(seen([("costs", json!(costs)), ("total_usd", json!(total))]))
    }
}

fn written<T: serde::Serialize>(spec: &T) -> Result<Json, Cause> {
    serde_json::to_value(spec).map_err(|error| Cause::new(Code::Internal, error.to_string()))
}

fn runtime(runtime: Runtime) -> Json {
    serde_json::to_value(runtime).unwrap_or_default()
}

fn head(head: &RunHead) -> Json {
    json!({
        "run_id": head.run, "workflow_id": head.workflow, "version": head.version, "team_id": head.team,
        "state": head.state, "owner": head.owner, "tenant": head.tenant, "parent": head.parent,
        "created": head.created, "updated": head.updated, "entries": head.seq.0,
    })
}

fn cost(row: &CostRow) -> Json {
    json!({
        "day": row.day.to_string().chars().take(10).collect::<String>(),
        "tenant": row.tenant, "user": row.user, "agent_id": row.agent, "workflow_id": row.workflow,
        "calls": row.calls, "tokens": row.actual.tokens, "cost_usd": row.actual.cost.as_usd(),
        "calls_estimated": row.calls_estimated, "estimated_usd": row.estimated.cost.as_usd(),
        "calls_assumed": row.calls_assumed, "assumed_usd": row.assumed.as_usd(),
    })
}
