//! Typed messages to an agent, a run and a shared context. An [`ActorRef`] has the address, a message says what is to be
//! done, and each type of message has the type of its reply.

use futures::StreamExt;
use greenroom_protocol::request::{
    CallOptions, ContextChange, ContextRead, ContextWrite, Invoke, ResumeRun, Signal, SignalRun,
};
use greenroom_protocol::{AgentId, Cause, ContextKey, Json, Reply, Request, RunId, StepId, Values};

use crate::client::Client;
use crate::error::{Error, require_success};
use crate::run::event_request;
use crate::transport::{Progress, TransportError};

/// A message to one kind of actor.
pub trait ActorMessage: Send {
    /// What names an actor of this kind.
    type Address: Clone + Send + Sync;
    /// What the actor replies.
    type Reply: Send;

    /// The request by which the message is sent.
    ///
    /// # Errors
    /// A [`Cause`] if the message cannot be sent.
    fn into_request(self, address: &Self::Address) -> Result<Request, Cause>;

    /// Reads the reply, which is a success.
    fn read_reply(reply: Reply) -> Self::Reply;
}

/// An actor of the platform that receives messages of this type.
#[derive(Clone)]
pub struct ActorRef<M: ActorMessage> {
    client: Client,
    address: M::Address,
}

impl<M: ActorMessage> ActorRef<M> {
    /// The actor with this address. Whether it exists, its first reply says.
    #[must_use]
    pub const fn new(client: Client, address: M::Address) -> Self {
        Self { client, address }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> &M::Address {
        &self.address
    }

    /// Sends a message and waits for its reply.
    ///
    /// # Errors
    /// [`Error::Refused`] if the message was refused, or its work has failed; [`Error::Transport`] if no reply arrived.
    pub async fn call(&self, message: M) -> Result<M::Reply, Error> {
        let request = message.into_request(&self.address).map_err(Error::Refused)?;
        Ok(M::read_reply(self.client.request(request).reply().await?))
    }

    /// Sends a message and returns once a pod has accepted it; its reply is not awaited. A transport without acceptances
    /// returns with the reply.
    ///
    /// # Errors
    /// [`Error::Refused`] if the message was refused at once; [`Error::Transport`] if no pod has accepted it.
    pub async fn cast(&self, message: M) -> Result<(), Error> {
        let request = message.into_request(&self.address).map_err(Error::Refused)?;
        match self.client.request(request).stream().next().await {
            Some(Ok(Progress::Reply(reply))) => require_success(*reply).map(drop),
            Some(Ok(Progress::Accepted { .. } | Progress::Text(_) | Progress::Restarted)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
            None => Err(Error::Transport(TransportError::ConnectionLost)),
        }
    }
}

/// A message to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentMessage {
    /// Executes the agent; the reply has its outputs.
    Execute {
        /// Its inputs, by name.
        inputs: Values,
        /// Its context, by name.
        context: Values,
    },
}

impl ActorMessage for AgentMessage {
    type Address = AgentId;
    type Reply = Values;

    fn into_request(self, agent: &AgentId) -> Result<Request, Cause> {
        let Self::Execute { inputs, context } = self;
        let (agent, options) = (agent.clone(), CallOptions::default());
        Ok(Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options, approvals: None }))
    }

    fn read_reply(reply: Reply) -> Values {
        reply.outputs
    }
}

/// A message to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunMessage {
    /// Cancels the run and compensates its finished steps.
    Cancel,
    /// Approves a step that awaits approval.
    Approve(StepId),
    /// Rejects a step that awaits approval, which fails it.
    Reject(StepId),
    /// Publishes an event, for which one of the steps waits now or later.
    Event {
        /// Its name.
        name: String,
        /// Its data.
        data: Json,
    },
    /// Resumes the run, which was interrupted.
    Resume,
}

impl ActorMessage for RunMessage {
    type Address = RunId;
    type Reply = Values;

    fn into_request(self, run: &RunId) -> Result<Request, Cause> {
        let signal = |signal: Signal| Ok(Request::SignalRun(SignalRun { run: run.clone(), signal }));
        match self {
            Self::Cancel => signal(Signal::Cancel),
            Self::Approve(step) => signal(Signal::Approve { step, call: None }),
            Self::Reject(step) => signal(Signal::Reject { step, call: None, reason: None }),
            Self::Event { name, data } => event_request(run, &name, data),
            Self::Resume => Ok(Request::ResumeRun(ResumeRun { run: run.clone(), dead: false })),
        }
    }

    fn read_reply(reply: Reply) -> Values {
        reply.outputs
    }
}

/// A message to the shared context of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum ContextMessage {
    /// Reads values; the reply has them by their keys.
    Read(Vec<ContextKey>),
    /// Writes a value.
    Write {
        /// The key.
        key: ContextKey,
        /// The version that the writer expects; 0 means that the key must not exist, and `None` that any is replaced.
        expect: Option<u64>,
        /// The change.
        change: ContextChange,
    },
}

impl ActorMessage for ContextMessage {
    /// The run of the context.
    type Address = RunId;
    type Reply = Values;

    fn into_request(self, run: &RunId) -> Result<Request, Cause> {
        let run = run.clone();
        Ok(match self {
            Self::Read(keys) => Request::ContextRead(ContextRead { run, keys }),
            Self::Write { key, expect, change } => {
                Request::ContextWrite(ContextWrite { run, key, expect, change, ttl_ms: None })
            }
        })
    }

    fn read_reply(reply: Reply) -> Values {
        reply.outputs
    }
}

#[cfg(test)]
mod tests;
