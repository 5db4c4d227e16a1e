//! Tokens that must be refused, each with its reason.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{NOW, verify, with};
use crate::config::{IssuerKeyConfig, TokenAlgorithm};
use crate::identity::jwt::JwtIssuer;
use crate::identity::jwt::claims::Refusal;
use crate::identity::jwt::test_keys::{AUDIENCE, NOW_SECS, SignedWith, claims, issuer_config, path, read, sign};

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn encoded(document: &Value) -> String {
    URL_SAFE_NO_PAD.encode(document.to_string())
}

/// A token without a signature, as `alg: none` has it.
fn unsigned(algorithm: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", encoded(&json!({ "alg": algorithm, "typ": "JWT" })), encoded(&claims()))
}

/// The token with another payload under its signature.
fn tampered(token: &str, claims: &Value) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    format!("{}.{}.{}", parts[0], encoded(claims), parts[2])
}

#[tokio::test]
async fn a_token_is_refused_for_the_reason_that_it_has() {
    let ed = || SignedWith::own(TokenAlgorithm::EdDsa);
    let issuer = JwtIssuer::open(&issuer_config(&[(Some("a"), TokenAlgorithm::EdDsa)]), None).unwrap();
    let signed = |claims: Value| sign(ed(), Some("a"), &claims);
    let change = |name: &str, value: Value| signed(with(claims(), name, value));
    let valid = signed(claims());
    let with_header = |header: Value| format!("{}.{}", encoded(&header), valid.split_once('.').unwrap().1);
    for (name, token, refusal) in [
        ("expired", change("exp", json!(NOW_SECS - 30)), Refusal::Expired),
        ("not valid yet", change("nbf", json!(NOW_SECS + 31)), Refusal::NotYetValid),
        ("without an end", signed(without(claims(), "exp")), Refusal::Form),
        ("an end that is no number", change("exp", json!("tomorrow")), Refusal::Form),
        ("another audience", change("aud", json!("billing")), Refusal::Audience),
        ("no audience", signed(without(claims(), "aud")), Refusal::Form),
        ("another issuer", change("iss", json!("https://evil.example")), Refusal::Issuer),
        ("no issuer", signed(without(claims(), "iss")), Refusal::Issuer),
        ("no user", signed(without(claims(), "sub")), Refusal::Form),
        ("an empty user", change("sub", json!("")), Refusal::Form),
        ("another key", sign(SignedWith::other(), Some("a"), &claims()), Refusal::Signature),
        ("an unknown key", sign(ed(), Some("b"), &claims()), Refusal::UnknownKey),
        ("other claims", tampered(&valid, &with(claims(), "sub", json!("root"))), Refusal::Signature),
        ("unsigned", unsigned("none", ""), Refusal::Form),
        ("unsigned in capitals", unsigned("None", ""), Refusal::Form),
        (
            "an extension that its reader must know",
            with_header(json!({ "alg": "EdDSA", "kid": "a", "crit": ["b64"], "b64": false })),
            Refusal::Form,
        ),
        ("too large", change("note", json!("x".repeat(20_000))), Refusal::TooLarge),
        ("one part", "abc".to_owned(), Refusal::Form),
        ("four parts", format!("{valid}.x"), Refusal::Form),
        ("nothing", "..".to_owned(), Refusal::Form),
    ] {
        assert_eq!(verify(&issuer, &token, NOW).await.err(), Some(refusal), "{name}");
    }
    // What is within the skew is accepted, and so is one of several audiences.
    for token in [
        change("exp", json!(NOW_SECS - 29)),
        change("nbf", json!(NOW_SECS + 30)),
        change("exp", json!(NOW_SECS as f64 + 0.5)),
        change("aud", json!(["billing", AUDIENCE])),
    ] {
        assert!(verify(&issuer, &token, NOW).await.is_ok());
    }
}

#[tokio::test]
async fn a_public_key_is_never_used_as_a_secret() {
    // The classic confusion: the attacker signs with HS256, and the public key of RS256 as the secret.
    let issuer = JwtIssuer::open(&issuer_config(&[(Some("a"), TokenAlgorithm::Rs256)]), None).unwrap();
    for kid in [Some("a"), None] {
        let confused = sign(SignedWith::secret(&read("rs256_public.pem")), kid, &claims());
        assert!(verify(&issuer, &confused, NOW).await.is_err(), "{kid:?}");
        assert!(verify(&issuer, &sign(SignedWith::own(TokenAlgorithm::EdDsa), kid, &claims()), NOW).await.is_err());
    }
    assert!(verify(&issuer, &sign(SignedWith::own(TokenAlgorithm::Rs256), Some("a"), &claims()), NOW).await.is_ok());
}

#[test]
fn a_key_that_is_none_for_its_algorithm_refuses_the_start_without_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("short.secret");
    std::fs::write(&short, "hunter2").unwrap();
    for (algorithm, file) in [
        (TokenAlgorithm::Hs256, short),
        (TokenAlgorithm::Hs256, path("rs256_public.pem")),
        (TokenAlgorithm::Rs256, path("eddsa_public.pem")),
        (TokenAlgorithm::EdDsa, path("hs256.secret")),
        (TokenAlgorithm::Es256, dir.path().join("absent.pem")),
    ] {
        let mut config = issuer_config(&[]);
        config.keys = vec![IssuerKeyConfig { kid: None, algorithm, file: file.clone() }];
        let cause = JwtIssuer::open(&config, None).err().unwrap();
        assert!(cause.message.contains(&file.display().to_string()), "{cause}");
        assert!(!cause.message.contains("hunter2") && !cause.message.contains("MCowBQ"), "{cause}");
    }
}
