//! The time and the random numbers of a client. A customer's program has no composition root of this platform that would
//! pass them as arguments.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use greenroom_protocol::{IdempotencyKey, RequestId, Timestamp};

/// Bits of a generated number after its time in milliseconds.
const RANDOM_BITS: u32 = 80;

/// The present moment of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the client that reads the wall clock")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// A number that no other call of this or of another process returns in practice. The standard library seeds each hasher
/// with numbers of the operating system. It is no secret.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn random_u128() -> u128 {
    (u128::from(random_u64()) << 64) | u128::from(random_u64())
}

/// A number of at least 0 and less than 1.
pub(crate) fn random_fraction() -> f64 {
    f64::from(u32::try_from(random_u64() >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// A number that begins with the time, so that rows of the same time are adjacent in an index of a database.
fn time_ordered_u128() -> u128 {
    let millis = u128::try_from(now().as_micros() / 1_000).unwrap_or_default();
    (millis << RANDOM_BITS) | (random_u128() >> (u128::BITS - RANDOM_BITS))
}

/// A name for a request.
pub(crate) fn generate_request_id() -> RequestId {
    RequestId::from_u128(time_ordered_u128())
}

/// An idempotency key for a request that its caller gave none.
pub(crate) fn generate_key() -> Option<IdempotencyKey> {
    IdempotencyKey::new(format!("auto-{:032x}", time_ordered_u128())).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn generated_names_differ_and_begin_with_their_time() {
        let request = || generate_request_id().to_string();
        let key = || generate_key().unwrap().to_string();
        for (kind, generate) in [("req_", &request as &dyn Fn() -> String), ("auto-", &key)] {
            let names: BTreeSet<String> = (0..1_000).map(|_| generate()).collect();
            assert_eq!(names.len(), 1_000);
            let millis = now().as_micros() / 1_000;
            let (first, prefix) = (names.first().unwrap(), format!("{kind}{millis:012x}"));
            assert_eq!(first.get(..10), prefix.get(..10), "{first} {prefix}");
        }
        assert!((0..1_000).map(|_| random_fraction()).all(|fraction| (0.0..1.0).contains(&fraction)));
    }
}
