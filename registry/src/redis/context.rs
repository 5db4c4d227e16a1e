//! The views of contexts in Redis: one hash for each run, with a field for each value.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use super::connection::Connection;
use super::error::RedisError;
use super::functions::Function;
use crate::context::{
    CONTEXT_KEYS_MAX, CONTEXT_VALUE_BYTES_MAX, CONTEXT_VIEW_TTL, ContextData, ContextValue, ContextView, Snapshot,
    Version, ViewError,
};
use crate::error::StoreError;
use crate::runs::Fence;

/// Bytes of the values of one call, or a single value; more values take several calls.
const CALL_BYTES_MAX: usize = CONTEXT_VALUE_BYTES_MAX;
/// Fields of a view, expired values included. A view with more is lost, and its owner claims it without those.
pub(super) const FIELDS_MAX: usize = 2 * CONTEXT_KEYS_MAX;
/// The longest time of a claim or of several changes, whatever their size.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The expiry of a value that does not expire.
const NO_EXPIRY: &str = "-";

/// The views.
pub(super) struct RedisContextView(pub(super) Arc<Connection>);

impl RedisContextView {
    async fn call(&self, function: Function, run: &RunId, args: Vec<Value>) -> Result<Vec<String>, ViewError> {
        // The braces make the run the part of the key that decides its hash slot.
        let key = format!("{}:context:{{{run}}}", self.0.prefix());
        let mut reply = self.0.call(function, vec![key], args).await.map_err(StoreError::from)?.into_iter();
        match reply.next().as_deref() {
            Some("OK") => Ok(reply.collect()),
            Some("FENCED") => Err(ViewError::Fenced),
            Some("LOST") => Err(ViewError::Lost),
            Some(_) | None => Err(StoreError::from(unknown_reply()).into()),
        }
    }

    async fn claim_in_pieces(&self, run: &RunId, fence: Fence, data: &ContextData) -> Result<(), ViewError> {
        let values = data.values().map(|(key, value)| encode(value).map(|text| [field(key), text.into()]));
        let pieces = split_by_size(values.collect::<Result<Vec<_>, StoreError>>()?);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let (is_first, is_last) = (index == 0, index == last);
            let head = [number(fence.0), number(data.version().0), ttl_ms(CONTEXT_VIEW_TTL)];
            let head = head.into_iter().chain([number(is_first.into()), number(is_last.into())]);
            let args = head.chain(piece.into_iter().flatten()).collect();
            self.call(Function::Claim, run, args).await?;
        }
        Ok(())
    }

    async fn apply_in_pieces(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
    ) -> Result<(), ViewError> {
        let values = changes.iter().map(|(key, value)| {
            let version = number(value.version.0);
            encode(value).map(|text| [field(key), version, text.into()])
        });
        // Versions grow within the changes, so each piece leaves a view that is whole up to its last one.
        for piece in split_by_size(values.collect::<Result<Vec<_>, StoreError>>()?) {
            let head = [number(fence.0), number(after.0), ttl_ms(CONTEXT_VIEW_TTL), number(FIELDS_MAX as u64)];
            let args = head.into_iter().chain(piece.into_iter().flatten()).collect();
            self.call(Function::Apply, run, args).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ContextView for RedisContextView {
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, _now: Timestamp) -> Result<(), ViewError> {
        limit_write_time(self.claim_in_pieces(run, fence, data)).await
    }

    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        _now: Timestamp,
    ) -> Result<(), ViewError> {
        limit_write_time(self.apply_in_pieces(run, fence, after, changes)).await
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        at_least: Version,
        now: Timestamp,
    ) -> Result<Snapshot, ViewError> {
        let args = [number(at_least.0)].into_iter().chain(keys.iter().map(field)).collect();
        let mut reply = self.call(Function::Read, run, args).await?.into_iter();
        // What this release cannot read is made anew by the owner, as everything else that the view has lost.
        let version = reply.next().and_then(|version| version.parse::<u64>().ok()).ok_or(ViewError::Lost)?;
        let mut data = ContextData::default();
        while let (Some(name), Some(value)) = (reply.next(), reply.next()) {
            let key = name.strip_prefix('=').and_then(|key| ContextKey::new(key).ok());
            let (key, value) = key.zip(decode(&value)).ok_or(ViewError::Lost)?;
            data.insert(key, value);
        }
        Ok(Snapshot { version: Version(version), ..data.snapshot(&[], now) })
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ViewError> {
        self.call(Function::Remove, run, vec![number(fence.0)]).await.map(drop)
    }
}

async fn limit_write_time(write: impl Future<Output = Result<(), ViewError>>) -> Result<(), ViewError> {
    let written = tokio::time::timeout(WRITE_TIMEOUT, write).await;
    written.unwrap_or_else(|_| Err(StoreError::from(RedisError::Timeout).into()))
}

/// Splits encoded values into calls of at most [`CALL_BYTES_MAX`] bytes, at least one. The last argument of each value
/// is its text.
fn split_by_size<const N: usize>(values: Vec<[Value; N]>) -> Vec<Vec<[Value; N]>> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for value in values {
        let size = value.last().and_then(Value::as_bytes).map_or(0, <[u8]>::len);
        if !piece.is_empty() && bytes + size > CALL_BYTES_MAX {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += size;
        piece.push(value);
    }
    pieces.push(piece);
    pieces
}

/// The field of a value; the other fields of the hash do not begin with `=`.
fn field(key: &ContextKey) -> Value {
    format!("={key}").into()
}

fn number(number: u64) -> Value {
    number.to_string().into()
}

pub(super) fn ttl_ms(ttl: Duration) -> Value {
    ttl.as_millis().to_string().into()
}

/// The version, the expiry in microseconds and the JSON of a value.
fn encode(value: &ContextValue) -> Result<String, StoreError> {
    let until = value.until.map_or_else(|| NO_EXPIRY.to_owned(), |until| until.as_micros().to_string());
    Ok(format!("{} {until} {}", value.version.0, serde_json::to_string(&*value.value)?))
}

fn decode(text: &str) -> Option<ContextValue> {
    let mut parts = text.splitn(3, ' ');
    let version = Version(parts.next()?.parse().ok()?);
    let until = match parts.next()? {
        NO_EXPIRY => None,
        micros => Some(Timestamp::from_micros(micros.parse().ok()?)),
    };
    let value = Arc::new(serde_json::from_str(parts.next()?).ok()?);
    Some(ContextValue { version, value, until })
}

/// The error of a reply that no function of the library gives.
pub(super) fn unknown_reply() -> RedisError {
    RedisError::Failed("its reply is unknown".to_owned())
}
