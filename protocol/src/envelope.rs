//! The envelope of a request: its credential, deadline, idempotency key and trace.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Cause;
use crate::id::{IdempotencyKey, RequestId, TraceId};
use crate::peek::{Reading, check_members, document, peek_version, read};
use crate::request::Request;
use crate::time::Deadline;

/// The credential of a caller. Its `Debug` never prints the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scheme", content = "secret", rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// `Authorization: Bearer …`
    Bearer(String),
    /// A key that the configuration assigns to a user.
    ApiKey(String),
    /// A short-lived token, signed by the cluster, that names a run, its owner and the hop.
    Delegation(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(***)",
            Self::ApiKey(_) => "ApiKey(***)",
            Self::Delegation(_) => "Delegation(***)",
        })
    }
}

/// A request on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`crate::limits::PROTOCOL_VERSION`] of the sender.
    pub version: u16,
    /// A name for the request, chosen by its caller: the same caller and name are the same request. The
    /// platform's own id is derived from both ([`RequestId::for_caller`]), or generated if the name is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// The credential of the caller; absent on a local socket, where the operating system authenticates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// The time until which the caller waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// The time in milliseconds, from the arrival of the request, for which the caller waits. It needs no clock that
    /// agrees with that of the pod. The earlier one of `deadline` and this counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The caller's idempotency key: it names one effect of this user. A repetition of the request with the same key
    /// gets the first reply, unless the first one failed in a way that passes; another request with it is a conflict.
    /// `docs/idempotency.md` has the rule for each kind of request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// The trace that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// The request.
    pub request: Request,
}

document!(Envelope);

impl Envelope {
    /// Creates an envelope of this version with only a request.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self {
            version: crate::limits::PROTOCOL_VERSION,
            id: None,
            credential: None,
            deadline: None,
            timeout_ms: None,
            idempotency_key: None,
            trace: None,
            request,
        }
    }

    /// Decodes an envelope from the network. Its version is read first, and decides how the rest is read.
    ///
    /// # Errors
    /// [`crate::ErrorCode::PayloadTooLarge`], before parsing; [`crate::ErrorCode::InvalidRequest`] if the bytes are not an envelope of
    /// a version that this release reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, Cause> {
        let reading = Reading::for_version(peek_version(bytes)?)?;
        let envelope: Self = read(bytes, reading)?;
        if reading == Reading::Strict && envelope.request.has_open_shape() {
            check_members::<Self>(bytes)?;
        }
        Ok(envelope)
    }
}
