//! The keys that an issuer publishes: fetched once, again for an unknown key, and not more often than the bound allows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol::ErrorCode;
use serde_json::{Value, json};

use super::{NOW, verify};
use crate::config::TokenAlgorithm;
use crate::identity::jwt::claims::Refusal;
use crate::identity::jwt::fetch::FetchKeys;
use crate::identity::jwt::key_set::{FETCH_INTERVAL, KEYS_AGE_MAX, REFRESH_AGE};
use crate::identity::jwt::signature::{Jwk, VerifyingKey};
use crate::identity::jwt::test_keys::{SignedWith, claims, issuer_config, sign};
use crate::identity::jwt::{JwtIssuer, UnverifiedToken};

/// The public keys of the tests, as an issuer publishes them.
const ED_X: &str = "JZ1JMuRzB_AYjptR5VcF1pGs9hI9iwdWmsu8vAofMlk";
const OTHER_X: &str = "vrGx5kmcAVweYOpQj3FhJpvscWcdv-gh48v8P58xsPE";
const EC_X: &str = "bmWfufqQw9JXXl0c2_Oby6FVnmEuLN-3dLPSHJwph0Q";
const EC_Y: &str = "ItZiT4xZLEAOz9bqVPXIumWdbIMqnsjpdxfAm14hFlw";
const RSA_N: &str = "3q8LQsO0nnjeGPPSJpNuriWKRmjpqznq5wO6i8Kkcbs0SnD7Oq72Irkm5wNM7WX77V59ZPnu4Htc1WCDGBjUPqU1__vdLwNpN3xOcoYWQsc2AbR7PENvyNshrGkiOh0Mzb69EWzVnJO-YefnG5rgp0QA0wi5it6lk0P1187rJLzGhnZPZEs2PZsvzMvlVilYP2-tKR65RLzDg2PrO23VVW4kNrBWpktpY-EujJHpezfpfz4zY1IC1vnQMDaPt8DIcAKu6DtDAORu--_hGSfOwZTNJovXMhGEkgiDTQ8MMeb6n5NEccDPQch8VFwMPVvoKdo8VomPT-gjq4gi5b3aYw";

fn ed(kid: &str, x: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "use": "sig" })
}

fn jwk(document: Value) -> Jwk {
    serde_json::from_value(document).unwrap()
}

/// Publishes what a test sets; `None` is a server that is away.
#[derive(Clone, Default)]
struct Scripted {
    keys: Arc<Mutex<Option<Vec<Value>>>>,
    fetches: Arc<AtomicUsize>,
}

impl Scripted {
    fn publish(&self, keys: &[Value]) {
        *self.keys.lock().unwrap() = Some(keys.to_vec());
    }

    fn disconnect(&self) {
        *self.keys.lock().unwrap() = None;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn issuer(&self) -> JwtIssuer {
        JwtIssuer::open(&issuer_config(&[]), Some(Box::new(self.clone()))).unwrap()
    }
}

#[async_trait]
impl FetchKeys for Scripted {
    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let keys = self.keys.lock().unwrap().clone().ok_or("the server is away")?;
        Ok(keys.into_iter().map(jwk).collect())
    }
}

fn own(kid: &str) -> String {
    sign(SignedWith::own(TokenAlgorithm::EdDsa), Some(kid), &claims())
}

fn other(kid: &str) -> String {
    sign(SignedWith::other(), Some(kid), &claims())
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_an_unknown_key_within_the_bound() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X)]);
    let issuer = server.issuer();
    assert_eq!(server.fetches(), 0, "nothing is fetched before the first token");
    assert!(verify(&issuer, &own("2025"), NOW).await.is_ok());
    server.publish(&[ed("2025", ED_X), ed("2026", OTHER_X)]);
    // The keys were fetched less than the interval before, so a flood of unknown keys fetches nothing.
    for number in 0..100 {
        let refusal = verify(&issuer, &other(&format!("unknown_{number}")), NOW).await.err();
        assert_eq!(refusal, Some(Refusal::UnknownKey));
    }
    assert_eq!(server.fetches(), 1);
    assert!(verify(&issuer, &own("2025"), NOW).await.is_ok());
}

#[tokio::test]
async fn a_new_key_is_found_by_the_first_token_that_names_it() {
    let server = Scripted::default();
    server.publish(&[ed("2026", OTHER_X)]);
    let issuer = server.issuer();
    assert!(verify(&issuer, &other("2026"), NOW).await.is_ok());
    assert_eq!(verify(&issuer, &own("2026"), NOW).await.err(), Some(Refusal::Signature), "a key of another name");
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn a_withdrawn_key_ends_the_tokens_that_it_has_signed_also_those_that_are_remembered() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X)]);
    let issuer = server.issuer();
    let token = own("2025");
    assert!(verify(&issuer, &token, NOW).await.unwrap().is_new);
    assert!(!verify(&issuer, &token, NOW).await.unwrap().is_new);
    server.publish(&[ed("2026", OTHER_X)]);
    issuer.keys.advance(FETCH_INTERVAL);
    assert!(!verify(&issuer, &token, NOW).await.unwrap().is_new, "nothing has fetched the keys again");
    assert!(verify(&issuer, &other("2026"), NOW).await.is_ok());
    assert_eq!(verify(&issuer, &token, NOW).await.err(), Some(Refusal::UnknownKey));
    assert_eq!(server.fetches(), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_when_they_are_old_also_for_a_remembered_token() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X)]);
    let issuer = server.issuer();
    let token = own("2025");
    assert!(verify(&issuer, &token, NOW).await.is_ok());
    issuer.keys.advance(REFRESH_AGE);
    assert!(verify(&issuer, &token, NOW).await.unwrap().is_new);
    assert_eq!(server.fetches(), 2);
    assert!(!verify(&issuer, &token, NOW).await.unwrap().is_new, "the new keys have verified it");
    issuer.keys.advance(REFRESH_AGE);
    server.publish(&[]);
    assert_eq!(verify(&issuer, &token, NOW).await.err(), Some(Refusal::UnknownKey));
}

#[tokio::test]
async fn known_keys_are_used_for_a_day_while_the_issuer_is_away() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X)]);
    let issuer = server.issuer();
    let text = own("2025");
    assert!(verify(&issuer, &text, NOW).await.is_ok());
    server.disconnect();
    issuer.keys.advance(REFRESH_AGE);
    assert!(verify(&issuer, &text, NOW).await.is_ok());
    issuer.keys.advance(KEYS_AGE_MAX);
    let token = UnverifiedToken::read(&text).unwrap();
    assert_eq!(issuer.verify(&token, NOW).await.err().unwrap().code, ErrorCode::StoreUnavailable);
}

#[tokio::test]
async fn many_tokens_at_once_cause_one_fetch() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X)]);
    let issuer = server.issuer();
    let token = own("2025");
    let verified = futures::future::join_all((0..50).map(|_| verify(&issuer, &token, NOW))).await;
    assert!(verified.iter().all(Result::is_ok));
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn without_any_key_the_failure_is_retryable_and_no_refusal() {
    let server = Scripted::default();
    let issuer = server.issuer();
    let text = own("2025");
    let token = UnverifiedToken::read(&text).unwrap();
    let cause = issuer.verify(&token, NOW).await.err().unwrap();
    assert_eq!(cause.code, ErrorCode::StoreUnavailable);
    assert!(cause.code.is_retryable() && cause.message.contains("login"), "{cause}");
    assert!(issuer.verify(&token, NOW).await.is_err());
    assert_eq!(server.fetches(), 1, "one request in the interval");
}

#[test]
fn only_keys_that_sign_tokens_with_a_supported_algorithm_are_used() {
    let rsa = json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB" });
    let with = |mut key: Value, name: &str, value: &str| {
        key[name] = value.into();
        key
    };
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y });
    for usable in [rsa.clone(), with(rsa.clone(), "alg", "RS256"), ec.clone(), ed("a", ED_X)] {
        assert!(VerifyingKey::from_jwk(&jwk(usable.clone())).is_some(), "{usable}");
    }
    for other in [
        with(rsa.clone(), "alg", "RS512"),
        with(rsa.clone(), "use", "enc"),
        with(rsa, "n", &RSA_N[..100]),
        with(ec, "crv", "P-521"),
        // A secret that everyone can read is none.
        json!({ "kty": "oct", "k": "YSBzZWNyZXQgb2YgYXQgbGVhc3QgdGhpcnR5LXR3byBieXRlcw", "alg": "HS256" }),
        with(ed("a", ED_X), "crv", "X25519"),
    ] {
        assert!(VerifyingKey::from_jwk(&jwk(other.clone())).is_none(), "{other}");
    }
}

#[tokio::test]
async fn two_published_keys_of_one_name_are_both_ignored() {
    let server = Scripted::default();
    server.publish(&[ed("2025", ED_X), ed("2025", OTHER_X)]);
    assert_eq!(verify(&server.issuer(), &own("2025"), NOW).await.err(), Some(Refusal::UnknownKey));
}
