//! One request, top-down: admit → authenticate → audit → collect facts → authorize → dispatch → reply. A
//! request from an ingress passes every stage. A nested request of an actor skips admission and
//! authentication, because it carries the grant of its permit; it is audited and authorized like any
//! other.

pub mod admission;
pub mod artifacts;
mod collection;
pub mod facts;
pub mod idempotency;
pub mod memory;
mod preconditions;
pub mod query;
pub mod raw_inputs;
pub mod reply;
pub mod request_info;
pub(crate) mod store_failure;
mod store_wait;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use greenroom_actors::agent::ExecutionFailure;
use greenroom_actors::concurrency::OwnedTickets;
use greenroom_actors::dispatcher::{Dispatcher, RunTicket};
use greenroom_actors::execution::DeltaSink;
use greenroom_actors::pipeline::{CallScope, RequestPipeline, Settlements};
use greenroom_protocol::{
    Cause, Clock, IngressKind, Metadata, PodId, Received, Reply, Request, RequestId, Status, Values, WrittenVersion,
};
use greenroom_registry::core::{CoreStore, PendingAuditEntry, Unit};
use greenroom_rego::{AccessRequest, Authenticated, Authenticator, Denied, Guard, Permitted, TypedPermit};

use self::admission::{AdmissionControl, InFlightTicket, PipelineTicket};
use self::artifacts::ArtifactLookup;
use self::facts::{FactCollector, FactError};
use self::idempotency::{IdempotencyKeys, RequestClaim};
use self::memory::MemoryHandler;
use self::preconditions::{check_deadline, is_of_run, wait_entry, wait_opening, wait_opening_within, within_deadline};
use self::query::QueryHandler;
use self::raw_inputs::RawInputs;
use self::reply::{Dispatched, PolicyOutcome};
use self::request_info::RequestInfo;
use self::store_failure::name_store;
use crate::admin::AdminOps;
use crate::config::StoreConfig;
use crate::telemetry::Metrics;

/// The stages of a request.
pub struct Pipeline {
    pub(crate) admission: AdmissionControl,
    pub(crate) authenticator: Authenticator,
    pub(crate) core: Arc<dyn CoreStore>,
    pub(crate) artifacts: ArtifactLookup,
    pub(crate) raw_inputs: RawInputs,
    pub(crate) fact_collector: FactCollector,
    pub(crate) guard: Guard,
    pub(crate) idempotency: IdempotencyKeys,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) queries: QueryHandler,
    pub(crate) memory: MemoryHandler,
    pub(crate) admin: Arc<AdminOps>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The name of the pod, for replies.
    pub(crate) pod_name: PodId,
    /// The id of this start of the pod, for the audit: the next start closes what this one has left open.
    pub(crate) pod: PodId,
    pub(crate) store: StoreConfig,
}

/// The reply to a request from an ingress.
pub struct Served {
    /// The reply.
    pub reply: Reply,
    /// Dropped once the reply is written, so that a drain does not cut it; `None` for a request that was not
    /// admitted.
    pub ticket: Option<InFlightTicket>,
}

/// The tickets of a request from an ingress, for the stages. A nested request has none.
struct RequestTickets {
    _pipeline: PipelineTicket,
    /// The capacity of the request, for the run that it starts.
    run: RunTicket,
}

impl Pipeline {
    /// Serves a request from an ingress; the answer of a model to it is streamed into `sink`.
    pub async fn serve(&self, received: Received, sink: Option<DeltaSink>) -> Served {
        let served = match self.admit(received).await {
            Ok((in_flight, pipeline, request)) => {
                let tickets = RequestTickets { _pipeline: pipeline, run: in_flight.share() };
                let process = self.process(request, Some(tickets), sink, CallScope::default());
                let reply = OwnedTickets::default().with(in_flight.share()).scope(process).await;
                Served { reply, ticket: Some(in_flight) }
            }
            Err(reply) => Served { reply: *reply, ticket: None },
        };
        self.metrics.count_reply(&served.reply);
        served
    }

    /// The reply to a request that cannot be read.
    pub fn reject_unread(&self, id: &RequestId, cause: Cause) -> Reply {
        tracing::info!(
            request.id = %id, error.code = %cause.code, error.message = cause.message, "request rejected at ingress"
        );
        let reply = Reply {
            id: id.to_string(),
            status: Status::from_cause(&cause),
            outputs: Values::new(),
            error: Some(cause),
            metadata: Metadata::default(),
            protocol_version: WrittenVersion::OWN,
        };
        self.metrics.count_reply(&reply);
        reply
    }

    /// Admits and authenticates a request, then waits for a pipeline ticket; waiting requests are
    /// scheduled fairly across tenants.
    async fn admit(
        &self,
        received: Received,
    ) -> Result<(InFlightTicket, PipelineTicket, Box<Authenticated>), Box<Reply>> {
        let info = RequestInfo::from_received(&received);
        let reject = |cause| Box::new(self.reject(&info, cause));
        let admitted = match received.ingress() {
            IngressKind::Peer => self.admission.admit_inner(),
            IngressKind::Local | IngressKind::Nats | IngressKind::Http => self.admission.admit(),
        };
        let mut in_flight = admitted.map_err(reject)?;
        let request = self.authenticator.authenticate(received).await.map_err(reject)?;
        let timeout = request.deadline().remaining(self.clock.now());
        let tenant = &request.principal().id.tenant;
        let ticket = in_flight.wait_pipeline_ticket(tenant, timeout).await.map_err(reject)?;
        Ok((in_flight, ticket, Box::new(request)))
    }

    /// The stages of every hop: audit, authorize, execute, reply. The guard evaluates while the disk writes
    /// the opening of the audit entry; the execution waits for both.
    ///
    /// Thousands of requests wait here for their models, and each has one such future in memory. So the
    /// values that the stages pass on are boxed, and so is each stage that has ended before the wait.
    async fn process(
        &self,
        request: Box<Authenticated>,
        tickets: Option<RequestTickets>,
        sink: Option<DeltaSink>,
        scope: CallScope,
    ) -> Reply {
        // What a nested request has cost belongs into the unit of its issuer, else into the closing of the entry.
        let settlements = tickets.is_some().then(|| scope.settlements.clone());
        let (mut info, deadline) = (RequestInfo::from_authenticated(&request), request.deadline());
        let submitted = {
            let opening = request_info::make_opening(&request, &info, &self.pod);
            let (timing, root) = (request_info::opening_timing(&request, &info), request.root());
            let unit = Unit::new(self.clock.now()).of_tree(root).open(opening).outlast_outage(is_of_run(&request));
            self.core.submit_opening_unit(unit, timing)
        };
        let mut audit_entry = match submitted.await {
            Ok(audit_entry) => audit_entry,
            Err(error) => return self.reject(&info, error.cause()),
        };
        let mut decision = PolicyOutcome::default();
        let outcome = match Box::pin(self.authorize(request, &audit_entry, &mut info, &mut decision)).await {
            Ok(permit) => self.execute(&mut audit_entry, scope, permit, tickets, sink).await,
            // The hop that was denied counts its denial; a caller whose hop fails because of it does not.
            Err(cause) => {
                self.metrics.count_denial(cause.code);
                Err((*cause).into())
            }
        };
        let open_entry = match wait_entry(audit_entry, deadline, self.clock.now()).await {
            Ok(open_entry) => open_entry,
            Err(cause) => return self.reject(&info, cause),
        };
        let outcome = outcome.map_err(|failure| {
            let cause = name_store(failure.cause, &self.store, Some((&info.id, &*self.metrics)));
            ExecutionFailure { cause, ..failure }
        });
        let reply = reply::make_reply(&info, &self.pod_name, &decision, outcome);
        reply::log_execution(&info, &decision, &reply);
        let closing = reply::make_closing(&info, &decision, &reply);
        let unit = Unit::new(self.clock.now()).close(open_entry, closing);
        let unit = unit.settle(settlements.map(|settlements| settlements.take()).unwrap_or_default());
        if let Err(error) = self.core.send(unit).await {
            tracing::error!(request.id = %info.id, error = %error, "an audit entry cannot be closed");
        }
        reply
    }

    /// Collects the facts of a request and has the guard decide.
    async fn authorize(
        &self,
        request: Box<Authenticated>,
        audit_entry: &PendingAuditEntry,
        info: &mut RequestInfo,
        decision: &mut PolicyOutcome,
    ) -> Result<Box<Permitted<Request>>, Box<Cause>> {
        let now = self.clock.now();
        let deadline = request.deadline();
        check_deadline(deadline, now)?;
        let mut request = *request;
        within_deadline(deadline, now, self.refresh(&mut request, now)).await??;
        request.check_entry_points()?;
        let collected = within_deadline(deadline, now, self.collect_facts(request, audit_entry, now)).await;
        let (request, facts) = match collected.unwrap_or_else(|cause| Err(FactError::Rejected(cause))) {
            Ok(collected) => collected,
            Err(FactError::Rejected(cause)) => return Err(Box::new(cause)),
            Err(FactError::Unavailable(cause)) => {
                tracing::error!(
                    request.id = %info.id, trace_id = %info.trace, cause = %cause, "a fact could not be established"
                );
                return Err(deny(decision, Denied::FactUnavailable { cause }));
            }
        };
        if let greenroom_rego::Resource::Agent { agent, .. } = &facts.resource {
            info.agent = Some(agent.clone());
        }
        match self.guard.permit(AccessRequest::new(request, facts)).await {
            Ok(permit) => {
                *decision = PolicyOutcome::from_permit(&permit);
                Ok(Box::new(permit))
            }
            Err(denied) => Err(deny(decision, denied)),
        }
    }

    /// Executes a permitted request, once for each idempotency key.
    async fn execute(
        &self,
        audit_entry: &mut PendingAuditEntry,
        scope: CallScope,
        permit: Box<Permitted<Request>>,
        tickets: Option<RequestTickets>,
        sink: Option<DeltaSink>,
    ) -> Result<Dispatched, ExecutionFailure> {
        let CallScope { commit, settlements, sink: _ } = scope;
        commit.wait().await?;
        let has_stored_reply = permit.grant().idempotency().is_some() && idempotency::stores_reply(permit.request());
        let (deadline, is_start) = (permit.grant().deadline(), matches!(permit.request(), Request::StartRun(_)));
        // The record of a run is written in the commit of the opening, and so is the reservation of a key; everything else
        // waits for it.
        if !has_stored_reply && !is_start {
            wait_opening_within(audit_entry, deadline, self.clock.now()).await?;
        }
        check_deadline(deadline, self.clock.now())?;
        if has_stored_reply {
            return Box::pin(self.execute_idempotent(audit_entry, permit, tickets, sink, settlements)).await;
        }
        // From here on, the request waits for an actor and not for a stage.
        let run_ticket = self.run_ticket(&permit, tickets)?;
        self.dispatch(audit_entry, *permit, sink, run_ticket, settlements).await
    }

    /// The capacity of the run that a request starts. A run that its caller waits for has that of the request,
    /// also after the caller has disconnected. A detached run needs its own: without it, a caller could start
    /// any number of runs on this pod, since the request that starts one ends at once.
    fn run_ticket(
        &self,
        permit: &Permitted<Request>,
        tickets: Option<RequestTickets>,
    ) -> Result<Option<RunTicket>, Cause> {
        match permit.request() {
            Request::StartRun(start) if start.detach => self.admission.admit_start(permit.grant()),
            Request::StartRun(_) => Ok(tickets.map(|tickets| tickets.run)),
            Request::StartTeam(start) if !start.detach => Ok(tickets.map(|tickets| tickets.run)),
            // The run of a detached team is started by a nested request, which has a ticket of its own.
            Request::StartTeam(_)
            | Request::Invoke(_)
            | Request::SignalRun(_)
            | Request::ResumeRun(_)
            | Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Maintain(_)
            | Request::Query(_) => Ok(None),
        }
    }

    /// As [`Pipeline::execute`], for a request with an idempotency key, which is claimed while the opening of its audit
    /// entry is written. A request that waits for the first one with its key does so without a pipeline ticket.
    async fn execute_idempotent(
        &self,
        audit_entry: &mut PendingAuditEntry,
        permit: Box<Permitted<Request>>,
        tickets: Option<RequestTickets>,
        sink: Option<DeltaSink>,
        settlements: Settlements,
    ) -> Result<Dispatched, ExecutionFailure> {
        let claimed = match self.idempotency.claim(permit.grant(), tickets).await? {
            Some(RequestClaim::Replay(reply)) => return Ok(Dispatched::Reply(reply)),
            Some(RequestClaim::Claimed(key)) => Some(key),
            None => None,
        };
        let (id, deadline) = (permit.grant().request_id().clone(), permit.grant().deadline());
        let outcome = match wait_opening_within(audit_entry, deadline, self.clock.now()).await {
            Ok(()) => self.dispatch(audit_entry, *permit, sink, None, settlements.clone()).await,
            Err(cause) => Err(cause.into()),
        };
        if let Some(key) = claimed {
            self.idempotency.complete(key, reply::stored_reply(&id, &outcome), settlements.take()).await;
        }
        outcome
    }

    /// Passes the permit to the dispatcher, or to the store that a query reads. Nothing is executed before
    /// the opening is durable; the start of a run waits for that itself, since its record is written in the
    /// same commit. Each future is boxed by itself, so that a request has the size of its own verb and not
    /// that of the largest.
    fn dispatch<'a>(
        &'a self,
        audit_entry: &'a mut PendingAuditEntry,
        permit: Permitted<Request>,
        sink: Option<DeltaSink>,
        run_ticket: Option<RunTicket>,
        settlements: Settlements,
    ) -> BoxFuture<'a, Result<Dispatched, ExecutionFailure>> {
        let dispatcher = &self.dispatcher;
        match permit.into_typed() {
            TypedPermit::Invoke(permit) => Box::pin(async move {
                dispatcher
                    .invoke_within(wait_opening(audit_entry).await?, permit, sink, settlements)
                    .await
                    .map(Dispatched::Outcome)
            }),
            TypedPermit::StartRun(permit) => {
                Box::pin(dispatcher.start_run(audit_entry, permit, run_ticket).map(Dispatched::from_reply).map(Ok))
            }
            TypedPermit::StartTeam(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(
                    dispatcher.start_team(wait_opening(audit_entry).await?, permit, run_ticket).await,
                ))
            }),
            TypedPermit::SignalRun(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(dispatcher.signal_run(wait_opening(audit_entry).await?, permit).await))
            }),
            TypedPermit::ResumeRun(permit) => Box::pin(async move {
                Ok(Dispatched::from_reply(dispatcher.resume_run(wait_opening(audit_entry).await?, permit).await))
            }),
            TypedPermit::ContextRead(permit) => Box::pin(async move {
                dispatcher.context_read(wait_opening(audit_entry).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::ContextWrite(permit) => Box::pin(async move {
                dispatcher.context_write(wait_opening(audit_entry).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::MemoryRead(permit) => Box::pin(async move {
                wait_opening(audit_entry).await?;
                Ok(Dispatched::Outcome(self.memory.read(permit, settlements).await?))
            }),
            TypedPermit::MemoryWrite(permit) => Box::pin(async move {
                wait_opening(audit_entry).await?;
                Ok(Dispatched::Outcome(self.memory.write(permit, settlements).await?))
            }),
            TypedPermit::CallTool(permit) => Box::pin(async move {
                dispatcher.call_tool(wait_opening(audit_entry).await?, permit).await.map(Dispatched::Outcome)
            }),
            TypedPermit::Maintain(permit) => Box::pin(async move {
                wait_opening(audit_entry).await?;
                Ok(Dispatched::Outcome(reply::query_outcome([("report", self.admin.run(permit).await?)])))
            }),
            TypedPermit::Query(permit) => Box::pin(async move {
                wait_opening(audit_entry).await?;
                Ok(Dispatched::Outcome(self.queries.handle(permit).await?))
            }),
        }
    }

    /// The reply to a request that is rejected before its audit entry is open.
    fn reject(&self, info: &RequestInfo, cause: Cause) -> Reply {
        self.metrics.count_denial(cause.code);
        let cause = name_store(cause, &self.store, Some((&info.id, &*self.metrics)));
        tracing::info!(
            request.id = %info.id, trace_id = %info.trace, error.code = %cause.code, "request rejected before audit"
        );
        reply::make_reply(info, &self.pod_name, &PolicyOutcome::default(), Err(cause.into()))
    }
}

#[async_trait]
impl RequestPipeline for Pipeline {
    async fn handle_within(&self, request: Authenticated, scope: CallScope) -> Reply {
        let sink = scope.sink.clone();
        self.process(Box::new(request), None, sink, scope).await
    }
}

fn deny(decision: &mut PolicyOutcome, denied: Denied) -> Box<Cause> {
    *decision = PolicyOutcome::from_denial(&denied);
    Box::new(denied.into())
}
