//! The keys of an issuer: those of files, and those that the issuer publishes, which are fetched for the first token, again
//! when they are old, and when a token names a key that is not among them. A flood of tokens with unknown keys causes one
//! fetch in [`FETCH_INTERVAL`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greenroom_protocol::{Cause, ErrorCode};

use super::fetch::FetchKeys;
use super::signature::{Jwk, TokenHeader, VerifyingKey};
use crate::config::{IssuerConfig, IssuerKeyConfig};

/// Least time between two fetches.
pub(crate) const FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// Age from which on the next token has the keys fetched again.
pub(crate) const REFRESH_AGE: Duration = Duration::from_secs(10 * 60);
/// Age until which keys are used that could not be fetched again.
pub(crate) const KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that a token without a name of a key is tried with.
const CANDIDATES_MAX: usize = 8;
/// Keys of one issuer.
const KEYS_MAX: usize = 64;
/// Bytes of a file with a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Which fetch of the published keys an issuer is known by; zero before the first one, and for an issuer that publishes
/// none. The keys of files never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeysVersion(u64);

#[cfg(test)]
impl KeysVersion {
    /// That of an issuer which publishes no keys.
    pub(crate) const OF_FILES: Self = Self(0);
}

/// The keys that a token may be signed with, and the version that they are of.
pub(crate) struct Candidates {
    pub(crate) keys: Vec<Arc<VerifyingKey>>,
    pub(crate) version: KeysVersion,
}

/// The keys of one issuer.
pub(crate) struct KeySet {
    name: String,
    of_files: Vec<NamedKey>,
    published: Option<Published>,
}

#[derive(Clone)]
struct NamedKey {
    kid: Option<String>,
    key: Arc<VerifyingKey>,
}

/// The keys that the issuer publishes.
struct Published {
    fetch: Box<dyn FetchKeys>,
    known: Mutex<Known>,
    /// Locked by the caller that fetches.
    fetching: tokio::sync::Mutex<()>,
}

/// What is known of the published keys.
#[derive(Clone, Default)]
struct Known {
    keys: Arc<Vec<NamedKey>>,
    version: KeysVersion,
    fetched_at: Option<Instant>,
    /// When the last fetch began, also if it has failed.
    attempted_at: Option<Instant>,
}

impl Known {
    fn is_usable(&self) -> bool {
        self.fetched_at.is_some_and(|at| at.elapsed() < KEYS_AGE_MAX)
    }

    fn needs_refresh(&self) -> bool {
        self.fetched_at.is_none_or(|at| at.elapsed() >= REFRESH_AGE)
    }

    fn may_fetch(&self) -> bool {
        self.attempted_at.is_none_or(|at| at.elapsed() >= FETCH_INTERVAL)
    }
}

impl KeySet {
    /// Reads the keys of files.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if a file cannot be read or is no key.
    pub(crate) fn open(config: &IssuerConfig, fetch: Option<Box<dyn FetchKeys>>) -> Result<Self, Cause> {
        let of_files = config.keys.iter().map(|key| read_key(config, key)).collect::<Result<_, Cause>>()?;
        let published = fetch.map(|fetch| Published { fetch, known: Mutex::default(), fetching: Default::default() });
        Ok(Self { name: config.name.to_string(), of_files, published })
    }

    /// The version whose keys verify tokens now; `None` if the next token has them fetched again. What an older version has
    /// verified must be verified again: its key may have been withdrawn.
    pub(crate) fn version(&self) -> Option<KeysVersion> {
        let Some(published) = &self.published else { return Some(KeysVersion::default()) };
        let known = published.known();
        (known.fetched_at.is_none() || !known.needs_refresh()).then_some(known.version)
    }

    /// The keys that a token may be signed with, by the name in its header; all if it names none.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if the keys that the issuer publishes were never fetched, or too long ago.
    pub(crate) async fn candidates(&self, header: &TokenHeader) -> Result<Candidates, Cause> {
        let mut keys = matching(&self.of_files, header);
        let mut version = self.published.as_ref().map(|published| published.known().version).unwrap_or_default();
        if let Some(published) = self.published.as_ref().filter(|_| header.kid.is_none() || keys.is_empty()) {
            let known = published.keys(&self.name, header).await?;
            keys.extend(matching(&known.keys, header));
            version = known.version;
        }
        keys.truncate(CANDIDATES_MAX);
        Ok(Candidates { keys, version })
    }
}

impl Published {
    async fn keys(&self, issuer: &str, header: &TokenHeader) -> Result<Known, Cause> {
        let known = self.known().clone();
        let has_key = !matching(&known.keys, header).is_empty();
        if has_key && !known.needs_refresh() {
            return Ok(known);
        }
        if known.may_fetch() {
            self.fetch(issuer, known.is_usable() && has_key).await;
        }
        let known = self.known().clone();
        if known.is_usable() {
            return Ok(known);
        }
        Err(Cause::new(ErrorCode::StoreUnavailable, format!("the keys of the issuer `{issuer}` cannot be fetched")))
    }

    /// Fetches the keys, once for all callers that wait. A caller that has a key does not wait for the fetch of another.
    async fn fetch(&self, issuer: &str, has_key: bool) {
        let fetching = match self.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) if has_key => return,
            Err(_) => self.fetching.lock().await,
        };
        if !self.known().may_fetch() {
            return;
        }
        self.known().attempted_at = Some(Instant::now());
        match self.fetch.fetch().await {
            Ok(keys) => {
                let keys = usable_keys(keys);
                tracing::info!(issuer.name = issuer, issuer.keys = keys.len(), "the keys of an issuer were fetched");
                let mut known = self.known();
                known.keys = Arc::new(keys);
                known.version = KeysVersion(known.version.0.saturating_add(1));
                known.fetched_at = Some(Instant::now());
            }
            Err(problem) => {
                tracing::warn!(
                    issuer.name = issuer,
                    error.message = problem,
                    "the keys of an issuer cannot be fetched"
                );
            }
        }
        drop(fetching);
    }

    /// A poisoned lock is still consistent: each member is changed in one step.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl KeySet {
    /// Lets the fetch of the published keys be longer ago than it is.
    pub(crate) fn advance(&self, by: Duration) {
        let Some(published) = &self.published else { return };
        let mut known = published.known();
        known.fetched_at = known.fetched_at.and_then(|at| at.checked_sub(by));
        known.attempted_at = known.attempted_at.and_then(|at| at.checked_sub(by));
    }
}

/// The keys that this release can use. Two keys of one name are ambiguous, and then neither is used.
fn usable_keys(keys: Vec<Jwk>) -> Vec<NamedKey> {
    let mut counts: HashMap<Option<String>, usize> = HashMap::new();
    for key in &keys {
        *counts.entry(key.kid.clone()).or_default() += 1;
    }
    let is_unique = |kid: &Option<String>| kid.is_none() || counts.get(kid) == Some(&1);
    let named = |jwk: &Jwk| Some(NamedKey { kid: jwk.kid.clone(), key: Arc::new(VerifyingKey::from_jwk(jwk)?) });
    keys.iter().filter(|jwk| is_unique(&jwk.kid)).filter_map(named).take(KEYS_MAX).collect()
}

/// The keys of a name. A key without a name is tried for every token.
fn matching(keys: &[NamedKey], header: &TokenHeader) -> Vec<Arc<VerifyingKey>> {
    let matches = |key: &&NamedKey| header.kid.is_none() || key.kid.is_none() || key.kid == header.kid;
    keys.iter().filter(matches).map(|key| Arc::clone(&key.key)).collect()
}

fn read_key(config: &IssuerConfig, key: &IssuerKeyConfig) -> Result<NamedKey, Cause> {
    let invalid = |problem: String| {
        let message = format!("issuers: the key of {} in {}: {problem}", config.name, key.file.display());
        Cause::new(ErrorCode::InvalidConfiguration, message)
    };
    let size = std::fs::metadata(&key.file).map_err(|error| invalid(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(invalid(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let content = std::fs::read(&key.file).map_err(|error| invalid(error.to_string()))?;
    let verifying = VerifyingKey::from_file(key.algorithm, &content).map_err(invalid)?;
    Ok(NamedKey { kid: key.kid.clone(), key: Arc::new(verifying) })
}
