//! Sends invocations to pods with labels, and repeats them with the same key where that is right: a pod at its limit
//! refuses at once, and is never waited for; a pod whose session is lost may execute the call, and a repetition joins it.
//! As long as the lease of that pod lives, no other one is called: two of them would execute the call, and both be paid.
//!
//! What a pod has paid whose reply is lost is not in the result, which is marked as estimated. The ledger has it: that pod
//! settles its reservations, or they are settled as estimated for it once it is dead, on the account of the same run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_actors::agent::{ExecutionFailure, ExecutionResult};
use greenroom_actors::execution::AnswerEvent;
use greenroom_actors::remote::{Host, RemoteCall, RemoteHosts, has_labels, no_pod_error};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, Clock, ErrorCode, PodId};
use greenroom_registry::cluster::PodInfo;
use tokio::time::Instant;

use super::LivePods;
use super::choice::choose;
use crate::cluster::answers::{AnswerPart, pass_on_while};
use crate::cluster::delegation::issuer::DelegationIssuer;
use crate::cluster::peer::outcome::into_result;
use crate::cluster::sessions::CallError;

/// The first delay before pods that have refused are called again, and the longest one.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
/// How long a pod is absent from the store until it counts as dead: a lease.
const ABSENT_MIN: Duration = Duration::from_secs(3);

/// Sends bytes to another pod, and returns its reply.
#[async_trait]
pub trait PeerTransport: Send + Sync {
    /// The reply of the peer of a pod.
    ///
    /// # Errors
    /// [`CallError`]
    async fn call(&self, pod: &PodId, body: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError>;

    /// The parts of the answer that a pod writes for the call with this key, from now on.
    async fn subscribe(&self, pod: &PodId, key: &CallKey) -> BoxStream<'static, AnswerPart>;
}

/// The pods with labels, and the way to them.
pub struct PlacedCalls {
    pod: PodId,
    labels: Vec<String>,
    pods: LivePods,
    issuer: DelegationIssuer,
    transport: Arc<dyn PeerTransport>,
    clock: Arc<dyn Clock>,
    /// The calls of this pod that are under way, by the pod that executes them.
    calls: Mutex<HashMap<PodId, usize>>,
}

/// Constructor arguments of [`PlacedCalls`].
pub struct PlacedCallsParts {
    /// This start of the pod.
    pub pod: PodId,
    /// Its labels.
    pub labels: Vec<String>,
    /// The pods that are alive.
    pub pods: LivePods,
    /// Issues the delegations of this pod.
    pub issuer: DelegationIssuer,
    /// The way to other pods.
    pub transport: Arc<dyn PeerTransport>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// What follows an attempt.
enum Attempt {
    /// The result of the call.
    Ended(Box<ExecutionResult>),
    /// The pod does not execute the call now; another one may.
    Refused(Cause),
    /// The pod has not looked at this attempt: it was not received, or the clocks of both pods differ. The pod may execute
    /// an earlier one.
    Unreached(Cause),
    /// The pod may execute the call, and its reply is lost: a repetition joins the execution.
    Lost(Cause),
}

/// A pod that may execute the call, and whose session was lost.
struct LostPod {
    pod: PodId,
    /// Since when it is absent from the pods that are alive.
    absent_since: Option<Instant>,
}

impl LostPod {
    /// True if the pod has been absent for as long as the store waits before it declares a pod dead. A shorter absence
    /// follows a restart of the database too, until each pod has renewed its lease. If no pod has a lease, this one neither,
    /// the database is or was away, and nothing is known of the others.
    fn has_died(&mut self, live: &[PodInfo]) -> bool {
        let is_absent = !live.is_empty() && live.iter().all(|other| other.pod != self.pod);
        let now = Instant::now();
        self.absent_since = is_absent.then(|| self.absent_since.unwrap_or(now));
        self.absent_since.is_some_and(|since| now.duration_since(since) >= ABSENT_MIN)
    }
}

/// Counts a call to a pod until it is dropped.
struct CountedCall<'a>(&'a PlacedCalls, PodId);

impl Drop for CountedCall<'_> {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        if let Some(count) = calls.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                calls.remove(&self.1);
            }
        }
    }
}

impl PlacedCalls {
    /// The remote hosts of a pod.
    #[must_use]
    pub fn new(parts: PlacedCallsParts) -> Self {
        let PlacedCallsParts { pod, labels, pods, issuer, transport, clock } = parts;
        Self { pod, labels, pods, issuer, transport, clock, calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<PodId, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(&self, labels: &[String], tried: &[PodId]) -> Option<PodId> {
        let calls = self.calls();
        let count = |pod: &PodId| calls.get(pod).copied().unwrap_or_default();
        choose(&self.pods.current(), labels, (&self.pod, tried), count).cloned()
    }

    async fn attempt(&self, pod: &PodId, call: &RemoteCall) -> Attempt {
        let timeout = call.grant.deadline().remaining(self.clock.now());
        let envelope = match self.issuer.envelope(call, pod) {
            Ok(envelope) => envelope,
            Err(cause) => return ended(cause),
        };
        let body = match serde_json::to_vec(&envelope) {
            Ok(body) => body,
            Err(error) => return ended(Cause::new(ErrorCode::InvalidRequest, error.to_string())),
        };
        *self.calls().entry(pod.clone()).or_default() += 1;
        let _counted = CountedCall(self, pod.clone());
        let calling = self.transport.call(pod, &body, timeout);
        let called = match &call.sink {
            Some(sink) => {
                let parts = self.transport.subscribe(pod, &call.key()).await;
                pass_on_while(calling, parts, sink).await
            }
            None => calling.await,
        };
        match called {
            Ok(reply) => match into_result(&reply) {
                // An agent that has started counts itself.
                Err(failure) if failure.usage.agents.is_empty() => self.not_started(pod, failure),
                result => Attempt::Ended(Box::new(result.map_err(|failure| *failure))),
            },
            Err(CallError::TimedOut) => Attempt::Ended(Box::new(Err(unknown_cost(deadline_error())))),
            Err(error @ (CallError::Dial(_) | CallError::NotReady)) => Attempt::Unreached(repeated(pod, &error)),
            Err(error @ CallError::Lost) => Attempt::Lost(repeated(pod, &error)),
        }
    }

    /// What follows a failure before an agent has started.
    fn not_started(&self, pod: &PodId, failure: Box<ExecutionFailure>) -> Attempt {
        if is_refusal(failure.cause.code) {
            return Attempt::Refused(failure.cause);
        }
        if self.issuer.learn_clock(pod, &failure.cause) {
            return Attempt::Unreached(failure.cause);
        }
        Attempt::Ended(Box::new(Err(*failure)))
    }

    /// Waits until pods are called again. False, at once, if the deadline of the call would be over by then.
    async fn pause(&self, call: &RemoteCall, delay: &mut Duration) -> bool {
        if call.grant.deadline().remaining(self.clock.now()) <= *delay {
            return false;
        }
        tokio::time::sleep(*delay).await;
        *delay = (*delay * 2).min(RETRY_DELAY_MAX);
        true
    }

    /// The result of the call. Sets `has_orphan` if an earlier attempt may have been executed, and its reply is lost.
    async fn repeat(&self, labels: &[String], call: &RemoteCall, has_orphan: &mut bool) -> ExecutionResult {
        let (mut tried, mut delay) = (Vec::new(), RETRY_DELAY_MIN);
        let (mut refusal, mut lost): (Option<Cause>, Option<LostPod>) = (None, None);
        loop {
            // Once its lease is over, a pod that may have executed the call has died, and the effect may be done again.
            *has_orphan |= lost.take_if(|lost| lost.has_died(&self.pods.current())).is_some();
            let Some(pod) = lost.as_ref().map(|lost| lost.pod.clone()).or_else(|| self.choose(labels, &tried)) else {
                if tried.is_empty() {
                    return Err(refusal.unwrap_or_else(|| no_pod_error(labels)).into());
                }
                // All of them have refused.
                if !self.pause(call, &mut delay).await {
                    return Err(refusal.unwrap_or_else(deadline_error).into());
                }
                tried.clear();
                continue;
            };
            let cause = match Box::pin(self.attempt(&pod, call)).await {
                Attempt::Ended(result) => return *result,
                Attempt::Lost(cause) => {
                    if let Some(sink) = &call.sink {
                        // What follows may be of another execution.
                        let _ = sink.send(AnswerEvent::Restarted).await;
                    }
                    if lost.is_none() {
                        lost = Some(LostPod { pod, absent_since: None });
                        refusal = Some(cause);
                        continue;
                    }
                    cause
                }
                Attempt::Unreached(cause) if lost.is_some() => cause,
                Attempt::Refused(cause) | Attempt::Unreached(cause) => {
                    // A pod that replies that it does not execute the call has not joined an earlier attempt.
                    *has_orphan |= lost.take().is_some();
                    refusal = Some(cause);
                    tried.push(pod);
                    continue;
                }
            };
            if !self.pause(call, &mut delay).await {
                return Err(unknown_cost(lost_error(&pod, &cause)));
            }
            refusal = Some(cause);
        }
    }
}

/// True if the other pod has executed nothing, and the next one, or the same one a moment later, may.
const fn is_refusal(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Overloaded | ErrorCode::ShuttingDown | ErrorCode::NoPodForLabels)
}

fn ended(cause: Cause) -> Attempt {
    Attempt::Ended(Box::new(Err(cause.into())))
}

/// The cause of a call that is repeated.
fn repeated(pod: &PodId, error: &CallError) -> Cause {
    tracing::warn!(peer.pod = %pod, error.message = %error, "a call of another pod is repeated");
    Cause::new(ErrorCode::Interrupted, format!("the pod {pod} cannot be called: {error}"))
}

/// The failure of a call that a pod may have paid, and whose usage it has not reported.
fn unknown_cost(cause: Cause) -> ExecutionFailure {
    ExecutionFailure { cause, usage: Usage { estimated: true, ..Usage::default() } }
}

fn deadline_error() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before another pod had executed the call")
}

/// The cause of a call whose deadline is over while the pod that may have executed it is alive and away.
fn lost_error(pod: &PodId, last: &Cause) -> Cause {
    let message = format!("the deadline passed, and the pod {pod} may have executed the call: {}", last.message);
    Cause::new(ErrorCode::TimedOut, message)
}

#[async_trait]
impl RemoteHosts for PlacedCalls {
    fn host(&self, labels: &[String]) -> Host {
        if has_labels(&self.labels, labels) {
            return Host::Here;
        }
        self.choose(labels, &[]).map_or(Host::None, Host::Pod)
    }

    async fn invoke(&self, labels: &[String], call: RemoteCall) -> ExecutionResult {
        let mut has_orphan = false;
        let mut result = self.repeat(labels, &call, &mut has_orphan).await;
        let usage = match &mut result {
            Ok(outcome) => &mut outcome.usage,
            Err(failure) => &mut failure.usage,
        };
        usage.estimated |= has_orphan;
        result
    }
}

#[cfg(test)]
mod tests;
