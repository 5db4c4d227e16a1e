//! The two ways in. Bytes from outside become a [`Received`] with a credential; a local user becomes
//! one without, and cannot be written on the wire.

use crate::envelope::{Credential, Envelope};
use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::id::{IdempotencyKey, RequestId, TraceId, UserId};
use crate::limits::{ENVELOPE_BYTES_MAX, PROTOCOL_VERSION, REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use crate::request::Request;
use crate::time::{Deadline, IdGenerator, Timestamp};

/// By which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IngressKind {
    /// From this process or its own control socket.
    Local,
    /// From a NATS subject.
    Nats,
    /// From the HTTP bridge.
    Http,
    /// From another pod.
    Peer,
}

/// Who says that they ask; the authenticator decides whether it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedIdentity {
    /// A user of this machine, proven by the operating system.
    LocalUser(UserId),
    /// A credential from the wire.
    Credential(Credential),
    /// Nothing.
    Anonymous,
}

/// A request that has arrived and that nobody has judged yet. It is one pointer: it is handed from
/// stage to stage, and each stage that held it whole would keep room for it until the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Received(Box<Parts>);

/// The parts of a [`Received`], for the authenticator.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The request's id.
    pub id: RequestId,
    /// By which door it came.
    pub ingress: IngressKind,
    /// Who says that they ask.
    pub identity: ClaimedIdentity,
    /// What is asked.
    pub request: Request,
    /// After which nobody waits.
    pub deadline: Deadline,
    /// The caller's idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The hash of the request's canonical JSON, where there is an idempotency key.
    pub body_hash: Option<ContentHash>,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// When it arrived.
    pub at: Timestamp,
}

impl Received {
    /// Reads an envelope that came from outside.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] before anything is parsed; [`ErrorCode::InvalidRequest`] if the bytes are
    /// not an envelope of this version; [`ErrorCode::TimedOut`] if its deadline has passed already.
    pub fn decode(bytes: &[u8], source: IngressKind, ids: &dyn IdGenerator, now: Timestamp) -> Result<Self, Cause> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            let message = format!("the request has {} bytes, at most {ENVELOPE_BYTES_MAX} are taken", bytes.len());
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        let envelope: Envelope = serde_json::from_slice(bytes)
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("the request cannot be read: {error}")))?;
        let claim = envelope.credential.clone().map_or(ClaimedIdentity::Anonymous, ClaimedIdentity::Credential);
        Self::from_envelope(envelope, claim, source, ids, now)
    }

    /// Takes a request of a user whom the operating system vouches for. What the envelope says of a
    /// credential is not read.
    ///
    /// # Errors
    /// As [`Received::decode`], but for the size.
    pub fn local(user: UserId, envelope: Envelope, ids: &dyn IdGenerator, now: Timestamp) -> Result<Self, Cause> {
        Self::from_envelope(envelope, ClaimedIdentity::LocalUser(user), IngressKind::Local, ids, now)
    }

    fn from_envelope(
        envelope: Envelope,
        claim: ClaimedIdentity,
        source: IngressKind,
        ids: &dyn IdGenerator,
        now: Timestamp,
    ) -> Result<Self, Cause> {
        if envelope.version != PROTOCOL_VERSION {
            let message =
                format!("the request speaks version {}, this process speaks {PROTOCOL_VERSION}", envelope.version);
            return Err(Cause::new(ErrorCode::InvalidRequest, message));
        }
        let latest = Deadline::after(now, REQUEST_TIMEOUT_MAX);
        let deadline = envelope.deadline.unwrap_or_else(|| Deadline::after(now, REQUEST_TIMEOUT)).earlier(latest);
        if deadline.has_passed(now) {
            return Err(Cause::new(ErrorCode::TimedOut, "the deadline had passed when the request arrived"));
        }
        let body_hash = envelope
            .idempotency_key
            .as_ref()
            .map(|_| serde_json::to_vec(&envelope.request).map(|body| ContentHash::of(&body)))
            .transpose()
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, error.to_string()))?;
        Ok(Self(Box::new(Parts {
            id: envelope.id.unwrap_or_else(|| RequestId::from_u128(ids.next_id())),
            ingress: source,
            identity: claim,
            request: envelope.request,
            deadline,
            idempotency_key: envelope.idempotency_key,
            body_hash,
            trace: envelope.trace.unwrap_or_else(|| TraceId::from_u128(ids.next_id())),
            at: now,
        })))
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// After which nobody waits.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.deadline
    }

    /// What is asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace(&self) -> &TraceId {
        &self.0.trace
    }

    /// When it arrived.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.0.at
    }

    /// Hands everything to the authenticator.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        *self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;

    struct Counting;
    impl IdGenerator for Counting {
        fn next_id(&self) -> u128 {
            7
        }
    }

    fn envelope() -> Envelope {
        Envelope::of(Request::Query(Query::Agents))
    }

    #[test]
    fn a_local_user_cannot_be_written_on_the_wire() {
        let mut value = serde_json::to_value(envelope()).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.insert("credential".into(), serde_json::json!({"scheme": "local_user", "secret": "admin"}));
        }
        let refused =
            Received::decode(value.to_string().as_bytes(), IngressKind::Http, &Counting, Timestamp::default());
        assert_eq!(refused.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn another_version_and_a_passed_deadline_are_refused() {
        let user = || UserId::new("admin").unwrap_or_else(|_| unreachable!());
        let other = Envelope { version: 9, ..envelope() };
        let refused = Received::local(user(), other, &Counting, Timestamp::default());
        assert_eq!(refused.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest));
        let late = Envelope { deadline: Some(Deadline(Timestamp::from_micros(1))), ..envelope() };
        let refused = Received::local(user(), late, &Counting, Timestamp::from_micros(2));
        assert_eq!(refused.map_err(|cause| cause.code), Err(ErrorCode::TimedOut));
    }
}
