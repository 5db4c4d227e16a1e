//! The tokens that were verified, by the hash of their text, until they end, with the keys that have verified them. A
//! revocation is not in here: it is looked up for each request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use greenroom_protocol::{ContentHash, Timestamp};

use super::claims::{Subject, TokenTimes, check_times};
use super::key_set::KeysVersion;

/// Tokens that are remembered.
const TOKENS_MAX: usize = 10_000;

/// A verified token.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedToken {
    pub(crate) subject: Subject,
    pub(crate) times: TokenTimes,
    /// The keys with which it was verified.
    pub(crate) keys: KeysVersion,
}

/// The verified tokens of one issuer.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<HashMap<ContentHash, VerifiedToken>>);

impl TokenCache {
    /// The token with this hash.
    pub(crate) fn get(&self, hash: &ContentHash) -> Option<VerifiedToken> {
        self.tokens().get(hash).cloned()
    }

    /// Remembers a token. A full cache drops what has ended, and everything if nothing has.
    pub(crate) fn insert(&self, hash: ContentHash, token: VerifiedToken, skew_secs: u32, now: Timestamp) {
        let mut tokens = self.tokens();
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, token| check_times(token.times, skew_secs, now).is_ok());
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(hash, token);
    }

    /// A poisoned lock is still consistent: the map is changed in one step.
    fn tokens(&self) -> MutexGuard<'_, HashMap<ContentHash, VerifiedToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Issuer, PrincipalId, TenantId, UserId};

    use super::*;
    use crate::identity::jwt::claims::Rights;

    fn token(expires_at: i64) -> VerifiedToken {
        let id = PrincipalId {
            issuer: Issuer::new("login").unwrap(),
            tenant: TenantId::default(),
            user: UserId::new("alice").unwrap(),
        };
        let times = TokenTimes { not_before: None, expires_at };
        VerifiedToken { subject: Subject { id, rights: Rights::default() }, times, keys: KeysVersion::OF_FILES }
    }

    fn hash(number: usize) -> ContentHash {
        ContentHash::from_content(&number.to_le_bytes())
    }

    #[test]
    fn the_cache_is_bounded_and_drops_what_has_ended_first() {
        let (cache, now) = (TokenCache::default(), Timestamp::from_micros(100_000_000));
        cache.insert(hash(0), token(200), 0, now);
        for number in 1..TOKENS_MAX {
            cache.insert(hash(number), token(50), 0, now);
        }
        cache.insert(hash(TOKENS_MAX), token(200), 0, now);
        assert_eq!(cache.tokens().len(), 2);
        assert!(cache.get(&hash(0)).is_some() && cache.get(&hash(1)).is_none());
    }
}
