//! The headers of NATS messages, without a type of a NATS library: names, what a pod reads of a request, and what it writes
//! beside a reply. A header of a request is never a second truth: it may not repeat what an envelope has.

use std::time::Duration;

use crate::envelope::Credential;
use crate::error::{Cause, ErrorCode};
use crate::id::{IdempotencyKey, RequestId};
use crate::limits::{HEADER_BYTES_MAX, HEADER_MESSAGE_BYTES_MAX, PROTOCOL_VERSION};
use crate::time::{Deadline, Timestamp};

mod traceparent;

pub use traceparent::Traceparent;

/// `Bearer TOKEN` or `ApiKey KEY`.
pub const AUTHORIZATION: &str = "Authorization";
/// The caller's idempotency key.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The trace of the request, as W3C Trace Context writes it.
pub const TRACEPARENT: &str = "traceparent";
/// The time until which the caller waits: RFC 3339, or milliseconds since 1970.
pub const DEADLINE: &str = "Greenroom-Deadline";
/// The time in milliseconds for which the caller waits.
pub const TIMEOUT: &str = "Greenroom-Timeout";
/// The caller's name for the request.
pub const REQUEST_ID: &str = "Greenroom-Request-Id";
/// The protocol version of the sender.
pub const VERSION: &str = "Greenroom-Version";
/// `1` requests frames instead of one reply.
pub const FRAMES: &str = "Greenroom-Frames";
/// The number of a chunk of an upload, from 0.
pub const CHUNK: &str = "Greenroom-Chunk";
/// The error code of a reply.
pub const CODE: &str = "Greenroom-Code";
/// The HTTP status of the error code, as the NATS protocol of micro services has it.
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The error message on one line.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";

/// The headers of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeaders {
    /// The credential of the caller; never a delegation, which travels between pods only.
    pub credential: Option<Credential>,
    /// The caller's idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The trace that the request belongs to, and the caller's span.
    pub trace: Option<Traceparent>,
    /// The time until which the caller waits.
    pub deadline: Option<Deadline>,
    /// The time for which the caller waits, from the arrival of the request.
    pub timeout: Option<Duration>,
    /// The caller's name for the request.
    pub request_id: Option<RequestId>,
    /// The protocol version of the sender.
    pub version: u16,
    /// True if the caller requests frames.
    pub wants_frames: bool,
}

impl Default for RequestHeaders {
    /// The headers of a message without any: the sender has this release's version.
    fn default() -> Self {
        Self {
            credential: None,
            idempotency_key: None,
            trace: None,
            deadline: None,
            timeout: None,
            request_id: None,
            version: PROTOCOL_VERSION,
            wants_frames: false,
        }
    }
}

impl RequestHeaders {
    /// Reads the headers of a message; `get` returns the value of a header by its name.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the credential is of another scheme or empty; [`ErrorCode::InvalidRequest`] if
    /// another header is too long or cannot be read. A message never repeats a credential.
    pub fn read<'h>(get: impl Fn(&str) -> Option<&'h str>) -> Result<Self, Cause> {
        let value = |name: &'static str| match get(name) {
            Some(text) if text.len() > HEADER_BYTES_MAX => {
                let found = format!("it has {} bytes, at most {HEADER_BYTES_MAX} are allowed", text.len());
                Err(invalid(name, &found))
            }
            found => Ok(found.map(str::trim)),
        };
        Ok(Self {
            credential: value(AUTHORIZATION)?.map(parse_credential).transpose()?,
            idempotency_key: parse(IDEMPOTENCY_KEY, value(IDEMPOTENCY_KEY)?, |text| {
                IdempotencyKey::new(text).map_err(|error| error.to_string())
            })?,
            trace: parse(TRACEPARENT, value(TRACEPARENT)?, |text| text.parse::<Traceparent>())?,
            deadline: parse(DEADLINE, value(DEADLINE)?, parse_deadline)?,
            timeout: parse(TIMEOUT, value(TIMEOUT)?, parse_number::<u64>)?.map(Duration::from_millis),
            request_id: parse(REQUEST_ID, value(REQUEST_ID)?, |text| {
                RequestId::new(text).map_err(|error| error.to_string())
            })?,
            version: parse(VERSION, value(VERSION)?, parse_number::<u16>)?.unwrap_or(PROTOCOL_VERSION),
            wants_frames: parse(FRAMES, value(FRAMES)?, parse_switch)?.unwrap_or(false),
        })
    }

    /// The headers as names and values, for a client.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if a credential has a character that a header cannot have;
    /// [`ErrorCode::Unauthenticated`] for a delegation.
    pub fn to_pairs(&self) -> Result<Vec<(&'static str, String)>, Cause> {
        let credential = match &self.credential {
            None => None,
            Some(Credential::Bearer(token)) => Some(format!("Bearer {}", checked_secret(token)?)),
            Some(Credential::ApiKey(key)) => Some(format!("ApiKey {}", checked_secret(key)?)),
            Some(Credential::Delegation(_)) => return Err(delegation_outside()),
        };
        let timeout = |timeout: &Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).to_string();
        let optional = [
            (AUTHORIZATION, credential),
            (IDEMPOTENCY_KEY, self.idempotency_key.as_ref().map(ToString::to_string)),
            (TRACEPARENT, self.trace.as_ref().map(ToString::to_string)),
            (DEADLINE, self.deadline.map(|deadline| deadline.0.to_string())),
            (TIMEOUT, self.timeout.as_ref().map(timeout)),
            (REQUEST_ID, self.request_id.as_ref().map(ToString::to_string)),
            (FRAMES, self.wants_frames.then(|| "1".to_owned())),
        ];
        let present = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Ok(present.chain([(VERSION, self.version.to_string())]).collect())
    }
}

/// The headers of a reply with this error, if it has one.
#[must_use]
pub fn reply_headers(error: Option<&Cause>) -> Vec<(&'static str, String)> {
    let mut headers = vec![(VERSION, PROTOCOL_VERSION.to_string())];
    if let Some(cause) = error {
        headers.push((CODE, cause.code.as_str().to_owned()));
        headers.push((SERVICE_ERROR_CODE, cause.code.http_status().to_string()));
        headers.push((SERVICE_ERROR, one_line(&cause.message)));
    }
    headers
}

/// Reads the number of a chunk of an upload.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if the header is absent or no number.
pub fn read_chunk<'h>(get: impl Fn(&str) -> Option<&'h str>) -> Result<u64, Cause> {
    parse(CHUNK, get(CHUNK), parse_number::<u64>)?.ok_or_else(|| invalid(CHUNK, "a chunk has its number, from 0"))
}

/// The error of a delegation that did not arrive from a pod.
#[must_use]
pub fn delegation_outside() -> Cause {
    Cause::new(ErrorCode::Unauthenticated, "a delegation is accepted from a pod of the cluster only")
}

fn parse<T>(
    name: &'static str,
    value: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Cause> {
    value.map(read).transpose().map_err(|found| invalid(name, &found))
}

fn parse_credential(text: &str) -> Result<Credential, Cause> {
    let expected = "the header `Authorization` has `Bearer TOKEN` or `ApiKey KEY`";
    let unauthenticated = || Cause::new(ErrorCode::Unauthenticated, expected);
    let (scheme, secret) = text.split_once(' ').ok_or_else(unauthenticated)?;
    let secret = secret.trim();
    if secret.is_empty() {
        return Err(unauthenticated());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Credential::Bearer(secret.to_owned()))
    } else if scheme.eq_ignore_ascii_case("apikey") {
        Ok(Credential::ApiKey(secret.to_owned()))
    } else if scheme.eq_ignore_ascii_case("delegation") {
        Err(delegation_outside())
    } else {
        Err(unauthenticated())
    }
}

/// A time as RFC 3339, or as milliseconds since 1970.
fn parse_deadline(text: &str) -> Result<Deadline, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let micros = text.parse::<i64>().ok().and_then(|millis| millis.checked_mul(1_000));
        return Ok(Deadline(Timestamp::from_micros(micros.unwrap_or(i64::MAX))));
    }
    let time = Timestamp::try_from(text.to_owned());
    time.map(Deadline).map_err(|_| "it is no time as RFC 3339, and no number of milliseconds since 1970".to_owned())
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| "it is no whole number within its bounds".to_owned())
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("it is neither `1` nor `0`".to_owned()),
    }
}

fn checked_secret(secret: &str) -> Result<&str, Cause> {
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the credential is empty, or has a space, a control character or a letter that is not ASCII";
        return Err(Cause::new(ErrorCode::InvalidRequest, message));
    }
    Ok(secret)
}

/// The beginning of a message, without line breaks.
fn one_line(message: &str) -> String {
    let mut line = String::new();
    for c in message.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > HEADER_MESSAGE_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}

fn invalid(name: &str, found: &str) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, format!("the header `{name}` cannot be read: {found}"))
}

#[cfg(test)]
mod tests;
