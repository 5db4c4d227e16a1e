//! The version of a document, which is read before the document itself, and the two ways to read it.
//!
//! A document of this release's own version or an older one is read strictly: a member that it does not have is a mistake
//! of its sender. A document of the next version may have members that this release does not know, and they are ignored.
//! A later version cannot be read.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Cause, ErrorCode};
use crate::limits::{ENVELOPE_BYTES_MAX, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_READ_MAX};
use crate::strict_json;
use crate::value::Json;

mod members;

/// Characters of a parser's reason that a message repeats.
const REASON_CHARS_MAX: usize = 400;

/// A type whose documents arrive from other releases. The macro `document` implements it.
pub trait Document: DeserializeOwned + JsonSchema {
    /// The JSON Schema of the document, which names every member that this release knows.
    fn schema() -> &'static Json;
}

/// Implements [`Document`], with the schema computed once.
macro_rules! document {
    ($($name:ty),* $(,)?) => {
        $(impl $crate::peek::Document for $name {
            fn schema() -> &'static $crate::value::Json {
                static SCHEMA: std::sync::OnceLock<$crate::value::Json> = std::sync::OnceLock::new();
                SCHEMA.get_or_init(|| schemars::schema_for!($name).to_value())
            }
        })*
    };
}
pub(crate) use document;

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Of a version that this release knows completely: an unknown member is an error.
    Strict,
    /// Of the next version: unknown members are ignored.
    Lenient,
}

impl Reading {
    /// How a document of this version is read.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if it cannot be read; the message names both versions.
    pub fn for_version(version: u16) -> Result<Self, Cause> {
        if (PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&version) {
            return Ok(Self::Strict);
        }
        if (PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION_READ_MAX).contains(&version) {
            return Ok(Self::Lenient);
        }
        Err(invalid(format!(
            "the request has protocol version {version}; this release has version {PROTOCOL_VERSION} and reads \
             {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION_READ_MAX}"
        )))
    }
}

/// The only member that every version of a document has.
#[derive(Deserialize)]
struct Head {
    version: u16,
}

/// Reads the version of a document, and nothing else of it.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`], before parsing; [`ErrorCode::InvalidRequest`] if the bytes are not a JSON object with
/// a `version`.
pub fn peek_version(bytes: &[u8]) -> Result<u16, Cause> {
    check_size(bytes)?;
    serde_json::from_slice(bytes).map(|head: Head| head.version).map_err(|error| unreadable(&error))
}

/// Checks the size of a document, before anything of it is parsed.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`]
pub fn check_size(bytes: &[u8]) -> Result<(), Cause> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        let message = format!("the request has {} bytes, at most {ENVELOPE_BYTES_MAX} are allowed", bytes.len());
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

/// Reads a document whose version is known.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`], before parsing; [`ErrorCode::InvalidRequest`] with the parser's message, or with the
/// member that occurs twice or has a number of too many digits ([`strict_json`]).
pub fn read<T: Document>(bytes: &[u8], reading: Reading) -> Result<T, Cause> {
    check_size(bytes)?;
    match reading {
        Reading::Strict => strict_json::from_slice(bytes).map_err(|error| unreadable(&error)),
        Reading::Lenient => {
            let mut value: Json = strict_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
            remove_unknown_members::<T>(&mut value);
            serde_json::from_value(value).map_err(|error| unreadable(&error))
        }
    }
}

/// Checks that a document has no unknown member, at any depth. serde does so for most types while it reads them, but not
/// for a flattened member, and not for a variant without members of its own.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] with the path of the member.
pub fn check_members<T: Document>(bytes: &[u8]) -> Result<(), Cause> {
    let value: Json = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    match members::find_unknown(&value, T::schema()) {
        Some(path) => Err(invalid(unreadable_message(&format!("unknown field `{path}`")))),
        None => Ok(()),
    }
}

/// Removes every member of a document that this release does not know, at any depth.
pub fn remove_unknown_members<T: Document>(document: &mut Json) {
    members::remove_unknown(document, T::schema());
}

fn unreadable(error: &serde_json::Error) -> Cause {
    invalid(unreadable_message(&error.to_string()))
}

/// A parser repeats what it found, such as the name of a member, however long that is.
fn unreadable_message(reason: &str) -> String {
    let end = reason.char_indices().nth(REASON_CHARS_MAX).map(|(end, _)| end);
    match end.and_then(|end| reason.get(..end)) {
        Some(beginning) => format!("the request cannot be read: {beginning}…"),
        None => format!("the request cannot be read: {reason}"),
    }
}

fn invalid(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests;
