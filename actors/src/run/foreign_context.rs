//! Requests for the context of a run that another pod owns: a member of the team on a pod with its labels, or a user whose
//! request any pod may receive. A read replays the journal, which has every change that is durable; this pod does not know
//! which version the view must have at least. A write is decided by the owner (`super::foreign_write`).

use greenroom_protocol::journal::{Entry, RunStarted};
use greenroom_protocol::{Cause, ContextKey, Deadline, ErrorCode, Outcome, RunId};
use greenroom_registry::context::ContextData;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::RunRecord;

use super::artifacts::RunArtifacts;
use super::context::{no_context_error, replay_context, snapshot_outcome};
use super::handle::RunsHandle;

impl RunsHandle {
    /// Reads values of the context of a run that is not hosted here.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRun`] if it has ended, or no team was formed for it; [`ErrorCode::TimedOut`]; those of the stores.
    pub(super) async fn read_foreign_context(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        deadline: Deadline,
    ) -> Result<Outcome, Cause> {
        let record = self.foreign_record(run).await?;
        let timeout = deadline.remaining(self.env().clock.now());
        let replaying = self.replay_foreign(&record, keys);
        tokio::time::timeout(timeout, replaying).await.map_err(|_elapsed| read_timed_out())?
    }

    /// The record of a run that another pod may own.
    pub(super) async fn foreign_record(&self, run: &RunId) -> Result<RunRecord, Cause> {
        let stores = &self.env().stores;
        if !stores.cluster.is_shared() {
            return Err(no_context_error(run));
        }
        let record = stores.runs.get(run).await.map_err(|error| error.cause())?;
        record.filter(|record| !record.status.is_terminal()).ok_or_else(|| no_context_error(run))
    }

    async fn replay_foreign(&self, record: &RunRecord, keys: &[ContextKey]) -> Result<Outcome, Cause> {
        let mut started = self.started(&record.run).await?;
        // The runs that a team's run calls have the context of the team.
        if let Some(team_run) = started.team_run.clone().filter(|team_run| *team_run != started.run) {
            started = self.started(&team_run).await?;
        }
        let data = self.replay_started(record, &started).await?;
        Ok(snapshot_outcome(data.snapshot(keys, self.env().clock.now())))
    }

    /// The context of a run for which a team was formed.
    pub(super) async fn replay_record(&self, record: &RunRecord) -> Result<ContextData, Cause> {
        let started = self.started(&record.run).await?;
        self.replay_started(record, &started).await
    }

    async fn replay_started(&self, record: &RunRecord, started: &RunStarted) -> Result<ContextData, Cause> {
        let env = self.env();
        let (tenant, personal_data) = (&record.owner.tenant, record.personal_data);
        let artifacts = RunArtifacts { stores: &env.stores, run: &started.run, tenant, personal_data };
        replay_context(env, started, artifacts).await?.ok_or_else(|| no_context_error(&record.run))
    }

    /// The first entry of a run.
    async fn started(&self, run: &RunId) -> Result<RunStarted, Cause> {
        let first = self.env().stores.journal.read(run, Seq(0), 1).await.map_err(|error| error.cause())?;
        match first.into_iter().next().map(|record| record.entry) {
            Some(Entry::RunStarted(started)) => Ok(*started),
            Some(_) | None => Err(no_context_error(run)),
        }
    }
}

fn read_timed_out() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before the context was read")
}
