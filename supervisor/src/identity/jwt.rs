//! Tokens of identity providers (JWT, RFC 7519). Each configured issuer has its keys, and a key has its algorithm: what the
//! header of a token names chooses among the keys, and never how a key is used.

pub(crate) mod cache;
pub(crate) mod claims;
pub(crate) mod fetch;
pub(crate) mod key_set;
pub(crate) mod signature;
#[cfg(test)]
pub(crate) mod test_keys;

use greenroom_protocol::{Cause, ContentHash, Timestamp};

use self::cache::{TokenCache, VerifiedToken};
use self::claims::{Refusal, Subject, check_times, read_subject};
use self::fetch::FetchKeys;
use self::key_set::{Candidates, KeySet, KeysVersion};
use self::signature::{Expected, TokenHeader};
use crate::config::IssuerConfig;

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// One identity provider.
pub(crate) struct JwtIssuer {
    config: IssuerConfig,
    expected: Expected,
    keys: KeySet,
    cache: TokenCache,
}

/// A token that was verified.
pub(crate) struct Verified {
    /// Whom the issuer vouches for.
    pub(crate) subject: Subject,
    /// False if the token was verified before, and its rights were stored then.
    pub(crate) is_new: bool,
}

impl JwtIssuer {
    /// An issuer with the keys of its files; those of its URL are fetched for the first token.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if a file cannot be read or is no key.
    pub(crate) fn open(config: &IssuerConfig, fetch: Option<Box<dyn FetchKeys>>) -> Result<Self, Cause> {
        let expected = Expected { issuer: config.iss.clone(), audience: config.audience.clone() };
        let keys = KeySet::open(config, fetch)?;
        Ok(Self { config: config.clone(), expected, keys, cache: TokenCache::default() })
    }

    /// The configuration of the issuer.
    pub(crate) const fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// True if a token names this issuer. Whether it is right is decided by the keys.
    pub(crate) fn is_named_by(&self, token: &UnverifiedToken<'_>) -> bool {
        token.issuer.as_deref() == Some(self.config.iss.as_str())
    }

    /// Verifies a token. A token that was verified before is not verified again until it ends or the keys of the issuer are
    /// fetched again: its key may be none of them any more.
    ///
    /// # Errors
    /// A cause if the keys of the issuer cannot be fetched. A token that is refused is `Ok(Err)`.
    pub(crate) async fn verify(
        &self,
        token: &UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<Result<Verified, Refusal>, Cause> {
        let hash = ContentHash::from_content(token.text.as_bytes());
        if let Some(VerifiedToken { subject, times, keys }) = self.cache.get(&hash)
            && self.keys.version() == Some(keys)
        {
            return Ok(check_times(times, self.config.skew_secs, now).map(|()| Verified { subject, is_new: false }));
        }
        let Candidates { keys, version } = self.keys.candidates(&token.header).await?;
        let mut refusal = Refusal::UnknownKey;
        for key in keys {
            match key.verify(token.text, &self.expected) {
                Ok(claims) => return Ok(self.accept(hash, &claims, version, now)),
                Err(found) => refusal = found,
            }
        }
        Ok(Err(refusal))
    }

    fn accept(
        &self,
        hash: ContentHash,
        claims: &serde_json::Value,
        keys: KeysVersion,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        let (subject, times) = read_subject(claims, &self.config)?;
        check_times(times, self.config.skew_secs, now)?;
        self.cache.insert(hash, VerifiedToken { subject: subject.clone(), times, keys }, self.config.skew_secs, now);
        Ok(Verified { subject, is_new: true })
    }
}

/// A token before its verification: what chooses the issuer and the key.
pub(crate) struct UnverifiedToken<'t> {
    text: &'t str,
    header: TokenHeader,
    issuer: Option<String>,
}

impl<'t> UnverifiedToken<'t> {
    /// Reads the header and the issuer of a token.
    ///
    /// # Errors
    /// [`Refusal::Form`] if the text is no token, or has an algorithm that is not supported.
    pub(crate) fn read(text: &'t str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let header = TokenHeader::read(text)?;
        Ok(Self { text, header, issuer: claims::unverified_issuer(text) })
    }

    /// True for a text of three parts, which is read as a token.
    pub(crate) fn has_form(text: &str) -> bool {
        text.bytes().filter(|byte| *byte == b'.').count() == 2
    }
}

#[cfg(test)]
mod tests;
