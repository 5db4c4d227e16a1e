//! Signatures of tokens. This is the only file that knows `jsonwebtoken`: a key verifies with its one algorithm, whatever
//! the header of a token names, and times are not its matter, because they are compared with the clock of the pod.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::Refusal;
use crate::config::TokenAlgorithm;

/// Bytes of a shared secret: those of the hash, which RFC 7518 requires.
const SECRET_BYTES_MIN: usize = 32;
/// Bits of an RSA key.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// What a token must name.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    /// One of these is the audience.
    pub(crate) audience: Vec<String>,
}

/// The header of a token, which nothing has verified.
#[derive(Debug)]
pub(crate) struct TokenHeader {
    /// The name of the key.
    pub(crate) kid: Option<String>,
}

impl TokenHeader {
    /// Reads the header.
    pub(crate) fn read(token: &str) -> Result<Self, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Form)?;
        if has_critical_extension(token) {
            return Err(Refusal::Form);
        }
        Ok(Self { kid: header.kid })
    }
}

/// True if a token names an extension that its reader must know (RFC 7515, `crit`). None is known here, so such a token is
/// not valid, whatever its signature is over.
fn has_critical_extension(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Critical {
        #[serde(default)]
        crit: Option<IgnoredAny>,
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let critical = header.and_then(|header| serde_json::from_slice::<Critical>(&header).ok());
    critical.is_some_and(|critical| critical.crit.is_some())
}

/// A key and its algorithm.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    algorithm: TokenAlgorithm,
    key: DecodingKey,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.algorithm).finish()
    }
}

impl VerifyingKey {
    /// The key of a file: a public key as PEM, or the bytes of a shared secret.
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub(crate) fn from_file(algorithm: TokenAlgorithm, content: &[u8]) -> Result<Self, String> {
        let no_pem = |_| format!("this is no public key for {algorithm} as PEM");
        let key = match algorithm {
            TokenAlgorithm::Hs256 => {
                let secret = content.trim_ascii_end();
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(format!("a secret for {algorithm} has at least {SECRET_BYTES_MIN} bytes"));
                }
                // A public key is no secret: with it, everyone could sign.
                if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
                    return Err(format!("this is a key as PEM, and no secret for {algorithm}"));
                }
                DecodingKey::from_secret(secret).map_err(|_| format!("this is no secret for {algorithm}"))?
            }
            TokenAlgorithm::Rs256 => DecodingKey::from_rsa_pem(content).map_err(no_pem)?,
            TokenAlgorithm::Es256 => DecodingKey::from_ec_pem(content).map_err(no_pem)?,
            TokenAlgorithm::EdDsa => DecodingKey::from_ed_pem(content).map_err(no_pem)?,
        };
        Ok(Self { algorithm, key })
    }

    /// The key of a set that an issuer publishes; `None` for one that signs no tokens, or that is not supported. A
    /// shared secret is never published.
    pub(crate) fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (jwk.n.as_deref()?, jwk.e.as_deref()?);
                let bits = URL_SAFE_NO_PAD.decode(n).ok()?.len().saturating_mul(8);
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return None;
                }
                (TokenAlgorithm::Rs256, DecodingKey::from_rsa_components(n, e).ok()?)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
                (TokenAlgorithm::Es256, DecodingKey::from_ec_components(x, y).ok()?)
            }
            ("OKP", Some("Ed25519")) => {
                (TokenAlgorithm::EdDsa, DecodingKey::from_ed_components(jwk.x.as_deref()?).ok()?)
            }
            _ => return None,
        };
        // A key for another algorithm of the same kind is not used for this one.
        let is_pinned = jwk.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str());
        is_pinned.then_some(Self { algorithm, key })
    }

    /// Verifies the signature, the issuer and the audience of a token, and returns its claims.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub(crate) fn verify(&self, token: &str, expected: &Expected) -> Result<serde_json::Value, Refusal> {
        let mut validation = Validation::new(match self.algorithm {
            TokenAlgorithm::Hs256 => Algorithm::HS256,
            TokenAlgorithm::Rs256 => Algorithm::RS256,
            TokenAlgorithm::Es256 => Algorithm::ES256,
            TokenAlgorithm::EdDsa => Algorithm::EdDSA,
        });
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&expected.issuer]);
        validation.set_audience(&expected.audience);
        // They would be compared with the clock of the machine.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let decoded = decode::<serde_json::Value>(token, &self.key, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
            ErrorKind::InvalidIssuer => Refusal::Issuer,
            ErrorKind::InvalidAudience => Refusal::Audience,
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Refusal::Signature,
            _ => Refusal::Form,
        })
    }
}

/// A key as an issuer publishes it (RFC 7517). Members that are not used are ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}
