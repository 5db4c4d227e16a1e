//! What the owner of the data directory does to its stores as a whole: check, copy, prune, take up
//! what a crash left. These are the operating-system user's own rights; a note in the audit says so.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, stream};
use greenroom_actors::run::{RecoveryReport, RunsHandle};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, Json};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::SweepReport;
use greenroom_registry::audit::ChainReport;
use greenroom_registry::maintenance::CheckReport;
use greenroom_registry::runs::RunRecord;
use greenroom_rego::Authenticator;
use serde_json::json;

use crate::ingress::frame::AdminCommand;

/// Runs that are taken up with one look at the store.
const RESUME_BATCH_MAX: u32 = 10_000;

/// Does chores.
pub struct AdminOps {
    pub(crate) runs: RunsHandle,
    pub(crate) authenticator: Authenticator,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGenerator>,
}

impl AdminOps {
    /// Does one and says what came of it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn run(&self, command: AdminCommand) -> Result<Json, Cause> {
        match command {
            AdminCommand::VerifyAudit => {
                let verdict = self.stores.audit.verify().await.map_err(|error| error.cause())?;
                Ok(chain(&verdict))
            }
            AdminCommand::PruneAudit { before } => {
                let now = self.clock.now();
                let pruned = self.stores.audit.prune(before, now).await.map_err(|error| error.cause())?;
                self.note("audit", &format!("{} records up to {} were pruned", pruned.records, pruned.through.0))
                    .await?;
                Ok(json!({ "pruned": pruned.records, "through": pruned.through.0 }))
            }
            AdminCommand::PruneRuns { before } => {
                let runs = self.stores.runs.prune(before).await.map_err(|error| error.cause())?;
                let keys = self.stores.idempotency.prune(before).await.map_err(|error| error.cause())?;
                self.note("runs", &format!("{runs} runs and {keys} kept answers were pruned")).await?;
                let swept = self.sweep().await?;
                Ok(json!({
                    "runs": runs, "kept_answers": keys, "artifacts": swept.artifacts, "artifact_bytes": swept.bytes,
                }))
            }
            AdminCommand::CheckStore => {
                let report = self.stores.maintenance.check().await.map_err(|error| error.cause())?;
                Ok(checked(&report))
            }
            AdminCommand::Backup { to } => {
                require_absent(&to)?;
                self.stores.maintenance.backup(&to).await.map_err(|error| error.cause())?;
                Ok(json!({ "backup": to }))
            }
            AdminCommand::ResumeAll => self.resume_all().await,
        }
    }

    /// One round of taking up what nobody holds.
    ///
    /// # Errors
    /// What the store says.
    pub async fn recover(&self) -> Result<RecoveryReport, Cause> {
        self.runs.recover(&self.authenticator, &*self.ids).await
    }

    /// Drops the artifacts that nothing names any more. A process that died between the pruning of runs
    /// and this leaves them to the next sweep.
    ///
    /// # Errors
    /// What the stores say; then whatever is named is still there.
    pub async fn sweep(&self) -> Result<SweepReport, Cause> {
        let named = self.stores.maintenance.referenced_artifacts().await.map_err(|error| error.cause())?;
        let swept = self.stores.artifacts.sweep(named, self.clock.now()).await.map_err(|error| error.cause())?;
        if swept.artifacts > 0 {
            let SweepReport { artifacts, bytes } = swept;
            self.note("artifacts", &format!("{artifacts} artifacts of {bytes} bytes that nothing names were dropped"))
                .await?;
        }
        Ok(swept)
    }

    async fn note(&self, subject: &str, message: &str) -> Result<(), Cause> {
        let noted = self.stores.audit.record_system_event(subject, message, self.clock.now()).await;
        noted.map(|_| ()).map_err(|error| error.cause())
    }

    /// Takes up every run that nobody holds, and waits until each has ended or waits for a person.
    async fn resume_all(&self) -> Result<Json, Cause> {
        let left = self.stores.runs.list_unclaimed(self.clock.now(), RESUME_BATCH_MAX).await;
        let left = left.map_err(|error| error.cause())?;
        let round = self.runs.recover(&self.authenticator, &*self.ids).await?;
        let ends = stream::iter(left).map(|head| self.settled(head)).buffer_unordered(RESUME_BATCH_MAX as usize);
        let runs: Vec<Json> = ends.collect().await;
        let failed = runs.iter().filter(|run| run.get("failed") == Some(&Json::Bool(true))).count();
        Ok(json!({
            "resumed": round.resumed, "refused": round.terminated, "left": round.deferred, "failed": failed, "runs": runs,
        }))
    }

    /// Follows a run until it has ended or waits for a person.
    async fn settled(&self, head: RunRecord) -> Json {
        let mut journal = self.stores.journal.tail(&head.run, head.seq);
        while head.status != RunStatus::WaitingApproval
            && let Some(Ok(kept)) = journal.next().await
        {
            match kept.entry {
                Entry::RunEnded { reply } => {
                    return json!({ "run_id": head.run, "status": reply.status, "failed": reply.error.is_some() });
                }
                Entry::ApprovalRequested { .. } => break,
                _ => {}
            }
        }
        json!({ "run_id": head.run, "status": RunStatus::WaitingApproval, "failed": false })
    }
}

/// A backup is never written over anything, and into a folder that is there.
fn require_absent(to: &Path) -> Result<(), Cause> {
    let wrong = |what: &str| Err(Cause::new(ErrorCode::InvalidInput, format!("{} {what}", to.display())));
    if to.symlink_metadata().is_ok() {
        return wrong("is there already; name a file that is not");
    }
    match to.parent() {
        Some(folder) if folder.is_dir() => Ok(()),
        Some(_) | None => wrong("lies in no folder that is there; make it first"),
    }
}

/// What a check found, as it is shown.
pub(crate) fn checked(report: &CheckReport) -> Json {
    json!({
        "sound": report.is_ok(), "problems": report.problems, "audit": report.audit.as_ref().map(chain),
        "schema": report.schema, "bytes": report.bytes,
    })
}

/// What a walk along the audit found, as it is shown.
pub(crate) fn chain(verdict: &ChainReport) -> Json {
    json!({
        "holds": verdict.is_valid(), "records": verdict.records, "signed": verdict.signed, "anchor": verdict.anchor,
        "fault": verdict.violation.map(|fault| fault.to_string()),
    })
}
