//! A NATS server in operator mode: an operator signs for one account, the account signs for its users, and a user has a
//! credentials file. The tokens are those of NATS: JSON Web Tokens that are signed with NKeys.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::Json;
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;

/// When every token was issued, in seconds since 1970.
const ISSUED_AT: u64 = 1_700_000_000;
/// The version of the claims.
const VERSION: u64 = 2;
/// No limit.
const UNLIMITED: i64 = -1;

/// An operator with one account.
pub(super) struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

impl Operator {
    /// The operator with the keys that this number determines.
    pub(super) fn from_number(number: u8) -> Result<Self> {
        let operator = KeyPair::new_from_raw(KeyPairType::Operator, [number; 32])?;
        let account = KeyPair::new_from_raw(KeyPairType::Account, [number.wrapping_add(1); 32])?;
        Ok(Self { operator, account })
    }

    /// The configuration of a server that trusts this operator and has its account.
    pub(super) fn server_configuration(&self) -> Result<String> {
        let own = token(&self.operator, &self.operator, "operator", json!({ "type": "operator", "version": VERSION }))?;
        let limits = json!({
            "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED, "imports": UNLIMITED, "exports": UNLIMITED,
            "wildcards": true, "conn": UNLIMITED, "leaf": UNLIMITED,
        });
        let claims = json!({ "type": "account", "version": VERSION, "limits": limits });
        let account = token(&self.operator, &self.account, "account", claims)?;
        let key = self.account.public_key();
        Ok(format!("operator: \"{own}\"\nresolver: MEMORY\nresolver_preload: {{ {key}: \"{account}\" }}\n"))
    }

    /// The credentials file of a user of the account.
    pub(super) fn credentials(&self) -> Result<String> {
        let user = user_key(7)?;
        let claims = json!({
            "type": "user", "version": VERSION, "pub": {}, "sub": {},
            "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED,
        });
        let token = token(&self.account, &user, "user", claims)?;
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()?
        ))
    }
}

/// The NKey of a user, which this number determines.
pub(super) fn user_key(number: u8) -> Result<KeyPair> {
    Ok(KeyPair::new_from_raw(KeyPairType::User, [number; 32])?)
}

/// A token by which the issuer signs what it states of the subject.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: Json) -> Result<String> {
    let header = json!({ "alg": "ed25519-nkey", "typ": "JWT" });
    let body = json!({
        "jti": name, "iat": ISSUED_AT, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(),
        "nats": claims,
    });
    let part = |document: &Json| URL_SAFE_NO_PAD.encode(document.to_string());
    let signed = format!("{}.{}", part(&header), part(&body));
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
