//! Tokens: each algorithm with a fixed key, tokens that must be refused, and keys that an issuer replaces.

mod published;
mod refused;

use greenroom_protocol::{Timestamp, UserId};
use serde_json::{Value, json};

use super::claims::Refusal;
use super::test_keys::{AUDIENCE, ISS, NOW_SECS, SignedWith, claims, issuer_config, sign};
use super::{JwtIssuer, UnverifiedToken, Verified};
use crate::config::TokenAlgorithm;

const NOW: Timestamp = Timestamp::from_micros(NOW_SECS * 1_000_000);

/// Verifies a token as the identity provider does.
async fn verify(issuer: &JwtIssuer, token: &str, now: Timestamp) -> Result<Verified, Refusal> {
    let token = UnverifiedToken::read(token)?;
    if !issuer.is_named_by(&token) {
        return Err(Refusal::Issuer);
    }
    issuer.verify(&token, now).await.unwrap()
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[tokio::test]
async fn each_algorithm_verifies_what_its_key_has_signed() {
    for algorithm in [TokenAlgorithm::Hs256, TokenAlgorithm::Rs256, TokenAlgorithm::Es256, TokenAlgorithm::EdDsa] {
        let issuer = JwtIssuer::open(&issuer_config(&[(Some("a"), algorithm)]), None).unwrap();
        let token = sign(SignedWith::own(algorithm), Some("a"), &claims());
        let verified = verify(&issuer, &token, NOW).await.unwrap();
        assert_eq!(verified.subject.id.to_string(), "login/acme/alice", "{algorithm}");
        assert!(verified.is_new);
        assert!(!verify(&issuer, &token, NOW).await.unwrap().is_new, "{algorithm}: it is remembered");
        // Without a name of a key, every key of the issuer is tried.
        let nameless = sign(SignedWith::own(algorithm), None, &claims());
        assert!(verify(&issuer, &nameless, NOW).await.is_ok(), "{algorithm}");
    }
}

#[tokio::test]
async fn a_key_is_chosen_by_its_name_among_those_of_several_algorithms() {
    let all = [(Some("h"), TokenAlgorithm::Hs256), (Some("r"), TokenAlgorithm::Rs256), (None, TokenAlgorithm::EdDsa)];
    let issuer = JwtIssuer::open(&issuer_config(&all), None).unwrap();
    for (algorithm, kid) in
        [(TokenAlgorithm::Hs256, "h"), (TokenAlgorithm::Rs256, "r"), (TokenAlgorithm::EdDsa, "whatever")]
    {
        let token = sign(SignedWith::own(algorithm), Some(kid), &claims());
        assert!(verify(&issuer, &token, NOW).await.is_ok(), "{kid}");
    }
}

#[tokio::test]
async fn claims_become_rights_by_the_names_and_the_bounds_of_the_table() {
    let mut config = issuer_config(&[(None, TokenAlgorithm::EdDsa)]);
    config.tenant = None;
    config.claims.tenant = Some("https://example.com/org".into());
    config.claims.roles = "realm.roles".into();
    config.tenants = vec!["acme".parse().unwrap(), "globex".parse().unwrap()];
    let issuer = JwtIssuer::open(&config, None).unwrap();
    let claimed = json!({
        "iss": ISS, "aud": ["other", AUDIENCE], "exp": NOW_SECS + 60, "iat": NOW_SECS - 1, "sub": "bob@example.com",
        "https://example.com/org": "globex", "realm": { "roles": ["agent_operator", "admin", 7, "unknown"] },
        "allowed_categories": "business_ops data_analytics", "pii_access": true,
    });
    let token = sign(SignedWith::own(TokenAlgorithm::EdDsa), None, &claimed);
    let subject = verify(&issuer, &token, NOW).await.unwrap().subject;
    assert_eq!(subject.id.tenant.as_str(), "globex");
    assert!(subject.id.user.as_str().starts_with("sub_"), "an address is no id: {}", subject.id.user);
    assert_eq!(subject.rights.roles, ["agent_operator"], "an issuer makes no administrators, unless its table says so");
    assert_eq!(subject.rights.allowed_categories, ["business_ops", "data_analytics"]);
    assert!(subject.rights.pii_access && subject.rights.issued_at == NOW_SECS - 1);
    for tenant in [json!("default"), json!(7), Value::Null] {
        let other = with(claimed.clone(), "https://example.com/org", tenant.clone());
        let token = sign(SignedWith::own(TokenAlgorithm::EdDsa), None, &other);
        assert_eq!(verify(&issuer, &token, NOW).await.err(), Some(Refusal::Tenant), "{tenant}");
    }
}

#[tokio::test]
async fn no_name_in_a_token_is_the_id_of_another_user() {
    let issuer = JwtIssuer::open(&issuer_config(&[(None, TokenAlgorithm::EdDsa)]), None).unwrap();
    let id = async |name: &str| {
        let token = sign(SignedWith::own(TokenAlgorithm::EdDsa), None, &with(claims(), "sub", name.into()));
        verify(&issuer, &token, NOW).await.unwrap().subject.id.user
    };
    let derived = id("auth0|17").await;
    assert_eq!(id("auth0|17").await, derived);
    assert_ne!(id(derived.as_str()).await, derived, "a user who is called like a derived id");
    assert_eq!(id("carol").await, UserId::new("carol").unwrap());
}

#[tokio::test]
async fn a_token_is_refused_when_it_ends_also_if_it_is_remembered() {
    let issuer = JwtIssuer::open(&issuer_config(&[(None, TokenAlgorithm::EdDsa)]), None).unwrap();
    let token = sign(SignedWith::own(TokenAlgorithm::EdDsa), None, &claims());
    let at = |seconds: i64| Timestamp::from_micros((NOW_SECS + seconds) * 1_000_000);
    // The claims end after a minute, and the clock of the issuer may differ by half a minute.
    assert!(verify(&issuer, &token, NOW).await.is_ok());
    assert!(verify(&issuer, &token, at(89)).await.is_ok());
    assert_eq!(verify(&issuer, &token, at(90)).await.err(), Some(Refusal::Expired));
}
