//! What a request means to a context, and what a context's answer means to a request: pure.

use std::time::Duration;

use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, ContextWrite};
use greenroom_protocol::{Cause, ContextKey, ErrorCode, Json, Outcome, Values};
use greenroom_registry::context::{ContextPut, Snapshot, Version, Versioned};

/// The output under which the version of a write stands.
pub(super) const VERSION: &str = "version";

/// The write that a request asks for.
pub(super) fn to_put(write: ContextWrite) -> ContextPut {
    ContextPut {
        key: write.key,
        expect: write.expect.map(Version),
        change: write.change,
        ttl: write.ttl_ms.map(Duration::from_millis),
    }
}

/// What was read, by key; a key that is not there is left out.
pub(super) fn read_outcome(keys: &[ContextKey], values: Vec<Option<Versioned>>) -> Outcome {
    let found = keys.iter().zip(values);
    outcome(found.filter_map(|(key, value)| Some((key.to_string(), value?.value))).collect())
}

/// Everything, by key.
pub(super) fn snapshot_outcome(snapshot: Snapshot) -> Outcome {
    outcome(snapshot.values.into_iter().map(|(key, value)| (key.to_string(), value.value)).collect())
}

/// What a write became.
pub(super) fn write_outcome(version: Version) -> Outcome {
    outcome(Values::from([(VERSION.to_owned(), Json::from(version.0))]))
}

fn outcome(outputs: Values) -> Outcome {
    Outcome { outputs, usage: Usage::default() }
}

/// The writes by which a context begins.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if a name cannot be a key.
pub(super) fn beginning(values: Values) -> Result<Vec<ContextPut>, Cause> {
    let put = |(name, value): (String, Json)| {
        let wrong =
            |error| Cause::new(ErrorCode::InvalidInput, format!("the context cannot have a key {name:?}: {error}"));
        let key = ContextKey::new(&name).map_err(wrong)?;
        Ok(ContextPut { key, expect: None, change: ContextChange::Put(value), ttl: None })
    };
    values.into_iter().map(put).collect()
}
