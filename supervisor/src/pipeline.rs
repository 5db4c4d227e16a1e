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
use greenroom_actors::agent::Failure;
use greenroom_actors::dispatcher::{Held, Stage};
use greenroom_actors::execution::DeltaSink;
use greenroom_actors::pipeline::{Behind, Door};
use greenroom_protocol::{Cause, Clock, Code, Deadline, PodId, Received, Reply, Request};
use greenroom_registry::audit::{AuditLog, Bracket, Opened};
use greenroom_registry::group_commit::Haste;
use greenroom_rego::{Authenticated, Authenticator, Guard, Narrowed, Permitted, Question};

use self::admission::{Gate, Ticket, Turn};
use self::facts::Surveyor;
use self::idempotency::{Keys, Turned};
use self::memory::Memories;
use self::query::Reader;
use self::reply::{Came, Decision};
use self::request_info::Visit;
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
    pub(crate) memories: Memories,
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
        let reply = match self.admit(received).await {
            Ok((_ticket, turn, asked)) => self.govern(asked, Some(turn), sink, Behind::nothing()).await,
            Err(reply) => *reply,
        };
        self.meters.replied(reply.status);
        reply
    }

    /// The gate, the authenticator, and the turn of the tenant.
    async fn admit(&self, received: Received) -> Result<(Ticket, Turn, Box<Authenticated>), Box<Reply>> {
        let visit = Visit::arrived(&received);
        let refused = |cause| Box::new(self.refuse(&visit, cause));
        let mut ticket = self.gate.enter().map_err(refused)?;
        let asked = self.authenticator.verify(received).await.map_err(refused)?;
        let patience = asked.deadline().left(self.clock.now());
        let turn = ticket.turn(&asked.principal().tenant, patience).await.map_err(refused)?;
        Ok((ticket, turn, Box::new(asked)))
    }

    /// Everything behind the gate, at every hop: the bracket, the judgement, the act, the answer. The
    /// guard judges while the disk writes the opening; the act waits for both.
    ///
    /// A request waits here for its model, thousands at a time, and this future is what it holds
    /// meanwhile. So what the stages hand on is boxed, and so is each stage that is over by then.
    async fn govern(
        &self,
        asked: Box<Authenticated>,
        turn: Option<Turn>,
        sink: Option<DeltaSink>,
        other: Behind,
    ) -> Reply {
        let mut visit = Visit::of(&asked);
        let handing_in = {
            let opening = request_info::opening(&asked, &visit, &self.pod);
            // The record of a run is written behind the opening of its start, in one commit.
            let is_start = matches!(asked.request(), Request::StartRun(_));
            let haste = if is_start { Haste::Company } else { Haste::Now };
            self.audit.hand_in(opening, haste, self.clock.now())
        };
        let mut opened = match handing_in.await {
            Ok(opened) => opened,
            Err(error) => return self.refuse(&visit, error.cause()),
        };
        let mut decision = Decision::default();
        let came = match Box::pin(self.judge(asked, &mut visit, &mut decision)).await {
            Ok(permit) => self.act(&mut opened, other, permit, turn, sink).await,
            Err(cause) => Err((*cause).into()),
        };
        let bracket = match opened.bracket().await {
            Ok(bracket) => bracket,
            Err(error) => return self.refuse(&visit, error.cause()),
        };
        let reply = reply::reply(&visit, &self.pod, &decision, came);
        self.meters.answered(reply.error.as_ref().map(|cause| cause.code));
        reply::log(&visit, &decision, &reply);
        let closing = reply::closing(&visit, &decision, &reply);
        self.audit.close(bracket, closing, self.clock.now()).await;
        reply
    }

    /// The facts and the guard.
    async fn judge(
        &self,
        asked: Box<Authenticated>,
        visit: &mut Visit,
        decision: &mut Decision,
    ) -> Result<Box<Permitted<Request>>, Box<Cause>> {
        let now = self.clock.now();
        in_time(asked.deadline(), now)?;
        let asked = self.authenticator.refresh(*asked, now).await?;
        let facts = self.surveyor.survey(&asked, now).await?;
        if let greenroom_rego::Target::Agent { agent, .. } = &facts.target {
            visit.agent = Some(agent.clone());
        }
        match self.guard.permit(Question::new(asked, facts)).await {
            Ok(permit) => {
                *decision = Decision::yes(&permit);
                Ok(Box::new(permit))
            }
            Err(denied) => {
                *decision = Decision::no(&denied);
                Err(Box::new(denied.into()))
            }
        }
    }

    /// The act itself, done once for each idempotency key.
    async fn act(
        &self,
        opened: &mut Opened,
        other: Behind,
        permit: Box<Permitted<Request>>,
        turn: Option<Turn>,
        sink: Option<DeltaSink>,
    ) -> Result<Came, Failure> {
        other.reached().await?;
        let once = matches!(permit.what(), Request::Invoke(_) | Request::CallTool(_));
        if once {
            proof(opened).await?;
        }
        in_time(permit.grant().deadline(), self.clock.now())?;
        if once && permit.grant().idempotency().is_some() {
            return Box::pin(self.act_once(opened, permit, turn, sink)).await;
        }
        let held = self.held(&permit)?;
        // The turn ends here: what waits now waits for an actor, not for a stage.
        drop(turn);
        self.dispatch(opened, *permit, sink, held).await
    }

    /// What a run that nobody waits for takes along: a place of its own, or who starts many of them
    /// would hold none.
    fn held(&self, permit: &Permitted<Request>) -> Result<Option<Held>, Cause> {
        match permit.what() {
            Request::StartRun(start) if start.detach => {
                Ok(Some(Box::new(self.gate.stay(&permit.grant().principal().tenant)?)))
            }
            _ => Ok(None),
        }
    }

    /// As [`Pipeline::act`], for what the caller gave an idempotency key to.
    async fn act_once(
        &self,
        opened: &mut Opened,
        permit: Box<Permitted<Request>>,
        turn: Option<Turn>,
        sink: Option<DeltaSink>,
    ) -> Result<Came, Failure> {
        let taken = match self.keys.take(permit.grant()).await? {
            Some(Turned::Answered(reply)) => return Ok(Came::Whole(reply)),
            Some(Turned::Go(taken)) => Some(taken),
            None => None,
        };
        let id = permit.grant().request_id().clone();
        drop(turn);
        let came = self.dispatch(opened, *permit, sink, None).await;
        if let Some(taken) = taken {
            self.keys.finish(taken, &reply::kept(&id, &came)).await;
        }
        came
    }

    /// To the actor that does it, or to the stores where it is only a look. Nobody acts before the opening
    /// is durable; a run is made behind it, and waits itself. What waits is boxed by itself: a request
    /// holds the future of its own verb, and not room for the largest of all.
    fn dispatch<'a>(
        &'a self,
        opened: &'a mut Opened,
        permit: Permitted<Request>,
        sink: Option<DeltaSink>,
        held: Option<Held>,
    ) -> BoxFuture<'a, Result<Came, Failure>> {
        let stage = &self.stage;
        match permit.narrow() {
            Narrowed::Invoke(permit) => {
                Box::pin(async move { stage.invoke_watched(proof(opened).await?, permit, sink).await.map(Came::Out) })
            }
            Narrowed::StartRun(permit) => Box::pin(stage.start_run(opened, permit, held).map(Came::whole).map(Ok)),
            Narrowed::StartTeam(permit) => {
                Box::pin(async move { Ok(Came::whole(stage.start_team(proof(opened).await?, permit).await)) })
            }
            Narrowed::SignalRun(permit) => {
                Box::pin(async move { Ok(Came::whole(stage.signal_run(proof(opened).await?, permit).await)) })
            }
            Narrowed::ResumeRun(permit) => {
                Box::pin(async move { Ok(Came::whole(stage.resume_run(proof(opened).await?, permit).await)) })
            }
            Narrowed::ContextRead(permit) => {
                Box::pin(async move { stage.context_read(proof(opened).await?, permit).await.map(Came::Out) })
            }
            Narrowed::ContextWrite(permit) => {
                Box::pin(async move { stage.context_write(proof(opened).await?, permit).await.map(Came::Out) })
            }
            Narrowed::MemoryRead(permit) => Box::pin(async move {
                proof(opened).await?;
                Ok(Came::Out(self.memories.read(permit).await?))
            }),
            Narrowed::MemoryWrite(permit) => Box::pin(async move {
                proof(opened).await?;
                Ok(Came::Out(self.memories.write(permit).await?))
            }),
            Narrowed::CallTool(permit) => {
                Box::pin(async move { stage.call_tool(proof(opened).await?, permit).await.map(Came::Out) })
            }
            Narrowed::Look(permit) => Box::pin(async move {
                proof(opened).await?;
                Ok(Came::Out(self.reader.look(permit).await?))
            }),
        }
    }

    /// The answer to a request that was refused before its bracket could be opened.
    fn refuse(&self, visit: &Visit, cause: Cause) -> Reply {
        self.meters.answered(Some(cause.code));
        tracing::info!(
            request.id = %visit.id, trace_id = %visit.trace, error.code = %cause.code, "request refused at the door"
        );
        reply::reply(visit, &self.pod, &Decision::default(), Err(cause.into()))
    }
}

#[async_trait]
impl Door for Pipeline {
    async fn enter_behind(&self, asked: Authenticated, other: Behind) -> Reply {
        self.govern(Box::new(asked), None, None, other).await
    }
}

/// Waits until the opening is durable.
async fn proof(opened: &mut Opened) -> Result<&Bracket, Cause> {
    opened.durable().await.map_err(|error| error.cause())
}

fn in_time(deadline: Deadline, now: greenroom_protocol::Timestamp) -> Result<(), Cause> {
    if deadline.passed(now) {
        return Err(Cause::new(Code::TimedOut, "the deadline passed before the request was done"));
    }
    Ok(())
}
