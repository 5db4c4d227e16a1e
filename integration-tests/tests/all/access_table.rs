//! Who may use what: one row for each route of the served OpenAPI document, each subject of the service over NATS and each
//! command of the command line, as an anonymous caller, with credentials that are not valid, from another tenant and
//! without a role. What is added without a row fails a test.

mod commands;
mod routes;
mod subjects;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::Json;
use serde_json::json;

/// What follows `Authorization: ` of a caller who is refused as unauthenticated, each with its name.
fn invalid_credentials() -> Vec<(&'static str, String)> {
    let claims = json!({ "iss": "greenroom", "sub": "admin", "tenant": "default", "roles": ["admin"] });
    let timed = |expires_at: u64| {
        let mut claims = claims.clone();
        claims["exp"] = expires_at.into();
        claims
    };
    let (past, future) = (timed(1_000_000_000), timed(32_503_680_000));
    vec![
        ("a wrong key", "ApiKey wrong".to_owned()),
        ("a bearer token that is none", "Bearer wrong".to_owned()),
        ("another scheme", "Basic YWRtaW46YWRtaW4=".to_owned()),
        ("a delegation", "Delegation planted".to_owned()),
        ("an unsigned token", format!("Bearer {}", token("none", &future, ""))),
        ("a token without its signature", format!("Bearer {}", token("HS256", &future, ""))),
        ("a token of another key", format!("Bearer {}", token("HS256", &future, "c2lnbmF0dXJl"))),
        ("a token of another algorithm", format!("Bearer {}", token("EdDSA", &future, "c2lnbmF0dXJl"))),
        ("an expired token", format!("Bearer {}", token("HS256", &past, "c2lnbmF0dXJl"))),
        ("a token for others", format!("Bearer {}", token("HS256", &for_others(&future), "c2lnbmF0dXJl"))),
    ]
}

fn for_others(claims: &Json) -> Json {
    let mut claims = claims.clone();
    claims["aud"] = "another_service".into();
    claims
}

/// A JSON Web Token with this signature, which no key has made.
fn token(algorithm: &str, claims: &Json, signature: &str) -> String {
    let part = |content: &Json| URL_SAFE_NO_PAD.encode(content.to_string());
    let head = json!({ "alg": algorithm, "typ": "JWT" });
    format!("{}.{}.{signature}", part(&head), part(claims))
}
