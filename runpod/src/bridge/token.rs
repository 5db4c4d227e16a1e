//! The tokens of event streams. An `EventSource` sends no headers, so its URL has to name the reader: a token is for one
//! run, lives for a minute at most, and is sealed, because it contains the credential by which the pods authenticate the
//! reader. Every bridge with the same key opens it; nothing of it is stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::{Cause, Credential, ErrorCode, RunId, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// The salt of the derivation. Another release that seals in another way has another one.
const SALT: &[u8] = b"greenroom bridge v1";
/// What the key is for.
const PURPOSE: &[u8] = b"events tokens";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a credential in a token, which is a part of a URL.
const CREDENTIAL_BYTES_MAX: usize = 4 * 1024;
/// Characters of a token.
const TOKEN_CHARS_MAX: usize = 8 * 1024;

/// Seals and opens tokens. Neither its `Debug` nor anything else shows the key.
pub struct TokenKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(***)")
    }
}

/// What a token contains.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    /// Microseconds since 1970.
    expires_at: i64,
    credential: Option<Credential>,
}

impl TokenKey {
    /// The key of all bridges with this secret.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if it cannot be derived.
    pub fn derive(secret: &str) -> Result<Self, Cause> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(secret.as_bytes());
        let purpose = [PURPOSE];
        let key = secret.expand(&purpose, &AES_256_GCM).map_err(|_| unavailable("derived"))?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(key)), random: SystemRandom::new() })
    }

    /// A key of this process alone: a token is opened by no other bridge.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if the operating system has no random numbers.
    pub fn generate() -> Result<Self, Cause> {
        let (random, mut bytes) = (SystemRandom::new(), [0; KEY_BYTES]);
        random.fill(&mut bytes).map_err(|_| unavailable("generated"))?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| unavailable("generated"))?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// A token with which the caller of this credential reads the events of this run.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] if the credential is too long for a URL.
    pub(super) fn seal(
        &self,
        run: &RunId,
        credential: Option<Credential>,
        expires_at: Timestamp,
    ) -> Result<String, Cause> {
        let claims = serde_json::to_vec(&Claims { expires_at: expires_at.as_micros(), credential });
        let mut sealed = claims.map_err(|_| unavailable("used"))?;
        if sealed.len() > CREDENTIAL_BYTES_MAX {
            let message = format!("a token has a credential of at most {CREDENTIAL_BYTES_MAX} bytes");
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| unavailable("used"))?;
        let aad = Aad::from(run.as_str().as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| unavailable("used"))?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The credential of a token for this run.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if it is none, is for another run, or has expired. The message does not say which.
    pub(super) fn open(&self, token: &str, run: &RunId, now: Timestamp) -> Result<Option<Credential>, Cause> {
        let claims = self.try_open(token, run).filter(|claims| now.as_micros() < claims.expires_at);
        let message = "the token is not valid for the events of this run, or has expired: request another one";
        claims.map(|claims| claims.credential).ok_or_else(|| Cause::new(ErrorCode::Unauthenticated, message))
    }

    fn try_open(&self, token: &str, run: &RunId) -> Option<Claims> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let claims = self.key.open_in_place(nonce, Aad::from(run.as_str().as_bytes()), sealed).ok()?;
        serde_json::from_slice(claims).ok()
    }
}

fn unavailable(purpose: &str) -> Cause {
    Cause::new(ErrorCode::Internal, format!("the key of the tokens of event streams cannot be {purpose}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const LATER: Timestamp = Timestamp::from_micros(1_700_000_060_000_000);

    fn run(id: &str) -> RunId {
        RunId::new(id).unwrap()
    }

    #[test]
    fn a_token_is_opened_by_every_bridge_with_the_secret_until_it_expires() {
        let credential = Some(Credential::Bearer("planted-token".into()));
        let key = TokenKey::derive("the secret of the cluster").unwrap();
        let token = key.seal(&run("run_1"), credential.clone(), LATER).unwrap();
        let other_bridge = TokenKey::derive("the secret of the cluster").unwrap();
        assert_eq!(other_bridge.open(&token, &run("run_1"), NOW).unwrap(), credential);
        assert_eq!(other_bridge.open(&token, &run("run_1"), LATER).unwrap_err().code, ErrorCode::Unauthenticated);
        assert!(!format!("{key:?}").contains("secret"));
        let decoded = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(!String::from_utf8_lossy(&decoded).contains("planted-token"), "the credential is sealed");
    }

    #[test]
    fn a_token_of_another_run_key_or_text_is_refused() {
        let key = TokenKey::generate().unwrap();
        let token = key.seal(&run("run_1"), None, LATER).unwrap();
        assert_eq!(key.open(&token, &run("run_1"), NOW).unwrap(), None);
        let mut forged = token.clone().into_bytes();
        let last = forged.len() - 2;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(key.open(&token, &run("run_2"), NOW).is_err());
        assert!(TokenKey::generate().unwrap().open(&token, &run("run_1"), NOW).is_err());
        for text in [forged.as_str(), "", "AAAA", "not base64!", &"A".repeat(TOKEN_CHARS_MAX + 1)] {
            assert!(key.open(text, &run("run_1"), NOW).is_err(), "{text}");
        }
        assert_ne!(key.seal(&run("run_1"), None, LATER).unwrap(), token, "no two tokens are the same");
    }

    #[test]
    fn a_credential_that_no_url_can_have_gets_no_token() {
        let key = TokenKey::generate().unwrap();
        let long = Some(Credential::ApiKey("x".repeat(CREDENTIAL_BYTES_MAX)));
        assert_eq!(key.seal(&run("run_1"), long, LATER).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }
}
