//! Issues delegations for the requests that this pod sends to others.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::remote::RemoteCall;
use greenroom_protocol::{Cause, Clock, Credential, Deadline, Envelope, ErrorCode, IdGenerator, PodId, Request};
use greenroom_rego::DelegatedCall;

use super::clock_offsets::ClockOffsets;
use super::normalize;
use super::token::{Statement, VERSION};
use crate::cluster::keys::{ClusterKey, ClusterSecret, KeyError, KeyLabel};

/// How long a delegation lives: the time in which the other pod has to verify it.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Issues the delegations of one pod.
pub struct DelegationIssuer {
    pod: PodId,
    key: ClusterKey,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGenerator>,
    clocks: ClockOffsets,
}

impl DelegationIssuer {
    /// An issuer with the key of this pod.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn new(
        secret: &ClusterSecret,
        pod: PodId,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGenerator>,
    ) -> Result<Self, KeyError> {
        let key = secret.key(KeyLabel::Delegation, pod.as_str().as_bytes())?;
        Ok(Self { pod, key, clock, ids, clocks: ClockOffsets::default() })
    }

    /// True if a pod has refused a delegation because its clock differs. The next one for that pod has its time.
    pub fn learn_clock(&self, audience: &PodId, refusal: &Cause) -> bool {
        self.clocks.learn(audience, refusal, self.clock.now())
    }

    /// The envelope of an invocation for another pod, with a delegation for that pod. Each attempt has one of its own. Its
    /// times are those of that pod's clock.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the request is no JSON; [`ErrorCode::TimedOut`] after its deadline.
    pub fn envelope(&self, call: &RemoteCall, audience: &PodId) -> Result<Envelope, Cause> {
        let now = self.clock.now();
        let (deadline, key) = (call.grant.deadline(), call.key());
        if deadline.has_passed(now) {
            return Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before another pod executed the call"));
        }
        let (request, body) = normalize(&Request::Invoke(call.invoke.clone()))?;
        let (audience_time, timeout) = (self.clocks.time_of(audience, now), deadline.remaining(now));
        let delegated = call.grant.delegated_call();
        let delegated = DelegatedCall { deadline: Deadline::after(audience_time, timeout), ..delegated };
        let statement = Statement {
            version: VERSION,
            issuer: self.pod.clone(),
            audience: audience.clone(),
            id: format!("{:032x}", self.ids.next_id()),
            issued_at: audience_time,
            expires_at: audience_time.saturating_add(LIFETIME),
            fence: call.fence.map(|fence| fence.0),
            key,
            body,
            principal: delegated.principal.hash(),
            call: delegated,
        };
        let token = statement.seal(&self.key);
        let token = token.map_err(|error| Cause::new(ErrorCode::InvalidRequest, error.to_string()))?;
        Ok(Envelope {
            credential: Some(Credential::Delegation(token)),
            timeout_ms: Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
            trace: Some(call.grant.trace().clone()),
            ..Envelope::new(request)
        })
    }
}
