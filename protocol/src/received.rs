//! The constructors of [`Received`]: `decode` for bytes from the network, `from_message` for a body with headers, and
//! `local` for a user whom the operating system has authenticated. A local identity cannot be expressed in a message.

use std::time::Duration;

use crate::envelope::{Credential, Envelope};
use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::header::{self, RequestHeaders, delegation_outside};
use crate::id::{IdempotencyKey, RequestId, TraceId, UserId};
use crate::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use crate::peek::Reading;
use crate::request::Request;
use crate::time::{Deadline, IdGenerator, Timestamp};

/// The ingress through which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IngressKind {
    /// This process or its control socket.
    Local,
    /// A NATS subject.
    Nats,
    /// The HTTP bridge.
    Http,
    /// Another pod.
    Peer,
}

/// The identity that a request claims; the authenticator verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedIdentity {
    /// A user of this machine, authenticated by the operating system.
    LocalUser(UserId),
    /// A credential from the envelope.
    Credential(Credential),
    /// No identity.
    Anonymous,
}

/// A request that has arrived and is not authenticated yet. It is a single pointer because it moves
/// from stage to stage: a future of each stage would otherwise reserve its full size until the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Received(Box<Parts>);

/// The parts of a [`Received`], for the authenticator.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The request's id, or the name that its caller gave it.
    pub id: RequestId,
    /// True if the caller gave the id: the platform then derives its own, see [`RequestId::for_caller`].
    pub is_named: bool,
    /// The ingress through which it arrived.
    pub ingress: IngressKind,
    /// The claimed identity.
    pub identity: ClaimedIdentity,
    /// The request itself.
    pub request: Request,
    /// The time until which the caller waits.
    pub deadline: Deadline,
    /// The caller's idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The hash of the request's canonical JSON, if the request has an idempotency key.
    pub body_hash: Option<ContentHash>,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The time of arrival.
    pub at: Timestamp,
}

impl Received {
    /// Decodes an envelope from the network.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`], before parsing; [`ErrorCode::InvalidRequest`] if the bytes are not
    /// an envelope of a version that this release reads; [`ErrorCode::TimedOut`] if the deadline has already passed.
    pub fn decode(bytes: &[u8], ingress: IngressKind, ids: &dyn IdGenerator, now: Timestamp) -> Result<Self, Cause> {
        let envelope = Envelope::decode(bytes)?;
        let identity = envelope.credential.clone().map_or(ClaimedIdentity::Anonymous, ClaimedIdentity::Credential);
        Self::from_envelope(envelope, identity, ingress, ids, now)
    }

    /// Joins an envelope from a subject (see [`crate::subject::IngressSubject::into_request`]) with the headers of its
    /// message.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the envelope and a header have the same thing; [`ErrorCode::Unauthenticated`] for
    /// a delegation, which is accepted from a peer only; otherwise as [`Received::decode`].
    pub fn from_message(
        envelope: Envelope,
        headers: RequestHeaders,
        ingress: IngressKind,
        ids: &dyn IdGenerator,
        now: Timestamp,
    ) -> Result<Self, Cause> {
        let envelope = join(envelope, headers)?;
        if matches!(envelope.credential, Some(Credential::Delegation(_))) {
            return Err(delegation_outside());
        }
        let identity = envelope.credential.clone().map_or(ClaimedIdentity::Anonymous, ClaimedIdentity::Credential);
        Self::from_envelope(envelope, identity, ingress, ids, now)
    }

    /// Wraps a request of a user whom the operating system has authenticated. The credential of the
    /// envelope is ignored.
    ///
    /// # Errors
    /// As [`Received::decode`], except for the size.
    pub fn local(user: UserId, envelope: Envelope, ids: &dyn IdGenerator, now: Timestamp) -> Result<Self, Cause> {
        Self::from_envelope(envelope, ClaimedIdentity::LocalUser(user), IngressKind::Local, ids, now)
    }

    fn from_envelope(
        envelope: Envelope,
        identity: ClaimedIdentity,
        ingress: IngressKind,
        ids: &dyn IdGenerator,
        now: Timestamp,
    ) -> Result<Self, Cause> {
        Reading::for_version(envelope.version)?;
        // A delegation is signed by a pod, whose runs pin versions and derive keys.
        if !matches!(identity, ClaimedIdentity::Credential(Credential::Delegation(_))) {
            envelope.request.check_outside()?;
        }
        if envelope.idempotency_key.is_some() {
            envelope.request.check_repeatable()?;
        }
        if matches!(envelope.request, Request::Maintain(_)) && ingress != IngressKind::Local {
            let message = "maintenance is requested on the machine of the pod, with its own command line";
            return Err(Cause::new(ErrorCode::InvalidRequest, message));
        }
        let latest = Deadline::after(now, REQUEST_TIMEOUT_MAX);
        let timeout = envelope.timeout_ms.map(|millis| Deadline::after(now, Duration::from_millis(millis)));
        let requested = envelope.deadline.into_iter().chain(timeout).min();
        let deadline = requested.unwrap_or_else(|| Deadline::after(now, REQUEST_TIMEOUT)).earlier(latest);
        if deadline.has_passed(now) {
            return Err(Cause::new(ErrorCode::TimedOut, "the deadline had passed when the request arrived"));
        }
        let body_hash = envelope
            .idempotency_key
            .as_ref()
            .map(|_| serde_json::to_vec(&envelope.request).map(|body| ContentHash::from_content(&body)))
            .transpose()
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, error.to_string()))?;
        Ok(Self(Box::new(Parts {
            is_named: envelope.id.is_some(),
            id: envelope.id.unwrap_or_else(|| RequestId::from_u128(ids.next_id())),
            ingress,
            identity,
            request: envelope.request,
            deadline,
            idempotency_key: envelope.idempotency_key,
            body_hash,
            trace: envelope.trace.unwrap_or_else(|| TraceId::from_u128(ids.next_id())),
            at: now,
        })))
    }

    /// The request's id, or the name that its caller gave it.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// The ingress through which it arrived.
    #[must_use]
    pub fn ingress(&self) -> IngressKind {
        self.0.ingress
    }

    /// The time until which the caller waits.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.deadline
    }

    /// The request itself.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace(&self) -> &TraceId {
        &self.0.trace
    }

    /// The time of arrival.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.0.at
    }

    /// Returns the parts, for the authenticator.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        *self.0
    }
}

/// Adds what the headers have to an envelope that has not the same.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if both have the same thing.
pub fn join(envelope: Envelope, headers: RequestHeaders) -> Result<Envelope, Cause> {
    let timeout_ms = headers.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let trace = headers.trace.map(|traceparent| traceparent.trace().clone());
    Ok(Envelope {
        version: envelope.version,
        id: one_of(header::REQUEST_ID, "id", headers.request_id, envelope.id)?,
        credential: one_of(header::AUTHORIZATION, "credential", headers.credential, envelope.credential)?,
        deadline: one_of(header::DEADLINE, "deadline", headers.deadline, envelope.deadline)?,
        timeout_ms: one_of(header::TIMEOUT, "timeout_ms", timeout_ms, envelope.timeout_ms)?,
        idempotency_key: one_of(
            header::IDEMPOTENCY_KEY,
            "idempotency_key",
            headers.idempotency_key,
            envelope.idempotency_key,
        )?,
        trace: one_of(header::TRACEPARENT, "trace", trace, envelope.trace)?,
        request: envelope.request,
    })
}

fn one_of<T>(name: &str, member: &str, in_header: Option<T>, in_envelope: Option<T>) -> Result<Option<T>, Cause> {
    if in_header.is_some() && in_envelope.is_some() {
        let message =
            format!("the message has the header `{name}` and the member `{member}` of its envelope: send one");
        return Err(Cause::new(ErrorCode::InvalidRequest, message));
    }
    Ok(in_header.or(in_envelope))
}

#[cfg(test)]
mod tests;
