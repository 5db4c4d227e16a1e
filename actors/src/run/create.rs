//! Creates a run with its first entries, and activates it. Its first calls are audited and authorized while it is being
//! created, so a run and the openings of its first calls are one commit. Creation and activation are one unit of work
//! that is not cancelled with the request that starts the run.

use std::sync::Arc;

use greenroom_protocol::{Cause, ErrorCode, RunId, Timestamp};
use greenroom_registry::context::ContextData;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::journal::{Receipt, Seq};
use greenroom_registry::runs::{Created, DedupKey, Fence, NewRun};
use greenroom_rego::{Grant, SpendingScope};

use super::actor::decide_with_outputs;
use super::dedup_key::key_conflict_error;
use super::effects::EffectContext;
use super::first_calls::FirstCalls;
use super::handle::RunsHandle;
use super::inner_start::InnerStart;
use super::loops::Loops;
use super::machine::{Decision, Event, State};
use super::message::{FirstAction, RunArgs};
use super::pinned::PinnedDefinitions;
use super::uncancelled_creation::UncancelledCreation;
use crate::concurrency::OwnedTickets;
use crate::dispatcher::RunTicket;
use crate::pipeline::{CommitSignal, commit_signal};

/// The run that a request has.
pub(super) enum RunOfRequest {
    /// It started this run, or resumed it.
    New(RunId),
    /// An earlier request with its key, or with its id, started this run.
    Existing(RunId),
}

/// A run to create, and what its actor needs.
pub(super) struct Creation {
    pub(super) new: NewRun,
    pub(super) key: Option<DedupKey>,
    pub(super) pinned: PinnedDefinitions,
    /// The context of the team that was formed for it.
    pub(super) context: Option<ContextData>,
    /// Its start, if a run calls it.
    pub(super) inner: Option<InnerStart>,
    pub(super) ticket: Option<RunTicket>,
    pub(super) now: Timestamp,
}

/// A creation whose first calls have begun. Nothing of it is submitted yet.
struct DecidedCreation {
    new: NewRun,
    key: Option<DedupKey>,
    context: Option<ContextData>,
    inner: Option<InnerStart>,
    tickets: OwnedTickets,
    now: Timestamp,
    decision: Decision,
    ctx: EffectContext,
    calls: FirstCalls,
    /// Releases the calls.
    signal: CommitSignal,
}

impl RunsHandle {
    /// Creates a run that this pod owns, and activates it, or finds the one that the same request has started. No call of
    /// it is executed before the run and the audit entry of its request are durable.
    ///
    /// If the caller drops this, the work continues: else the run would have an owner and no actor. A process that alone
    /// owns its store would resume it at its next start only, and a run that another one has called would wait for as
    /// long as its caller.
    pub(super) async fn create_and_activate(
        &self,
        grant: &Grant,
        creation: Creation,
        audit_entry: &mut PendingAuditEntry,
    ) -> Result<RunOfRequest, Cause> {
        let caller = creation.inner.as_ref().map(|inner| inner.caller().run.clone());
        let (run, decided) = (creation.new.id().clone(), self.decide_creation(grant, creation));
        // The entry belongs to the work until that has ended: its opening must not be abandoned before the run.
        let creating = self.clone().complete_creation(decided, audit_entry.take());
        let (created, returned) = UncancelledCreation::new(self.clone(), run, caller, creating).await;
        *audit_entry = returned;
        created
    }

    /// Decides the start of a run, and begins its first calls.
    fn decide_creation(&self, grant: &Grant, creation: Creation) -> DecidedCreation {
        let Creation { new, key, pinned, context, inner, ticket, now } = creation;
        let (run, started) = (new.id().clone(), Arc::clone(&new.started));
        let mut decision = decide_with_outputs(&pinned, &State::default(), &Event::Started(started.clone()), now);
        let run_deadline = decision.next().effective_deadline().unwrap_or(started.deadline);
        let scope = SpendingScope::Run(run.clone());
        let ctx = EffectContext {
            env: self.env().clone(),
            tree: inner.as_ref().map_or_else(|| self.tree_to_create(run.clone()), |inner| inner.tree().clone()),
            pinned: Arc::new(pinned),
            grant: grant.with_run_deadline(run_deadline).with_spending_limits(scope, started.limits),
            started,
            loops: Loops::default(),
        };
        let (signal, commit) = commit_signal();
        let calls = FirstCalls::take(&ctx, &mut decision, &commit);
        // A run without a ticket of its own is a part of the work that has started it.
        let tickets = ticket.map_or_else(OwnedTickets::of_task, |own| OwnedTickets::default().with(own));
        DecidedCreation { new, key, context, inner, tickets, now, decision, ctx, calls, signal }
    }

    /// Completes a creation, and returns the audit entry of its request.
    async fn complete_creation(
        self,
        decided: DecidedCreation,
        mut audit_entry: PendingAuditEntry,
    ) -> (Result<RunOfRequest, Cause>, PendingAuditEntry) {
        let run = decided.new.id().clone();
        let created = self.create_decided(decided, &mut audit_entry).await;
        if let Err(cause) = &created {
            // Its caller may have gone.
            tracing::debug!(run.id = %run, cause = %cause, "a run was not started");
        }
        (created, audit_entry)
    }

    async fn create_decided(
        &self,
        decided: DecidedCreation,
        audit_entry: &mut PendingAuditEntry,
    ) -> Result<RunOfRequest, Cause> {
        let DecidedCreation { new, key, context, inner, tickets, now, decision, ctx, mut calls, signal } = decided;
        let run = new.id().clone();
        let (core, timing) = (&self.env().stores.core, calls.commit_timing());
        let creating = core.create_run_within(new, key.as_ref(), decision.entries(), timing, now);
        let (fence, receipt) = match calls.proceed_until(creating).await.map_err(|error| error.cause())? {
            (Created::New(fence), receipt) => (fence, require_receipt(receipt)?),
            (Created::Existing(first), _) => return Ok(RunOfRequest::Existing(complete_start(first, inner))),
            (Created::Conflict, _) => return Err(key_conflict_error()),
        };
        if inner.is_none() {
            self.own_created_tree(&ctx.tree);
        }
        check_fence(&ctx, fence)?;
        if let Err(error) = audit_entry.wait_durable().await {
            self.cancel_start(&run, fence, receipt.through(), decision.next(), error.cause()).await;
            return Err(error.cause());
        }
        signal.committed(&receipt);
        let (seq, state) = (Seq(0), State::default());
        let first = FirstAction::Start(Box::new(decision), receipt, calls);
        let caller = inner.as_ref().map(|inner| inner.caller().run.clone());
        self.activate(RunArgs { seq, state, context, first, caller, ctx, tickets }).await?;
        Ok(RunOfRequest::New(complete_start(run, inner)))
    }
}

fn require_receipt(receipt: Option<Receipt>) -> Result<Receipt, Cause> {
    receipt.ok_or_else(|| Cause::new(ErrorCode::Internal, "the run was created without journal entries"))
}

/// The calls of a run have the fence of its tree before it is created.
fn check_fence(ctx: &EffectContext, created: Fence) -> Result<(), Cause> {
    if ctx.tree.fence() == created {
        return Ok(());
    }
    let message = format!("the run was created with the fence {}, and not with that of its tree", created.0);
    Err(Cause::new(ErrorCode::Internal, message))
}

/// Completes the start of a run that a run calls.
pub(super) fn complete_start(run: RunId, inner: Option<InnerStart>) -> RunId {
    if let Some(inner) = inner {
        inner.complete();
    }
    run
}
