//! One request, top-down: gate → authenticate → audit → facts → guard → dispatch → answer. A request
//! from outside enters at the top; an actor that needs another one re-enters behind the gate, as
//! itself, and is audited and judged like everybody else.

pub mod answer;
pub mod facts;
pub mod gate;
pub mod look;
pub mod once;
pub mod visit;

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::agent::Failure;
use greenroom_actors::door::Door;
use greenroom_actors::execution::DeltaSink;
use greenroom_actors::stage::Stage;
use greenroom_protocol::{Cause, Clock, Code, Deadline, PodId, Received, Reply, Request};
use greenroom_registry::audit::{AuditLog, Bracket};
use greenroom_rego::{Authenticated, Authenticator, Guard, Narrowed, Permitted, Question};

use self::answer::{Came, Decision};
use self::facts::Surveyor;
use self::gate::{Gate, Ticket, Turn};
use self::look::Reader;
use self::once::{Keys, Turned};
use self::visit::Visit;
use crate::telemetry::Meters;

/// The stages, in the order of a request.
pub struct Pipeline {
    pub(crate) gate: Gate,
    pub(crate) authenticator: Authenticator,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) surveyor: Surveyor,
    pub(crate) guard: Guard,
    pub(crate) keys: Keys,
    pub(crate) stage: Stage,
    pub(crate) reader: Reader,
    pub(crate) meters: Arc<Meters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pod: PodId,
}

impl Pipeline {
    /// Lets a request from outside through. The place that it takes is given back with the reply.
    pub async fn serve(&self, received: Received) -> Reply {
        self.serve_watched(received, None).await
    }

    /// As [`Pipeline::serve`]; what a model answers to the request itself is shown as it comes.
    pub async fn serve_watched(&self, received: Received, sink: Option<DeltaSink>) -> Reply {
        let visit = Visit::arrived(&received);
        let reply = match self.admit(received).await {
            Ok((_ticket, turn, asked)) => self.govern(asked, Some(turn), sink).await,
            Err(cause) => self.refuse(&visit, cause),
        };
        self.meters.replied(reply.status);
        reply
    }

    /// The gate, the authenticator, and the turn of the tenant.
    async fn admit(&self, received: Received) -> Result<(Ticket, Turn, Authenticated), Cause> {
        let mut ticket = self.gate.enter()?;
        let asked = self.authenticator.verify(received).await?;
        let patience = asked.deadline().left(self.clock.now());
        let turn = ticket.turn(&asked.principal().tenant, patience).await?;
        Ok((ticket, turn, asked))
    }

    /// Everything behind the gate, at every hop: the bracket, the judgement, the act, the answer.
    async fn govern(&self, asked: Authenticated, turn: Option<Turn>, sink: Option<DeltaSink>) -> Reply {
        let mut visit = Visit::of(&asked);
        let opening = visit::opening(&asked, &visit, &self.pod);
        let bracket = match self.audit.open(opening, self.clock.now()).await {
            Ok(bracket) => bracket,
            Err(error) => return self.refuse(&visit, error.cause()),
        };
        let mut decision = Decision::default();
        let came = match self.judge(asked, &mut visit, &mut decision).await {
            Ok(permit) => self.act(&bracket, permit, turn, sink).await,
            Err(cause) => Err(cause.into()),
        };
        let reply = answer::reply(&visit, &self.pod, &decision, came);
        self.meters.answered(reply.error.as_ref().map(|cause| cause.code));
        answer::log(&visit, &decision, &reply);
        let closing = answer::closing(&visit, &decision, &reply);
        self.audit.close(bracket, closing, self.clock.now()).await;
        reply
    }

    /// The facts and the guard.
    async fn judge(
        &self,
        asked: Authenticated,
        visit: &mut Visit,
        decision: &mut Decision,
    ) -> Result<Permitted<Request>, Cause> {
        let now = self.clock.now();
        in_time(asked.deadline(), now)?;
        let asked = self.authenticator.refresh(asked, now).await?;
        let facts = self.surveyor.survey(&asked, now).await?;
        if let greenroom_rego::Target::Agent { agent, .. } = &facts.target {
            visit.agent = Some(agent.clone());
        }
        match self.guard.permit(Question::new(asked, facts)).await {
            Ok(permit) => {
                *decision = Decision::yes(&permit);
                Ok(permit)
            }
            Err(denied) => {
                *decision = Decision::no(&denied);
                Err(denied.into())
            }
        }
    }

    /// The act itself, done once for each idempotency key.
    async fn act(
        &self,
        bracket: &Bracket,
        permit: Permitted<Request>,
        turn: Option<Turn>,
        sink: Option<DeltaSink>,
    ) -> Result<Came, Failure> {
        in_time(permit.grant().deadline(), self.clock.now())?;
        let once = matches!(permit.what(), Request::Invoke(_) | Request::CallTool(_));
        let taken = match if once { self.keys.take(permit.grant()).await? } else { None } {
            Some(Turned::Answered(reply)) => return Ok(Came::Whole(reply)),
            Some(Turned::Go(taken)) => Some(taken),
            None => None,
        };
        let id = permit.grant().request_id().clone();
        // The turn ends here: what waits now waits for an actor, not for a stage.
        drop(turn);
        let came = self.dispatch(bracket, permit, sink).await;
        if let Some(taken) = taken {
            self.keys.finish(taken, &answer::kept(&id, &came)).await;
        }
        came
    }

    /// To the actor that does it, or to the stores where it is only a look.
    async fn dispatch(
        &self,
        bracket: &Bracket,
        permit: Permitted<Request>,
        sink: Option<DeltaSink>,
    ) -> Result<Came, Failure> {
        match permit.narrow() {
            Narrowed::Invoke(permit) => self.stage.invoke_watched(bracket, permit, sink).await.map(Came::Out),
            Narrowed::StartRun(permit) => Ok(Came::whole(self.stage.start_run(bracket, permit).await)),
            Narrowed::StartTeam(permit) => Ok(Came::whole(self.stage.start_team(bracket, permit).await)),
            Narrowed::SignalRun(permit) => Ok(Came::whole(self.stage.signal_run(bracket, permit).await)),
            Narrowed::ResumeRun(permit) => Ok(Came::whole(self.stage.resume_run(bracket, permit).await)),
            Narrowed::ContextRead(permit) => self.stage.context_read(bracket, permit).await.map(Came::Out),
            Narrowed::ContextWrite(permit) => self.stage.context_write(bracket, permit).await.map(Came::Out),
            Narrowed::CallTool(permit) => self.stage.call_tool(bracket, permit).await.map(Came::Out),
            Narrowed::Look(permit) => Ok(Came::Out(self.reader.look(permit).await?)),
        }
    }

    /// The answer to a request that was refused before its bracket could be opened.
    fn refuse(&self, visit: &Visit, cause: Cause) -> Reply {
        self.meters.answered(Some(cause.code));
        tracing::info!(
            request.id = %visit.id, trace_id = %visit.trace, error.code = %cause.code, "request refused at the door"
        );
        answer::reply(visit, &self.pod, &Decision::default(), Err(cause.into()))
    }
}

#[async_trait]
impl Door for Pipeline {
    async fn enter(&self, asked: Authenticated) -> Reply {
        self.govern(asked, None, None).await
    }
}

fn in_time(deadline: Deadline, now: greenroom_protocol::Timestamp) -> Result<(), Cause> {
    if deadline.passed(now) {
        return Err(Cause::new(Code::TimedOut, "the deadline passed before the request was done"));
    }
    Ok(())
}
