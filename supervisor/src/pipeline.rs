//! One request, top-down: gate → authenticate → audit → facts → guard → dispatch → answer. A request
//! from outside enters at the top; an actor that needs another one re-enters behind the gate, as
//! itself, and is audited and judged like everybody else.

pub mod admission;
pub mod facts;
pub mod idempotency;
pub mod memory;
pub mod query;
pub mod reply;
pub mod request_info;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use greenroom_actors::agent::ExecutionFailure;
use greenroom_actors::dispatcher::{Dispatcher, RunTicket};
use greenroom_actors::execution::DeltaSink;
use greenroom_actors::pipeline::{CommitWaiter, RequestPipeline};
use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, PodId, Received, Reply, Request};
use greenroom_registry::audit::{AuditLog, OpenAuditEntry, PendingAuditEntry};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_rego::{AccessRequest, Authenticated, Authenticator, Guard, Permitted, TypedPermit};

use self::admission::{AdmissionControl, InFlightTicket, PipelineTicket};
use self::facts::FactCollector;
use self::idempotency::{IdempotencyKeys, KeyClaim};
use self::memory::MemoryHandler;
use self::query::QueryHandler;
use self::reply::{Dispatched, PolicyOutcome};
use self::request_info::RequestInfo;
use crate::telemetry::Metrics;

/// The stages, in the order of a request.
pub struct Pipeline {
    pub(crate) admission: AdmissionControl,
    pub(crate) authenticator: Authenticator,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) fact_collector: FactCollector,
    pub(crate) guard: Guard,
    pub(crate) idempotency: IdempotencyKeys,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) queries: QueryHandler,
    pub(crate) memory: MemoryHandler,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pod: PodId,
}

impl Pipeline {
    /// Lets a request from outside through. The place that it takes is given back with the reply.
    pub async fn serve(&self, received: Received) -> Reply {
        self.serve_streaming(received, None).await
    }

    /// As [`Pipeline::serve`]; what a model answers to the request itself is shown as it comes.
    pub async fn serve_streaming(&self, received: Received, sink: Option<DeltaSink>) -> Reply {
        let reply = match self.admit(received).await {
            Ok((_ticket, turn, asked)) => self.process(asked, Some(turn), sink, CommitWaiter::ready()).await,
            Err(reply) => *reply,
        };
        self.metrics.count_reply(reply.status);
        reply
    }

    /// The gate, the authenticator, and the turn of the tenant.
    async fn admit(
        &self,
        received: Received,
    ) -> Result<(InFlightTicket, PipelineTicket, Box<Authenticated>), Box<Reply>> {
        let info = RequestInfo::from_received(&received);
        let refused = |cause| Box::new(self.reject(&info, cause));
        let mut ticket = self.admission.admit().map_err(refused)?;
        let asked = self.authenticator.authenticate(received).await.map_err(refused)?;
        let patience = asked.deadline().remaining(self.clock.now());
        let turn = ticket.wait_turn(&asked.principal().tenant, patience).await.map_err(refused)?;
        Ok((ticket, turn, Box::new(asked)))
    }

    /// Everything behind the gate, at every hop: the bracket, the judgement, the act, the answer. The
    /// guard judges while the disk writes the opening; the act waits for both.
    ///
    /// A request waits here for its model, thousands at a time, and this future is what it holds
    /// meanwhile. So what the stages hand on is boxed, and so is each stage that is over by then.
    async fn process(
        &self,
        asked: Box<Authenticated>,
        turn: Option<PipelineTicket>,
        sink: Option<DeltaSink>,
        other: CommitWaiter,
    ) -> Reply {
        let mut info = RequestInfo::from_authenticated(&asked);
        let handing_in = {
            let opening = request_info::opening(&asked, &info, &self.pod);
            // The record of a run is written behind the opening of its start, in one commit.
            let is_start = matches!(asked.request(), Request::StartRun(_));
            let timing = if is_start { CommitTiming::Coalesce } else { CommitTiming::Immediate };
            self.audit.submit(opening, timing, self.clock.now())
        };
        let mut opened = match handing_in.await {
            Ok(opened) => opened,
            Err(error) => return self.reject(&info, error.cause()),
        };
        let mut decision = PolicyOutcome::default();
        let came = match Box::pin(self.authorize(asked, &mut info, &mut decision)).await {
            Ok(permit) => self.execute(&mut opened, other, permit, turn, sink).await,
            Err(cause) => Err((*cause).into()),
        };
        let audit_entry = match opened.into_open_entry().await {
            Ok(audit_entry) => audit_entry,
            Err(error) => return self.reject(&info, error.cause()),
        };
        let reply = reply::reply(&info, &self.pod, &decision, came);
        self.metrics.count_denial(reply.error.as_ref().map(|cause| cause.code));
        reply::log(&info, &decision, &reply);
        let closing = reply::closing(&info, &decision, &reply);
        self.audit.close(audit_entry, closing, self.clock.now()).await;
        reply
    }

    /// The facts and the guard.
    async fn authorize(
        &self,
        asked: Box<Authenticated>,
        info: &mut RequestInfo,
        decision: &mut PolicyOutcome,
    ) -> Result<Box<Permitted<Request>>, Box<Cause>> {
        let now = self.clock.now();
        check_deadline(asked.deadline(), now)?;
        let asked = self.authenticator.refresh(*asked, now).await?;
        let facts = self.fact_collector.collect(&asked, now).await?;
        if let greenroom_rego::Resource::Agent { agent, .. } = &facts.resource {
            info.agent = Some(agent.clone());
        }
        match self.guard.permit(AccessRequest::new(asked, facts)).await {
            Ok(permit) => {
                *decision = PolicyOutcome::yes(&permit);
                Ok(Box::new(permit))
            }
            Err(denied) => {
                *decision = PolicyOutcome::no(&denied);
                Err(Box::new(denied.into()))
            }
        }
    }

    /// The act itself, done once for each idempotency key.
    async fn execute(
        &self,
        opened: &mut PendingAuditEntry,
        other: CommitWaiter,
        permit: Box<Permitted<Request>>,
        turn: Option<PipelineTicket>,
        sink: Option<DeltaSink>,
    ) -> Result<Dispatched, ExecutionFailure> {
        other.wait().await?;
        let once = matches!(permit.request(), Request::Invoke(_) | Request::CallTool(_));
        if once {
            wait_opening(opened).await?;
        }
        check_deadline(permit.grant().deadline(), self.clock.now())?;
        if once && permit.grant().idempotency().is_some() {
            return Box::pin(self.execute_idempotent(opened, permit, turn, sink)).await;
        }
        let held = self.detached_ticket(&permit)?;
        // The turn ends here: what waits now waits for an actor, not for a stage.
        drop(turn);
        self.dispatch(opened, *permit, sink, held).await
    }

    /// What a run that nobody waits for takes along: a place of its own, or who starts many of them
    /// would hold none.
    fn detached_ticket(&self, permit: &Permitted<Request>) -> Result<Option<RunTicket>, Cause> {
        match permit.request() {
            Request::StartRun(start) if start.detach => {
                Ok(Some(Box::new(self.admission.admit_detached_run(&permit.grant().principal().tenant)?)))
            }
            _ => Ok(None),
        }
    }

    /// As [`Pipeline::act`], for what the caller gave an idempotency key to.
    async fn execute_idempotent(
        &self,
        opened: &mut PendingAuditEntry,
        permit: Box<Permitted<Request>>,
        turn: Option<PipelineTicket>,
        sink: Option<DeltaSink>,
    ) -> Result<Dispatched, ExecutionFailure> {
        let taken = match self.idempotency.claim(permit.grant()).await? {
            Some(KeyClaim::Replay(reply)) => return Ok(Dispatched::Reply(reply)),
            Some(KeyClaim::Claimed(taken)) => Some(taken),
            None => None,
        };
        let id = permit.grant().request_id().clone();
        drop(turn);
        let came = self.dispatch(opened, *permit, sink, None).await;
        if let Some(taken) = taken {
            self.idempotency.complete(taken, &reply::stored_reply(&id, &came)).await;
        }
        came
    }

    /// To the actor that does it, or to the stores where it is only a look. Nobody acts before the opening
    /// is durable; a run is made behind it, and waits itself. What waits is boxed by itself: a request
    /// holds the future of its own verb, and not room for the largest of all.
    fn dispatch<'a>(
        &'a self,
        opened: &'a mut PendingAuditEntry,
        permit: Permitted<Request>,
        sink: Option<DeltaSink>,
        held: Option<RunTicket>,
    ) -> BoxFuture<'a, Result<Dispatched, ExecutionFailure>> {
        let dispatcher = &self.dispatcher;
        match permit.into_typed() {
            TypedPermit::Invoke(permit) => Box::pin(async move {
                dispatcher.invoke_streaming(wait_opening(opened).await?, permit, sink).await.map(Dispatched::Outcome)
            }),
            TypedPermit::StartRun(permit) => {
                Box::pin(dispatcher.start_run(opened, permit, held).map(Dispatched::from_reply).map(Ok))
            }
            TypedPermit::StartTeam(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(dispatcher.start_team(wait_opening(opened).await?, permit).await))
            }),
            TypedPermit::SignalRun(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(dispatcher.signal_run(wait_opening(opened).await?, permit).await))
            }),
            TypedPermit::ResumeRun(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(dispatcher.resume_run(wait_opening(opened).await?, permit).await))
            }),
            TypedPermit::ContextRead(permit) => Box::pin(async move {
                dispatcher.context_read(wait_opening(opened).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::ContextWrite(permit) => Box::pin(async move {
                dispatcher.context_write(wait_opening(opened).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::MemoryRead(permit) => Box::pin(async move {
                wait_opening(opened).await?;
                Ok(Dispatched::Outcome(self.memory.read(permit).await?))
            }),
            TypedPermit::MemoryWrite(permit) => Box::pin(async move {
                wait_opening(opened).await?;
                Ok(Dispatched::Outcome(self.memory.write(permit).await?))
            }),
            TypedPermit::CallTool(permit) => Box::pin(async move {
                dispatcher.call_tool(wait_opening(opened).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::Query(permit) => Box::pin(async move {
                wait_opening(opened).await?;
                Ok(Dispatched::Outcome(self.queries.handle(permit).await?))
            }),
        }
    }

    /// The answer to a request that was refused before its bracket could be opened.
    fn reject(&self, info: &RequestInfo, cause: Cause) -> Reply {
        self.metrics.count_denial(Some(cause.code));
        tracing::info!(
            request.id = %info.id, trace_id = %info.trace, error.code = %cause.code, "request refused at the door"
        );
        reply::reply(info, &self.pod, &PolicyOutcome::default(), Err(cause.into()))
    }
}

#[async_trait]
impl RequestPipeline for Pipeline {
    async fn handle_after(&self, asked: Authenticated, other: CommitWaiter) -> Reply {
        self.process(Box::new(asked), None, None, other).await
    }
}

/// Waits until the opening is durable.
async fn wait_opening(opened: &mut PendingAuditEntry) -> Result<&OpenAuditEntry, Cause> {
    opened.wait_durable().await.map_err(|error| error.cause())
}

fn check_deadline(deadline: Deadline, now: greenroom_protocol::Timestamp) -> Result<(), Cause> {
    if deadline.has_passed(now) {
        return Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the request was done"));
    }
    Ok(())
}
