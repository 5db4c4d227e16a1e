//! Who may use what: one row for each route of the served OpenAPI document, each subject of the service over NATS and each
//! command of the command line, as an anonymous caller, with credentials that are not valid, from another tenant and
//! without a role. What is added without a row fails a test.

mod commands;
mod routes;
mod subjects;

use anyhow::Result;

use crate::issuer::refused_tokens;

/// What follows `Authorization: ` of a caller who is refused as unauthenticated, each with its name. The pods accept the
/// tokens of the issuer of the tests, so that each of these is refused for what is wrong with it.
fn invalid_credentials() -> Result<Vec<(&'static str, String)>> {
    let texts = [
        ("a wrong key", "ApiKey wrong"),
        ("a key that was never created", "ApiKey grk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA2bb2ca"),
        ("a bearer token that is none", "Bearer wrong"),
        ("another scheme", "Basic YWRtaW46YWRtaW4="),
        ("a delegation", "Delegation planted"),
    ];
    let texts = texts.map(|(name, text)| (name, text.to_owned()));
    let tokens = refused_tokens()?.into_iter().map(|token| (token.name, format!("Bearer {}", token.text)));
    Ok(texts.into_iter().chain(tokens).collect())
}
