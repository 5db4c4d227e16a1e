//! Maintenance of the stores: check, count, back up, verify, prune, and resume interrupted runs; and what is applied for every
//! pod. A user requests it through the pipeline, where policy decides and the audit records it; the background services
//! of the pod resume and sweep for all tenants.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use greenroom_actors::run::machine::State;
use greenroom_actors::run::{RecoveryReport, RunsHandle};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, Clock, ErrorCode, Json, PrincipalId, TenantId, Timestamp};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::SweepReport;
use greenroom_registry::audit::{ChainBreak, ChainReport};
use greenroom_registry::journal::Seq;
use greenroom_registry::maintenance::CheckReport;
use greenroom_registry::runs::{RunRecord, TreeCounts};
use greenroom_rego::{Permitted, Principal};
use serde_json::json;

use crate::apply::Applier;
use crate::identity::manage::KeyOps;

/// Runs that one command resumes.
const RESUME_BATCH_MAX: u32 = 10_000;
/// Trees of each kind that are counted; more need as many workers as these.
const TREES_COUNTED_MAX: u32 = 10_000;

/// Executes maintenance.
pub struct AdminOps {
    pub(crate) runs: RunsHandle,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) applier: Applier,
    /// Manages API keys; `None` if something else than the configuration resolves users.
    pub(crate) keys: Option<KeyOps>,
    /// How long memories last; `None` for no bound.
    pub(crate) retention: Option<Duration>,
    /// True if the pod is started to decide whether a backup is restored.
    pub(crate) is_restoring: bool,
}

impl AdminOps {
    /// Executes a permitted command and returns its report. Commands on runs concern the tenant of the
    /// principal; policy permits the others to users of the pod's own tenant only.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn run(&self, permit: Permitted<Maintenance>) -> Result<Json, Cause> {
        let (grant, command) = permit.redeem();
        let tenant = &grant.principal().id.tenant;
        match command {
            Maintenance::VerifyAudit => {
                let report = self.stores.audit.verify().await.map_err(|error| error.cause())?;
                Ok(chain_json(&report))
            }
            Maintenance::PruneAudit { before } => {
                let now = self.clock.now();
                let pruned = self.stores.maintenance.prune_audit(before, now).await.map_err(|error| error.cause())?;
                self.record("audit", &format!("pruned {} entries up to {}", pruned.records, pruned.through)).await?;
                Ok(json!({ "pruned": pruned.records, "through": pruned.through.0 }))
            }
            Maintenance::PruneRuns { before } => self.prune_runs(tenant, before).await,
            Maintenance::ForgetMemories { user } => self.forget_memories(tenant, user.as_ref()).await,
            Maintenance::CheckStore => {
                let report = self.stores.maintenance.check().await.map_err(|error| error.cause())?;
                Ok(check_json(&report))
            }
            Maintenance::CountTrees => self.count_trees().await,
            Maintenance::BackUpStore { to } => {
                let path = Path::new(&to);
                require_absent(path)?;
                self.stores.maintenance.backup(path).await.map_err(|error| error.cause())?;
                Ok(json!({ "backup": to }))
            }
            Maintenance::ResumeRuns => self.resume_runs(tenant).await,
            Maintenance::ApplyDefinitions { from } => {
                self.applier.apply_definitions(&from, &grant.principal().id).await
            }
            Maintenance::ApplyPolicy { from } => self.applier.apply_policy(&from, grant.principal()).await,
            Maintenance::RestoreStore { from } => self.permit_restore(from, grant.principal()),
            Maintenance::CreateKey(new) => self.keys()?.create(new, &grant.principal().id).await,
            Maintenance::ListKeys => self.keys()?.list(&grant.principal().id).await,
            Maintenance::RevokeKey { key } => self.keys()?.revoke(&key, &grant.principal().id).await,
            Maintenance::RevokeSubject { subject } => {
                self.keys()?.set_revoked(&subject, true, &grant.principal().id).await
            }
            Maintenance::ReinstateSubject { subject } => {
                self.keys()?.set_revoked(&subject, false, &grant.principal().id).await
            }
        }
    }

    /// The number of trees for which there is work, and whether other pods can execute them.
    async fn count_trees(&self) -> Result<Json, Cause> {
        let counts = self.stores.runs.count_trees(self.clock.now(), TREES_COUNTED_MAX).await;
        let TreeCounts { waiting, owned } = counts.map_err(|error| error.cause())?;
        Ok(json!({ "waiting": waiting, "owned": owned, "shared": self.stores.cluster.is_shared() }))
    }

    fn keys(&self) -> Result<&KeyOps, Cause> {
        self.keys.as_ref().ok_or_else(|| {
            Cause::new(ErrorCode::InvalidRequest, "the users of this pod are not those of its configuration")
        })
    }

    /// The report of a permitted restoration, which the command executes once this pod has shut down. It has the
    /// principal whom the audit of the restored database names.
    fn permit_restore(&self, from: String, principal: &Principal) -> Result<Json, Cause> {
        if !self.is_restoring {
            let process = std::process::id().to_string();
            let message = format!("process {process} owns the database; stop it, and run the command again");
            return Err(Cause::new(ErrorCode::DataDirectoryInUse, message).with_details(json!({ "owner": process })));
        }
        Ok(json!({ "backup": from, "principal": principal.id }))
    }

    async fn prune_runs(&self, tenant: &TenantId, before: Timestamp) -> Result<Json, Cause> {
        let runs = self.stores.maintenance.prune_runs(Some(tenant), before).await.map_err(|error| error.cause())?;
        let keys = self.stores.maintenance.prune_keys(Some(tenant), before).await.map_err(|error| error.cause())?;
        self.record("runs", &format!("pruned {runs} runs and {keys} stored replies of the tenant {tenant}")).await?;
        let memories = self.prune_memories(Some(tenant)).await?;
        let swept = self.sweep(Some(tenant)).await?;
        Ok(json!({
            "runs": runs, "stored_replies": keys, "artifacts": swept.artifacts, "artifact_bytes": swept.bytes,
            "artifacts_unreferenced": swept.tombstones, "memories": memories,
        }))
    }

    /// Deletes what all agents have remembered for a tenant, or for one of its users. A user of another tenant has nothing
    /// there, and is a mistake.
    async fn forget_memories(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<Json, Cause> {
        if let Some(other) = user.filter(|user| user.tenant != *tenant) {
            let message = format!("{other} is a user of the tenant {}, and not of {tenant}", other.tenant);
            return Err(Cause::new(ErrorCode::InvalidInput, message));
        }
        let forgotten = self.stores.memory.forget_of_tenant(tenant, user).await.map_err(|error| error.cause())?;
        let subject = user.map_or_else(|| format!("the tenant {tenant}"), |user| format!("the user {user}"));
        self.record("memories", &format!("forgot {forgotten} memories of {subject}")).await?;
        Ok(json!({ "forgotten": forgotten }))
    }

    /// Deletes the memories of a tenant, or of all, that are older than their retention, and those that have expired.
    async fn prune_memories(&self, tenant: Option<&TenantId>) -> Result<u64, Cause> {
        let Some(retention) = self.retention else { return Ok(0) };
        let now = self.clock.now();
        let pruned = self.stores.memory.prune(tenant, now.saturating_sub(retention), now).await;
        let pruned = pruned.map_err(|error| error.cause())?;
        if pruned > 0 {
            self.record("memories", &format!("pruned {pruned} memories after their retention")).await?;
        }
        Ok(pruned)
    }

    /// Runs one round of recovery, which resumes runs that have no owner: those of a tenant, or of all.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn recover(&self, tenant: Option<&TenantId>) -> Result<RecoveryReport, Cause> {
        self.runs.recover(tenant).await
    }

    /// Deletes the memories of a tenant, or of all, after their retention. Then marks the artifacts that no live record
    /// references, and drops those that were marked long enough before. If a process dies between pruning runs and sweeping, the next sweep marks their artifacts.
    ///
    /// # Errors
    /// Those of the stores; no referenced artifact is dropped then.
    pub async fn sweep(&self, tenant: Option<&TenantId>) -> Result<SweepReport, Cause> {
        self.prune_memories(tenant).await?;
        let mut referenced = self.stores.maintenance.referenced_artifacts().await.map_err(|error| error.cause())?;
        referenced.extend(self.stores.memory.referenced_artifacts().await.map_err(|error| error.cause())?);
        let swept = self.stores.artifacts.sweep(referenced, tenant, self.clock.now()).await;
        let swept = swept.map_err(|error| error.cause())?;
        if swept.artifacts > 0 {
            let SweepReport { artifacts, bytes, .. } = swept;
            self.record("artifacts", &format!("dropped {artifacts} unreferenced artifacts of {bytes} bytes")).await?;
        }
        Ok(swept)
    }

    async fn record(&self, subject: &str, message: &str) -> Result<(), Cause> {
        let recorded = self.stores.core.record_system_event(subject, message, self.clock.now()).await;
        recorded.map(|_| ()).map_err(|error| error.cause())
    }

    /// Resumes every run of a tenant that has no owner, and waits until each has ended, awaits approval or is dead.
    async fn resume_runs(&self, tenant: &TenantId) -> Result<Json, Cause> {
        let unclaimed = self.stores.runs.list_unclaimed(Some(tenant), self.clock.now(), RESUME_BATCH_MAX).await;
        let unclaimed = unclaimed.map_err(|error| error.cause())?;
        let round = self.recover(Some(tenant)).await?;
        let ends =
            stream::iter(unclaimed).map(|run| self.wait_settled(run)).buffer_unordered(RESUME_BATCH_MAX as usize);
        let runs: Vec<Json> = ends.collect().await;
        let failed = runs.iter().filter(|run| run.get("failed") == Some(&Json::Bool(true))).count();
        Ok(json!({
            "resumed": round.resumed, "terminated": round.terminated, "dead": round.dead, "deferred": round.deferred,
            "failed": failed, "runs": runs,
        }))
    }

    /// Watches a run until it has ended, waits for people or events, or is dead.
    async fn wait_settled(&self, run: RunRecord) -> Json {
        let mut state = State::default();
        let mut journal = self.stores.journal.tail(&run.run, Seq(0));
        while let Some(Ok(record)) = journal.next().await {
            state.apply(record.at, &record.entry);
            match record.entry {
                Entry::RunEnded { reply } => {
                    return json!({ "run_id": run.run, "status": reply.status, "failed": reply.error.is_some() });
                }
                Entry::RunGivenUp { .. } if record.seq >= run.seq => {
                    return json!({ "run_id": run.run, "status": RunStatus::Dead, "failed": true });
                }
                _ => {}
            }
            let waits = state.is_paused() || !state.pending_approvals().is_empty();
            if waits && record.seq >= run.seq {
                break;
            }
        }
        let status = match state.pending_approvals().is_empty() {
            true => RunStatus::Running,
            false => RunStatus::WaitingApproval,
        };
        json!({ "run_id": run.run, "status": status, "failed": false })
    }
}

/// A backup is written to a new file in an existing directory, and never over anything.
fn require_absent(to: &Path) -> Result<(), Cause> {
    let invalid = |problem: &str| Err(Cause::new(ErrorCode::InvalidInput, format!("{} {problem}", to.display())));
    if to.symlink_metadata().is_ok() {
        return invalid("exists already; name a new file");
    }
    match to.parent() {
        Some(dir) if dir.is_dir() => Ok(()),
        Some(_) | None => invalid("is in a directory that does not exist; create it first"),
    }
}

/// The report of a check as JSON.
pub(crate) fn check_json(report: &CheckReport) -> Json {
    json!({
        "ok": report.is_ok(), "problems": report.problems, "audit": report.audit.as_ref().map(chain_json),
        "schema": report.schema, "bytes": report.bytes,
    })
}

/// The report of a verification of the audit chain as JSON.
pub(crate) fn chain_json(report: &ChainReport) -> Json {
    json!({
        "valid": report.is_valid(), "records": report.records, "signed": report.signed, "anchor": report.anchor,
        "violation": report.violation.map(|violation| violation.to_string()),
        "breaks": report.breaks.iter().map(break_json).collect::<Vec<_>>(),
    })
}

/// A break of the chain as JSON.
fn break_json(found: &ChainBreak) -> Json {
    json!({ "record": found.number, "at": found.at, "restored": found.restored })
}
