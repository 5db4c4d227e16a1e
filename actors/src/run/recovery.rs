//! What a crash left: runs that have not ended and that nobody holds. Each one is taken up by a request
//! like any other, in the name of its recorded owner, who is read anew and judged anew.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::ResumeRun;
use greenroom_protocol::{Cause, Deadline, ErrorCode, IdGenerator, Reply, RequestId, RunId, Status, TraceId};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Fence, RunRecord};
use greenroom_rego::{Authenticator, Grant, Permitted, RecoveryRequest};

use super::actor::FirstAction;
use super::effects::{EffectContext, ItemLists};
use super::handle::{RunActivation, RunsHandle, reply_to};
use super::machine::{Event, Phase, State, deadline_after_pause, refused};
use super::pinned::Pinned;
use super::{RECOVERY_PARALLEL, RunEnv};

/// Entries of a journal that are read at one time.
const READ_ENTRIES: u32 = 1_000;
/// Runs that one round of recovery takes up; the next round takes the rest.
const RECOVERY_BATCH_MAX: u32 = 10_000;
/// How long taking up one run may take.
const RESUME_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// What one round of recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Runs that go on.
    pub resumed: usize,
    /// Runs that ended, since their owner may not go on with them, or is gone.
    pub terminated: usize,
    /// Runs that could not be taken up now; the next round tries again.
    pub deferred: usize,
}

/// What came of one run.
enum RecoveryOutcome {
    Resumed,
    Terminated,
    Deferred,
}

/// The runs in the order of their starting one another: those that none of the others started, then
/// those that these started, and so on.
fn parents_first(mut left: Vec<RunRecord>) -> Vec<Vec<RunRecord>> {
    let mut generations = Vec::new();
    while !left.is_empty() {
        let there: HashSet<RunId> = left.iter().map(|head| head.run.clone()).collect();
        let is_inner = |head: &RunRecord| head.parent.as_ref().is_some_and(|parent| there.contains(parent));
        let (inner, outer): (Vec<_>, Vec<_>) = left.into_iter().partition(is_inner);
        // No run starts the one that started it; were it recorded so, none would be lost by it.
        let (next, rest) = if outer.is_empty() { (inner, Vec::new()) } else { (outer, inner) };
        generations.push(next);
        left = rest;
    }
    generations
}

impl RunsHandle {
    /// Takes up every run that has not ended and that nobody holds: the oldest first,
    /// [`RECOVERY_PARALLEL`] at one time, and each one after the run that started it, from whose retries
    /// it takes as well.
    ///
    /// # Errors
    /// What the store says if it cannot even list them.
    pub async fn recover(&self, authenticator: &Authenticator, ids: &dyn IdGenerator) -> Result<RecoveryReport, Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let found = stores.runs.list_unclaimed(clock.now(), RECOVERY_BATCH_MAX).await.map_err(|error| error.cause())?;
        let mut sum = RecoveryReport::default();
        for generation in parents_first(found) {
            let each = futures::stream::iter(generation).map(|head| self.recover_run(head, authenticator, ids));
            let mut came = std::pin::pin!(each.buffer_unordered(RECOVERY_PARALLEL));
            while let Some(came) = came.next().await {
                match came {
                    RecoveryOutcome::Resumed => sum.resumed += 1,
                    RecoveryOutcome::Terminated => sum.terminated += 1,
                    RecoveryOutcome::Deferred => sum.deferred += 1,
                }
            }
        }
        Ok(sum)
    }

    async fn recover_run(
        &self,
        head: RunRecord,
        authenticator: &Authenticator,
        ids: &dyn IdGenerator,
    ) -> RecoveryOutcome {
        let RunEnv { pipeline, clock, .. } = &**self.env();
        let now = clock.now();
        let recovery = RecoveryRequest {
            id: RequestId::from_u128(ids.next_id()),
            trace: TraceId::from_u128(ids.next_id()),
            owner: head.owner.clone(),
            run: head.run.clone(),
            deadline: Deadline::after(now, RESUME_TIME_MAX),
            now,
        };
        let cause = match authenticator.recover(recovery).await {
            Ok(asked) => {
                let reply = pipeline.enter(asked).await;
                match (reply.status, reply.error) {
                    (Status::Success, _) => return RecoveryOutcome::Resumed,
                    (Status::Denied, Some(cause)) => cause,
                    (_, cause) => {
                        tracing::warn!(run.id = %head.run, cause = ?cause.map(|cause| cause.code), "run was not resumed");
                        return RecoveryOutcome::Deferred;
                    }
                }
            }
            Err(cause) => cause,
        };
        // A policy that could not be asked is no reason to end what may be allowed a moment later.
        if cause.code.is_retryable() {
            return RecoveryOutcome::Deferred;
        }
        match self.terminate_unauthorized(&head.run, cause).await {
            Ok(()) => RecoveryOutcome::Terminated,
            Err(error) => {
                tracing::warn!(run.id = %head.run, cause = %error, "run could not be ended");
                RecoveryOutcome::Deferred
            }
        }
    }

    /// Goes on with a run that was interrupted, and answers as soon as it does.
    pub async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        reply_to(&id, self.resumed(permit).await)
    }

    async fn resumed(&self, permit: Permitted<ResumeRun>) -> Result<Reply, Cause> {
        let (grant, ResumeRun { run }) = permit.redeem();
        if self.is_hosted(&run) {
            return self.status_reply(&run).await;
        }
        let fence = self.claim(&run).await?;
        match self.resume_from_journal(&run, fence, &grant).await {
            Ok(()) => self.status_reply(&run).await,
            Err(cause) => {
                // Somebody else may have more luck.
                self.env().stores.runs.release(&run, fence).await;
                Err(cause)
            }
        }
    }

    async fn claim(&self, run: &RunId) -> Result<Fence, Cause> {
        let RunEnv { stores, clock, pod, lease, .. } = &**self.env();
        let now = clock.now();
        let claimed = stores.runs.claim(run, pod, *lease, now).await.map_err(|error| error.cause())?;
        if let Some(fence) = claimed {
            return Ok(fence);
        }
        let head = stores.runs.get(run).await.map_err(|error| error.cause())?;
        Err(match head {
            None => Cause::new(ErrorCode::UnknownRun, format!("there is no run `{run}`")),
            Some(head) if head.status.is_terminal() => {
                Cause::new(ErrorCode::RunNotActive, format!("the run has ended as {}", head.status.as_str()))
            }
            Some(head) => Cause::new(ErrorCode::RunNotActive, format!("the run is under way on {}", head.pod)),
        })
    }

    async fn resume_from_journal(&self, run: &RunId, fence: Fence, grant: &Grant) -> Result<(), Cause> {
        let env = self.env();
        let (seq, state) = self.replay(run).await?;
        let Some(begun) = state.started().cloned() else {
            let cause = Cause::new(ErrorCode::Interrupted, "the process ended before the run had begun");
            return self.append_run_ended(run, fence, seq, &state, cause).await;
        };
        let pinned = Pinned::recorded(&begun, &*env.resolver).await?;
        let now = env.clock.now();
        let deadline = deadline_after_pause(&state, now);
        let definitions_changed = pinned.is_outdated(&*env.resolver);
        let first = FirstAction::Resume(Box::new(Event::Resumed { definitions_changed, deadline }));
        let until = match state.phase() {
            Phase::Compensating { .. } => deadline.max(Deadline::after(now, super::machine::COMPENSATION_TIME_MAX)),
            Phase::New | Phase::Running | Phase::Ended(_) => deadline,
        };
        let ctx = EffectContext {
            env: env.clone(),
            pinned: Arc::new(pinned),
            grant: grant.with_run_deadline(until),
            begun,
            lists: ItemLists::default(),
        };
        if let (Some(team), Some(company)) = (&ctx.begun.team, self.team_restorer()) {
            company.restore_team(run, team, &ctx.begun.members).await?;
        }
        self.activate(RunActivation { run: run.clone(), fence, seq, state, first, ctx, held: None }).await
    }

    /// Reads a run from its journal.
    async fn replay(&self, run: &RunId) -> Result<(Seq, State), Cause> {
        let journal = &self.env().stores.journal;
        let (mut seq, mut state) = (Seq(0), State::default());
        loop {
            let entries = journal.read(run, seq, READ_ENTRIES).await.map_err(|error| error.cause())?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok((seq, state)) };
            for entry in &entries {
                state.apply(entry.at, &entry.entry);
            }
            seq = last;
        }
    }

    /// Ends a run that its owner may not go on with.
    async fn terminate_unauthorized(&self, run: &RunId, cause: Cause) -> Result<(), Cause> {
        let fence = self.claim(run).await?;
        let (seq, state) = self.replay(run).await?;
        self.append_run_ended(run, fence, seq, &state, cause).await
    }

    /// Ends a run whose caller is told that it was refused, although it could begin.
    pub(super) async fn cancel_start(&self, run: &RunId, fence: Fence, seq: Seq, state: &State, cause: Cause) {
        if let Err(error) = self.append_run_ended(run, fence, seq, state, cause).await {
            // It is neither done nor ended; whoever takes it up is audited at each step.
            tracing::error!(run.id = %run, error = %error, "a refused run could not be ended, and will be taken up");
            self.env().stores.runs.release(run, fence).await;
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
        let reply = Box::new(refused(run, state, cause));
        let ended = [Entry::RunEnded { reply }];
        let receipt = stores.journal.append(run, fence, seq, &ended, clock.now()).await;
        receipt.map(drop).map_err(|error| error.cause())
    }
}
