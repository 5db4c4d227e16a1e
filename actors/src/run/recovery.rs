//! Recovery of runs that have not ended and have no owner, as after a crash. Each is resumed by a request through the
//! pipeline in the name of its recorded user, who is authenticated and authorized again.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::ResumeRun;
use greenroom_protocol::{Cause, Deadline, ErrorCode, IdGenerator, Reply, RequestId, RunId, Status, TenantId, TraceId};
use greenroom_registry::journal::{AppendPosition, Seq};
use greenroom_registry::runs::{Fence, RunRecord};
use greenroom_rego::{Authenticator, Grant, Permitted, RecoveryRequest};

use super::booked_cost::{booked_cost, raise_cost};
use super::context::replay_context;
use super::effects::EffectContext;
use super::handle::{RunsHandle, into_reply};
use super::loops::Loops;
use super::machine::{Event, State, deadline_after_pause, terminated_reply};
use super::message::{FirstAction, RunArgs};
use super::pinned::PinnedDefinitions;
use super::{RECOVERY_CONCURRENCY, RunEnv};
use crate::concurrency::OwnedTickets;

/// Entries of a journal that one read returns.
const REPLAY_ENTRIES_MAX: u32 = 1_000;
/// Runs of one recovery; the next recovery resumes the rest.
const RECOVERY_BATCH_MAX: u32 = 10_000;
/// Timeout of the resumption of one run.
const RESUME_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Result of one recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Runs that were resumed.
    pub resumed: usize,
    /// Runs that were ended, because their user is unknown or is no longer permitted to resume them.
    pub terminated: usize,
    /// Runs that could not be resumed now; the next recovery retries them.
    pub deferred: usize,
}

/// Outcome of the recovery of one run.
enum RecoveryOutcome {
    Resumed,
    Terminated,
    Deferred,
}

/// Groups the runs by generation: those whose parent is not in the list, then their children, and so on.
fn parents_first(mut remaining: Vec<RunRecord>) -> Vec<Vec<RunRecord>> {
    let mut generations = Vec::new();
    while !remaining.is_empty() {
        let ids: HashSet<RunId> = remaining.iter().map(|record| record.run.clone()).collect();
        let has_parent_here = |record: &RunRecord| record.parent.as_ref().is_some_and(|parent| ids.contains(parent));
        let (inner, outer): (Vec<_>, Vec<_>) = remaining.into_iter().partition(has_parent_here);
        // A run cannot start its own parent; if records contain such a cycle, its runs are returned all the same.
        let (next, rest) = if outer.is_empty() { (inner, Vec::new()) } else { (outer, inner) };
        generations.push(next);
        remaining = rest;
    }
    generations
}

impl RunsHandle {
    /// Resumes every run of a tenant (none: of all) that has not ended and has no owner: the oldest first,
    /// [`RECOVERY_CONCURRENCY`] concurrently, and each after its parent, because it also takes retries from the
    /// parent's budget.
    ///
    /// # Errors
    /// An error of the store, if it cannot list the runs.
    pub async fn recover(
        &self,
        authenticator: &Authenticator,
        ids: &dyn IdGenerator,
        tenant: Option<&TenantId>,
    ) -> Result<RecoveryReport, Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let records =
            stores.runs.list_unclaimed(tenant, clock.now(), RECOVERY_BATCH_MAX).await.map_err(|error| error.cause())?;
        let mut report = RecoveryReport::default();
        for generation in parents_first(records) {
            let each = futures::stream::iter(generation).map(|record| self.recover_run(record, authenticator, ids));
            let mut outcome = std::pin::pin!(each.buffer_unordered(RECOVERY_CONCURRENCY));
            while let Some(outcome) = outcome.next().await {
                match outcome {
                    RecoveryOutcome::Resumed => report.resumed += 1,
                    RecoveryOutcome::Terminated => report.terminated += 1,
                    RecoveryOutcome::Deferred => report.deferred += 1,
                }
            }
        }
        Ok(report)
    }

    async fn recover_run(
        &self,
        record: RunRecord,
        authenticator: &Authenticator,
        ids: &dyn IdGenerator,
    ) -> RecoveryOutcome {
        let RunEnv { pipeline, clock, .. } = &**self.env();
        let now = clock.now();
        let recovery = RecoveryRequest {
            id: RequestId::from_u128(ids.next_id()),
            trace: TraceId::from_u128(ids.next_id()),
            owner: record.owner.clone(),
            run: record.run.clone(),
            deadline: Deadline::after(now, RESUME_TIMEOUT),
            now,
        };
        let cause = match authenticator.recover(recovery).await {
            Ok(request) => {
                let reply = pipeline.handle(request).await;
                match (reply.status, reply.error) {
                    (Status::Success, _) => return RecoveryOutcome::Resumed,
                    (Status::Denied, Some(cause)) => cause,
                    // The run exists, but not for the tenant that its owner belongs to now.
                    (_, Some(cause)) if cause.code == ErrorCode::UnknownRun => {
                        Cause::new(ErrorCode::Unauthenticated, "the owner of the run belongs to another tenant now")
                    }
                    (_, cause) => {
                        tracing::warn!(run.id = %record.run, cause = ?cause.map(|cause| cause.code), "run was not resumed");
                        return RecoveryOutcome::Deferred;
                    }
                }
            }
            Err(cause) => cause,
        };
        // If the policy cannot be evaluated now, the run may still be permitted later.
        if cause.code.is_retryable() {
            return RecoveryOutcome::Deferred;
        }
        match self.terminate_unauthorized(&record.run, cause).await {
            Ok(()) => RecoveryOutcome::Terminated,
            Err(error) => {
                tracing::warn!(run.id = %record.run, cause = %error, "run could not be ended");
                RecoveryOutcome::Deferred
            }
        }
    }

    /// Resumes an interrupted run and replies as soon as it is active.
    pub async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.try_resume(permit).await)
    }

    async fn try_resume(&self, permit: Permitted<ResumeRun>) -> Result<Reply, Cause> {
        let (grant, ResumeRun { run }) = permit.redeem();
        if self.is_hosted(&run) {
            return self.status_reply(&run).await;
        }
        let fence = self.claim(&run).await?;
        match self.resume_from_journal(&run, fence, &grant).await {
            Ok(()) => self.status_reply(&run).await,
            Err(cause) => {
                // Another pod may be able to resume it.
                let RunEnv { stores, clock, .. } = &**self.env();
                stores.core.release_run(&run, fence, clock.now()).await;
                Err(cause)
            }
        }
    }

    async fn claim(&self, run: &RunId) -> Result<Fence, Cause> {
        let RunEnv { stores, clock, pod, lease, .. } = &**self.env();
        let now = clock.now();
        let claimed = stores.core.claim_run(run, pod, *lease, now).await.map_err(|error| error.cause())?;
        if let Some(fence) = claimed {
            return Ok(fence);
        }
        let record = stores.runs.get(run).await.map_err(|error| error.cause())?;
        Err(match record {
            None => Cause::new(ErrorCode::UnknownRun, format!("there is no run `{run}`")),
            Some(record) if record.status.is_terminal() => {
                Cause::new(ErrorCode::RunNotActive, format!("the run has ended as {}", record.status.as_str()))
            }
            Some(record) => Cause::new(ErrorCode::RunNotActive, format!("the run is active on {}", record.pod)),
        })
    }

    async fn resume_from_journal(&self, run: &RunId, fence: Fence, grant: &Grant) -> Result<(), Cause> {
        let env = self.env();
        let (seq, state) = self.replay(run).await?;
        let Some(started) = state.started().cloned() else {
            let cause = Cause::new(ErrorCode::Interrupted, "the process ended before the run started");
            return self.append_run_ended(run, fence, seq, &state, cause).await;
        };
        // An inner run is covered by the ticket of the outermost one.
        let ticket = match &started.parent {
            None => Some(env.admission.admit(&grant.principal().tenant)?),
            Some(_) => None,
        };
        let definitions = PinnedDefinitions::from_recorded(&started, &*env.resolver).await?;
        let now = env.clock.now();
        let deadline = deadline_after_pause(&state, now);
        let definitions_changed = definitions.is_outdated(&*env.resolver);
        let first = FirstAction::Resume(Box::new(Event::Resumed { definitions_changed, deadline }));
        let ctx = EffectContext {
            env: env.clone(),
            pinned: Arc::new(definitions),
            grant: grant.with_run_deadline(deadline),
            started,
            loops: Loops::default(),
        };
        let context = replay_context(env, &ctx.started, ctx.artifacts()).await?;
        if let (Some(team), Some(team_restorer)) = (&ctx.started.team, self.team_restorer()) {
            team_restorer.restore_team(run, team, &ctx.started.members).await?;
        }
        let tickets = OwnedTickets::default().with_optional(ticket);
        self.activate(RunArgs { fence, seq, state, context, first, ctx, tickets }).await
    }

    /// Replays the journal of a run into its state.
    async fn replay(&self, run: &RunId) -> Result<(Seq, State), Cause> {
        let journal = &self.env().stores.journal;
        let (mut seq, mut state) = (Seq(0), State::default());
        loop {
            let entries = journal.read(run, seq, REPLAY_ENTRIES_MAX).await.map_err(|error| error.cause())?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok((seq, state)) };
            for entry in &entries {
                state.apply(entry.at, &entry.entry);
            }
            seq = last;
        }
    }

    /// Ends a run that its user may not resume.
    async fn terminate_unauthorized(&self, run: &RunId, cause: Cause) -> Result<(), Cause> {
        let fence = self.claim(run).await?;
        let (seq, state) = self.replay(run).await?;
        self.append_run_ended(run, fence, seq, &state, cause).await
    }

    /// Ends a run whose record was written although its request is rejected.
    pub(super) async fn cancel_start(&self, run: &RunId, fence: Fence, seq: Seq, state: &State, cause: Cause) {
        if let Err(error) = self.append_run_ended(run, fence, seq, state, cause).await {
            // The run has neither started nor ended; if a pod resumes it, each of its steps is audited.
            tracing::error!(run.id = %run, error = %error, "rejected run could not be ended; recovery will resume it");
            let RunEnv { stores, clock, .. } = &**self.env();
            stores.core.release_run(run, fence, clock.now()).await;
        }
    }

    async fn append_run_ended(
        &self,
        run: &RunId,
        fence: Fence,
        seq: Seq,
        state: &State,
        cause: Cause,
    ) -> Result<(), Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let mut reply = Box::new(terminated_reply(run, state, cause));
        if let Some(booked) = booked_cost(&*stores.ledger, run, false).await {
            raise_cost(&mut reply, booked);
        }
        let ended = [Entry::RunEnded { reply }];
        let position = AppendPosition { run, fence, after: seq };
        let receipt = stores.core.append(position, &ended, clock.now()).await;
        receipt.map(drop).map_err(|error| error.cause())
    }
}
