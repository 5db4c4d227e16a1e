//! Identifiers: one newtype for each kind, so that a team's id cannot be passed as a run's.
//!
//! An id is a short text of `[A-Za-z0-9_.-]` (see [`IdError`]); it is safe in a NATS subject token,
//! a file name, a log field and an SQL parameter.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::hash::ContentHash;
use crate::limits::{ID_BYTES_MAX, KEY_BYTES_MAX};
use crate::value::Json;

mod call_key;
mod principal;

pub use principal::PrincipalId;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("an id may not be empty")]
    Empty,
    /// The text is longer than an id of this kind may be.
    #[error("an id may have at most {max} bytes, this one has {found}")]
    TooLong {
        /// The length of the text in bytes.
        found: usize,
        /// The maximum length in bytes.
        max: usize,
    },
    /// The text consists of dots, which a file system reads as a folder.
    #[error("an id may not be {found:?}")]
    Dots {
        /// The text.
        found: String,
    },
    /// The text has a character that an id may not have.
    #[error("an id may have letters, digits, `_`, `-` and `.`, not {found:?}")]
    Character {
        /// The first character that is not allowed.
        found: char,
    },
    /// The text has a character that a key may not have.
    #[error("a key may have printable ASCII characters and no spaces, not {found:?}")]
    KeyCharacter {
        /// The first character that is not allowed.
        found: char,
    },
}

fn check(text: &str, max: usize, check_character: fn(char) -> Result<(), IdError>) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong { found: text.len(), max });
    }
    if matches!(text, "." | "..") {
        return Err(IdError::Dots { found: text.to_owned() });
    }
    text.chars().try_for_each(check_character)
}

fn plain(found: char) -> Result<(), IdError> {
    if found.is_ascii_alphanumeric() || matches!(found, '_' | '-' | '.') {
        return Ok(());
    }
    Err(IdError::Character { found })
}

/// A key may contain a path: `run/step[3]/2`.
fn printable(found: char) -> Result<(), IdError> {
    if found.is_ascii_graphic() { Ok(()) } else { Err(IdError::KeyCharacter { found }) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
        #[serde(try_from = "String")]
        #[schemars(with = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates the text and wraps it.
            ///
            /// # Errors
            /// [`IdError`] if the text is empty, too long or contains a character that is not allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                check(text.as_ref(), $max, $fits)?;
                Ok(Self(Arc::from(text.as_ref())))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// An agent's definition: `executive_summary_agent_001`.
    AgentId, ID_BYTES_MAX, plain
);
text_id!(
    /// One of the business categories: `business_ops`.
    CategoryId, ID_BYTES_MAX, plain
);
text_id!(
    /// A workflow's definition: `generate_quarterly_report`.
    WorkflowId, ID_BYTES_MAX, plain
);
text_id!(
    /// A step inside a workflow: `gather_data`.
    StepId, ID_BYTES_MAX, plain
);
text_id!(
    /// A team's definition, or a running team: `reporting_team`.
    TeamId, ID_BYTES_MAX, plain
);
text_id!(
    /// A customer of the platform; users, budgets and fair scheduling are per tenant.
    TenantId, ID_BYTES_MAX, plain
);
impl Default for TenantId {
    /// The tenant of the pod itself: `default`. A user without a tenant belongs to it.
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

impl TenantId {
    /// True for the tenant of the pod itself, whose users maintain what all tenants share: the audit chain,
    /// the store, and the events of the platform.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        *self == Self::default()
    }
}

text_id!(
    /// A user.
    UserId, ID_BYTES_MAX, plain
);
text_id!(
    /// Who vouches for a user: `local` for the configuration of the pod.
    Issuer, ID_BYTES_MAX, plain
);
impl Default for Issuer {
    /// The issuer of the users of the configuration: `local`.
    fn default() -> Self {
        Self(Arc::from("local"))
    }
}

text_id!(
    /// One process of the cluster.
    PodId, ID_BYTES_MAX, plain
);
text_id!(
    /// One request; ingress generates its id: `req_<32 hex>`.
    RequestId, ID_BYTES_MAX, plain
);
text_id!(
    /// One run of a workflow: `run_<32 hex>`.
    RunId, ID_BYTES_MAX, plain
);
text_id!(
    /// A W3C trace id, 32 hex digits.
    TraceId, ID_BYTES_MAX, plain
);
text_id!(
    /// A key in a team's shared context.
    ContextKey, ID_BYTES_MAX, plain
);
text_id!(
    /// An event that is published to a run: `invoice_paid`.
    EventName, ID_BYTES_MAX, plain
);
text_id!(
    /// One publication of an event, or one write to a context: the id of its request, or of its idempotency key.
    EventId, ID_BYTES_MAX, plain
);
text_id!(
    /// A call of a tool that waits for an approval: eight hex digits, of the call's key, tool and arguments.
    ToolCallId, ID_BYTES_MAX, plain
);
text_id!(
    /// The caller's `Idempotency-Key`.
    IdempotencyKey, KEY_BYTES_MAX, printable
);
text_id!(
    /// One effect of a run (`run_…/step[3]`), the same for each attempt: the idempotency key that
    /// agents, tools and providers receive.
    CallKey, KEY_BYTES_MAX, printable
);

impl PodId {
    /// The id of one start of the pod with this name, from a generated number. A process that starts again is another
    /// pod, so that what the one before has left open is not taken for its own.
    #[must_use]
    pub fn for_start(name: &Self, number: u128) -> Self {
        let name = name.as_str();
        // An id is ASCII. A name that leaves no room for the number is cut.
        let name = name.get(..ID_BYTES_MAX - DIGEST_CHARS - 1).unwrap_or(name);
        Self(Arc::from(format!("{name}-{number:032x}")))
    }
}

impl ToolCallId {
    /// The id of a call of a tool, from its key, the tool and the arguments: no other call has it, so an approval of
    /// it approves nothing else.
    #[must_use]
    pub fn for_call(key: &CallKey, tool: &str, arguments: &Json) -> Self {
        // Neither a key nor the name of a tool contains a line break.
        let digest = short_digest(&format!("{key}\n{tool}\n{arguments}"));
        Self(Arc::from(digest.get(..TOOL_CALL_CHARS).unwrap_or(&digest)))
    }
}

/// The beginning of the ids of teams that requests contain.
const INLINE_PREFIX: &str = "inline_";

impl TeamId {
    /// The id of a team that a request contains, from the hash of its definition.
    #[must_use]
    pub fn for_content(hash: &ContentHash) -> Self {
        Self(Arc::from(format!("{INLINE_PREFIX}{hash}")))
    }

    /// The hash of the definition of a team that a request contains; none for a team of the catalogue.
    #[must_use]
    pub fn content_hash(&self) -> Option<ContentHash> {
        self.0.strip_prefix(INLINE_PREFIX)?.parse().ok()
    }
}

impl EventId {
    /// The id of an event that a request publishes, or of what it writes.
    #[must_use]
    pub fn for_request(request: &RequestId) -> Self {
        Self(Arc::clone(&request.0))
    }

    /// The id of an event that a caller publishes with an idempotency key: each repetition has the same one.
    #[must_use]
    pub fn for_key(caller: &PrincipalId, key: &IdempotencyKey) -> Self {
        // No id contains a slash, so different callers and keys give different texts.
        Self(Arc::from(format!("key_{}", short_digest(&format!("{caller}/{key}")))))
    }
}

impl RequestId {
    /// Formats a generated number as the id of a request.
    #[must_use]
    pub fn from_u128(number: u128) -> Self {
        Self(Arc::from(format!("req_{number:032x}")))
    }

    /// Derives the id of a request that its caller has named: the same caller and name give the same id,
    /// and no other caller can give it. A name is therefore never the id of a request of somebody else.
    ///
    /// The id begins with the time of the name, if that was generated (see [`CallKey::request_id`]).
    #[must_use]
    pub fn for_caller(caller: &PrincipalId, name: &Self) -> Self {
        // No id contains a slash, so different callers and names give different texts.
        Self::from_digest(&format!("{caller}/{name}"), generated_timestamp(name.as_str()))
    }

    /// An id of the generated form: this timestamp, and the digest of a text.
    fn from_digest(text: &str, timestamp: Option<&str>) -> Self {
        let timestamp = timestamp.unwrap_or_default();
        let digest = short_digest(text);
        let rest = digest.get(..DIGEST_CHARS - timestamp.len()).unwrap_or(&digest);
        Self(Arc::from(format!("req_{timestamp}{rest}")))
    }
}

impl RunId {
    /// Derives the id of the run that a request starts, so that a repeated request names the same run and
    /// different requests name different runs. An id without the prefix `req_` is replaced by its digest:
    /// with the prefix of a run before it, it could be too long, or equal the id of another run.
    #[must_use]
    pub fn for_request(request: &RequestId) -> Self {
        let text = request.as_str();
        Self(Arc::from(match text.strip_prefix("req_").filter(|name| !name.is_empty()) {
            Some(name) => format!("run_{name}"),
            None => format!("run_{}", short_digest(text)),
        }))
    }
}

impl TraceId {
    /// Formats a generated number as a trace id.
    #[must_use]
    pub fn from_u128(number: u128) -> Self {
        Self(Arc::from(format!("{number:032x}")))
    }
}

/// Characters of the id of a call of a tool.
const TOOL_CALL_CHARS: usize = 8;
/// Characters of a digest within an id, as many as a generated number has.
const DIGEST_CHARS: usize = 32;
/// Characters of the timestamp at the start of a generated number: the first 48 bits of a UUID of version
/// 7, as hex digits (RFC 9562, 5.7).
const TIMESTAMP_CHARS: usize = 12;

/// The first half of the SHA-256 of a text, as hex digits.
fn short_digest(text: &str) -> String {
    let mut digest = ContentHash::from_content(text.as_bytes()).to_string();
    digest.truncate(DIGEST_CHARS);
    digest
}

/// Returns the timestamp of a generated id.
fn generated_timestamp(id: &str) -> Option<&str> {
    let (_, number) = id.split_once('_')?;
    let is_generated = number.len() == DIGEST_CHARS && number.bytes().all(|digit| digit.is_ascii_hexdigit());
    number.get(..TIMESTAMP_CHARS).filter(|_| is_generated)
}

#[cfg(test)]
mod tests;
