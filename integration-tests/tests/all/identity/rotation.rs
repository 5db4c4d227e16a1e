//! An issuer that publishes its keys and replaces them: its tokens over HTTP, with a server that a test scripts.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, HttpPod};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use serde_json::json;
use tempfile::TempDir;

use super::fixture::WAIT_MAX;
use crate::http::definitions;
use crate::issuer::{self, SigningKey, claims, sign};
use crate::metrics::value_of;

/// The public keys of [`SigningKey::Ed`] and [`SigningKey::OtherEd`], as an issuer publishes them.
const ED_X: &str = "JZ1JMuRzB_AYjptR5VcF1pGs9hI9iwdWmsu8vAofMlk";
const OTHER_ED_X: &str = "vrGx5kmcAVweYOpQj3FhJpvscWcdv-gh48v8P58xsPE";

/// An issuer that publishes the keys which a test sets, or fails.
struct KeyServer {
    server: ModelServer,
    keys: Arc<Mutex<Option<Json>>>,
}

impl KeyServer {
    async fn start() -> Result<Self> {
        let keys = Arc::new(Mutex::new(None));
        let published = Arc::clone(&keys);
        let server = ModelServer::start(move |_| {
            let keys: Option<Json> = published.lock().unwrap_or_else(PoisonError::into_inner).clone();
            vec![Step::Send(match keys {
                Some(keys) => response("200 OK", "", &keys.to_string()),
                None => response("500 Internal Server Error", "", "{}"),
            })]
        });
        Ok(Self { server: server.await?, keys })
    }

    /// Publishes this key and no other.
    fn publish(&self, kid: &str, x: &str) {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x });
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(json!({ "keys": [key] }));
    }

    /// A pod that fetches the keys of the issuer.
    async fn pod(&self) -> Result<(HttpPod, TempDir)> {
        let (definitions, folder) = definitions()?;
        let mut issuers = issuer::config("acme")?;
        for issuer in &mut issuers {
            issuer.keys.clear();
            issuer.jwks_url = Some(format!("{}/keys", self.server.url()));
        }
        Ok((HttpPod::start_with(Some(definitions.dir()), |config| config.issuers = issuers).await?, folder))
    }
}

/// The status of a request with this token.
async fn status(pod: &HttpPod, token: &str) -> Result<u16> {
    let header = format!("Authorization: Bearer {token}");
    Ok(pod.send("GET /v1/agents", None, &[&header], "").await?.status)
}

fn fetches(pod: &HttpPod, result: &str) -> Result<f64> {
    let metric = format!("identity_key_fetches{{result=\"{result}\"}}");
    value_of(&pod.pod.metrics().render(), &metric).with_context(|| format!("no {metric}"))
}

#[tokio::test]
async fn a_new_key_of_an_issuer_is_accepted_and_a_withdrawn_one_is_not() -> Result<()> {
    let issuer = KeyServer::start().await?;
    issuer.publish("2025", ED_X);
    let (pod, _definitions) = issuer.pod().await?;
    let old = sign(SigningKey::Ed, "2025", &claims("alice", "admin"))?;
    let new = sign(SigningKey::OtherEd, "2026", &claims("alice", "admin"))?;
    assert_eq!(issuer.server.count(), 0, "nothing is fetched before the first token");
    for _ in 0..2 {
        assert_eq!(status(&pod, &old).await?, 200);
    }
    assert_eq!(status(&pod, &new).await?, 401, "the issuer does not have this key yet");
    issuer.publish("2026", OTHER_ED_X);
    // A token that names an unknown key has the keys fetched again, but not more often than every ten seconds.
    let is_accepted = || async { status(&pod, &new).await.is_ok_and(|status| status == 200).then_some(()) };
    wait_until("the new key is accepted", WAIT_MAX, is_accepted).await?;
    assert_eq!(status(&pod, &old).await?, 401, "the issuer does not have this key any more");
    assert_eq!((issuer.server.count(), fetches(&pod, "success")?), (2, 2.0));
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_is_away_is_a_failure_that_may_pass_and_no_refusal() -> Result<()> {
    let issuer = KeyServer::start().await?;
    let (pod, _definitions) = issuer.pod().await?;
    let token = sign(SigningKey::Ed, "2025", &claims("alice", "admin"))?;
    let header = format!("Authorization: Bearer {token}");
    let failed = pod.send("GET /v1/agents", None, &[&header], "").await?;
    assert_eq!((failed.status, &failed.json()?["code"]), (503, &"store_unavailable".into()), "{failed:?}");
    assert_eq!(pod.send("GET /v1/agents", Some(ADMIN_KEY), &[], "").await?.status, 200, "keys do not need the issuer");
    assert_eq!((fetches(&pod, "success")?, fetches(&pod, "failed")?), (0.0, 1.0));
    Ok(())
}
