//! Signs requests by the scheme of Standard Webhooks (<https://github.com/standard-webhooks/standard-webhooks>): the
//! header `webhook-signature` is `v1,` and the Base64 of an HMAC with SHA-256 over `ID.TIMESTAMP.BODY`. The id is the same
//! at each repetition; the timestamp is in seconds and lets a service refuse an old request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::outbound::Secret;

/// What begins a secret that is written in Base64.
const ENCODED_PREFIX: &str = "whsec_";
/// The fewest bytes of a secret that the scheme allows.
const SECRET_BYTES_MIN: usize = 24;
/// The most.
const SECRET_BYTES_MAX: usize = 64;

/// The key of one host.
pub(super) struct SigningKey(hmac::Key);

impl SigningKey {
    /// The key of a secret: `whsec_` and Base64, or the bytes of the text.
    ///
    /// # Errors
    /// A fragment without the secret.
    pub(super) fn from_secret(secret: &Secret) -> Result<Self, String> {
        let bytes = match secret.expose().strip_prefix(ENCODED_PREFIX) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_| format!("the secret after `{ENCODED_PREFIX}` is no Base64"))?
            }
            None => secret.expose().as_bytes().to_vec(),
        };
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(format!(
                "the secret has {} bytes, expected {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}",
                bytes.len()
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_scheme_has_its_signature() {
        // The example of the specification's test suites.
        let key = SigningKey::from_secret(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_too_short_or_no_base64_is_refused_without_being_printed() {
        let long = "x".repeat(65);
        for (secret, problem) in [
            ("short", "5 bytes"),
            ("whsec_MfKQ9r8=", "5 bytes"),
            ("whsec_***", "no Base64"),
            (long.as_str(), "65 bytes"),
        ] {
            let error = SigningKey::from_secret(&Secret::new(secret)).err().unwrap();
            assert!(error.contains(problem) && !error.contains(secret), "{error}");
        }
        assert!(SigningKey::from_secret(&Secret::new("a text of 24 characters.")).is_ok());
    }
}
