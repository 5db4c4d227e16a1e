//! An identity provider of the tests: its table in the settings, the tokens that it signs, and one token of each kind that
//! must be refused although its form is right.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::{Clock, Json};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::config::IssuerConfig;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::json;

/// The issuer in its tokens.
const ISS: &str = "https://login.example";
/// Seconds that a token is valid for.
const LIFETIME_SECS: i64 = 600;
/// Longer ago, or later, than any skew that an issuer may have.
const HOUR_SECS: i64 = 3_600;

/// What signs a token: a key of the issuer by its name, or another one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SigningKey {
    /// The key `ed` of the issuer.
    Ed,
    /// The secret that the issuer shares with the pods.
    Secret,
    /// A key of Ed25519 that the issuer does not have.
    OtherEd,
    /// The public key `rsa` of the issuer, used as a secret.
    PublicKey,
}

/// A token that must be refused.
pub(crate) struct RefusedToken {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// The reason in the metrics.
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

fn key_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/tests/keys").join(name)
}

/// The text of the secret that the issuer shares with the pods.
pub(crate) fn secret() -> Result<String> {
    Ok(std::fs::read_to_string(key_file("hs256.secret"))?)
}

/// The issuer in a file of settings. All its users are of this tenant, and it may make administrators.
pub(crate) fn settings(tenant: &str) -> String {
    let key = |kid: &str, algorithm: &str, file: &str| {
        let file = key_file(file);
        format!("[[issuers.keys]]\nkid = {kid:?}\nalgorithm = {algorithm:?}\nfile = {file:?}\n")
    };
    format!(
        "[[issuers]]\nname = \"login\"\niss = {ISS:?}\naudience = [\"greenroom\"]\ntenant = {tenant:?}\n\
         roles = [\"admin\", \"agent_operator\"]\nrate_limit = 1000000\nquery_limit = 1000000\n{}{}{}",
        key("ed", "EdDSA", "eddsa_public.pem"),
        key("rsa", "RS256", "rs256_public.pem"),
        key("secret", "HS256", "hs256.secret"),
    )
}

/// The issuer as a part of a configuration.
pub(crate) fn config(tenant: &str) -> Result<Vec<IssuerConfig>> {
    #[derive(Deserialize)]
    struct Settings {
        issuers: Vec<IssuerConfig>,
    }
    Ok(toml::from_str::<Settings>(&settings(tenant))?.issuers)
}

fn now_secs() -> i64 {
    WallClock.now().as_micros() / 1_000_000
}

/// The claims of a user with this role, for ten minutes.
pub(crate) fn claims(user: &str, role: &str) -> Json {
    let now = now_secs();
    json!({
        "iss": ISS, "aud": "greenroom", "sub": user, "iat": now, "exp": now + LIFETIME_SECS, "roles": [role],
        "allowed_categories": ["business_ops"], "pii_access": role == "admin",
    })
}

/// A token of these claims, whose header names a key.
pub(crate) fn sign(key: SigningKey, kid: &str, claims: &Json) -> Result<String> {
    let ed = |file: &str| anyhow::Ok(EncodingKey::from_ed_pem(&std::fs::read(key_file(file))?)?);
    let secret = |file: &str| anyhow::Ok(EncodingKey::from_secret(&std::fs::read(key_file(file))?)?);
    let (algorithm, key) = match key {
        SigningKey::Ed => (Algorithm::EdDSA, ed("eddsa_private.pem")?),
        SigningKey::OtherEd => (Algorithm::EdDSA, ed("eddsa_other_private.pem")?),
        SigningKey::Secret => (Algorithm::HS256, secret("hs256.secret")?),
        SigningKey::PublicKey => (Algorithm::HS256, secret("rs256_public.pem")?),
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(kid.to_owned());
    Ok(encode(&header, claims, &key)?)
}

/// A valid token of a user with this role.
pub(crate) fn token(user: &str, role: &str) -> Result<String> {
    sign(SigningKey::Ed, "ed", &claims(user, role))
}

fn encoded(document: &Json) -> String {
    URL_SAFE_NO_PAD.encode(document.to_string())
}

/// Tokens of an administrator, each of which has one thing that is wrong.
pub(crate) fn refused_tokens() -> Result<Vec<RefusedToken>> {
    let (valid, now) = (claims("root", "admin"), now_secs());
    let change = |name: &str, value: Json| {
        let mut claims = valid.clone();
        claims[name] = value;
        claims
    };
    let own = |claims: &Json| sign(SigningKey::Ed, "ed", claims);
    let signed = own(&valid)?;
    let parts: Vec<&str> = signed.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let unsigned = encoded(&json!({ "alg": "none", "typ": "JWT", "kid": "ed" }));
    let tampered = encoded(&change("sub", "another".into()));
    let all = [
        ("an expired token", "expired", own(&change("exp", (now - HOUR_SECS).into()))?),
        ("a token that is not valid yet", "not_yet_valid", own(&change("nbf", (now + HOUR_SECS).into()))?),
        ("a token for another service", "audience", own(&change("aud", "another_service".into()))?),
        ("a token of another issuer", "issuer", own(&change("iss", "https://evil.example".into()))?),
        ("a token of another key", "signature", sign(SigningKey::OtherEd, "ed", &valid)?),
        ("a token of a key that the issuer does not have", "unknown_key", sign(SigningKey::OtherEd, "other", &valid)?),
        (
            "a token that is signed with a public key as a secret",
            "signature",
            sign(SigningKey::PublicKey, "rsa", &valid)?,
        ),
        ("a token of another secret", "signature", sign(SigningKey::PublicKey, "secret", &valid)?),
        ("a token whose key is for another algorithm", "signature", sign(SigningKey::Secret, "ed", &valid)?),
        ("an unsigned token", "form", format!("{unsigned}.{payload}.")),
        ("an unsigned token with a signature", "form", format!("{unsigned}.{payload}.{signature}")),
        ("a token without its signature", "signature", format!("{header}.{payload}.")),
        ("a token with other claims", "signature", format!("{header}.{tampered}.{signature}")),
    ];
    Ok(all.into_iter().map(|(name, reason, text)| RefusedToken { name, reason, text }).collect())
}
