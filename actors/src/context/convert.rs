//! Conversions between requests and a context's store: pure.

use std::time::Duration;

use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, ContextWrite};
use greenroom_protocol::{Cause, ContextKey, ErrorCode, Json, Outcome, Values};
use greenroom_registry::context::{ContextPut, Snapshot, Version, Versioned};

/// Name of the output that contains the version of a write.
pub(super) const VERSION_OUTPUT: &str = "version";

/// Converts a request into a write.
pub(super) fn to_put(write: ContextWrite) -> ContextPut {
    ContextPut {
        key: write.key,
        expect: write.expect.map(Version),
        change: write.change,
        ttl: write.ttl_ms.map(Duration::from_millis),
    }
}

/// The values that were read, by key; a missing key is left out.
pub(super) fn read_outcome(keys: &[ContextKey], values: Vec<Option<Versioned>>) -> Outcome {
    let pairs = keys.iter().zip(values);
    outcome(pairs.filter_map(|(key, value)| Some((key.to_string(), value?.value))).collect())
}

/// All values, by key.
pub(super) fn snapshot_outcome(snapshot: Snapshot) -> Outcome {
    outcome(snapshot.values.into_iter().map(|(key, value)| (key.to_string(), value.value)).collect())
}

/// The version that a write created.
pub(super) fn write_outcome(version: Version) -> Outcome {
    outcome(Values::from([(VERSION_OUTPUT.to_owned(), Json::from(version.0))]))
}

fn outcome(outputs: Values) -> Outcome {
    Outcome { outputs, usage: Usage::default() }
}

/// The initial writes of a context.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if a name cannot be a key.
pub(super) fn initial_puts(values: Values) -> Result<Vec<ContextPut>, Cause> {
    let put = |(name, value): (String, Json)| {
        let invalid_key =
            |error| Cause::new(ErrorCode::InvalidInput, format!("the context cannot have a key {name:?}: {error}"));
        let key = ContextKey::new(&name).map_err(invalid_key)?;
        Ok(ContextPut { key, expect: None, change: ContextChange::Put(value), ttl: None })
    };
    values.into_iter().map(put).collect()
}
