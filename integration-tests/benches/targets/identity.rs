//! Measures the check of a credential as the pipeline requests it: an API key and a token that this pod has verified
//! before, and tokens of EdDSA that it has not. The look-up of a revocation is a part of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Latencies, Threshold, record, scaled};
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, test_config};
use greenroom_protocol::request::{KeyScope, Maintenance, NewKey};
use greenroom_protocol::{Clock, Credential, PodId, UserId};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::{StoreParts, in_memory_artifacts, open_in_memory};
use greenroom_rego::IdentityProvider;
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::identity::provider::Identities;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

/// Checks of credentials that were verified before, and of tokens that were not.
const CACHED: u64 = 50_000;
const UNCACHED: u64 = 2_000;
const ISS: &str = "https://login.example";

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let mut config = test_config(folder.path(), StoreKind::Memory, None)?;
        let key = keys().join("eddsa_public.pem");
        config.issuers = vec![serde_json::from_value(json!({
            "name": "login", "iss": ISS, "audience": ["greenroom"], "tenant": "default",
            "keys": [{ "kid": "a", "algorithm": "EdDSA", "file": key }],
        }))?];
        let parts = StoreParts {
            clock: Arc::new(WallClock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: in_memory_artifacts(),
            pod: PodId::new("bench")?,
        };
        let stores = open_in_memory(parts).stores;
        let identities = Arc::new(Identities::from_config(&config, &stores)?);
        // The caller is a task of the runtime, as every stage of the pipeline is.
        let uncached = tokio::spawn(check_each(Arc::clone(&identities), tokens(scaled(UNCACHED))?)).await??;
        let cached = tokio::spawn(check_each(identities, repeated(tokens(1)?, scaled(CACHED)))).await??;
        let (name, target) = ("check of a token of EdDSA", Threshold::AtMost(100.0));
        record("identity", format!("{name}, not verified before, p50"), uncached.micros(0.5), "µs", target)?;
        record("identity", format!("{name}, verified before, p50"), cached.micros(0.5), "µs", Threshold::AtMost(5.0))?;
        record(
            "identity",
            format!("{name}, verified before, p99"),
            cached.micros(0.99),
            "µs",
            Threshold::Informational,
        )?;
        Box::pin(check_keys()).await
    })
}

/// Measures the check of a key, by the configuration and the stores of a pod that has created it.
async fn check_keys() -> anyhow::Result<()> {
    let test_pod = start_pod(StoreKind::Memory, None, Overrides::default()).await?;
    let pod = &test_pod.pod;
    let expires_at = WallClock.now().saturating_add(Duration::from_secs(3_600));
    let (owner, name, scope) = (UserId::new("operator")?, String::new(), KeyScope::default());
    let create = Maintenance::CreateKey(NewKey { owner, name, scope, expires_at });
    let reply = pod.client(&UserId::new("admin")?).maintain(create).await?;
    let report = reply.outputs.get("report").with_context(|| format!("{reply:?}"))?;
    let key = report.get("api_key").and_then(serde_json::Value::as_str).context("a key")?.to_owned();
    let identities = Arc::new(Identities::from_config(pod.config(), pod.stores())?);
    let times = tokio::spawn(check_each(identities, repeated(vec![key], scaled(CACHED)))).await??;
    record("identity", "check of an API key, p50", times.micros(0.5), "µs", Threshold::AtMost(5.0))?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Checks each credential, one after the other.
async fn check_each(identities: Arc<Identities>, secrets: Vec<String>) -> anyhow::Result<Latencies> {
    let mut times = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let credential = Credential::Bearer(secret);
        let started = Instant::now();
        let principal = identities.verify_credential(&credential, WallClock.now()).await?;
        times.push(started.elapsed());
        ensure!(principal.is_some(), "a credential was refused");
    }
    Ok(times.into_iter().collect())
}

fn repeated(secrets: Vec<String>, count: u64) -> Vec<String> {
    secrets.into_iter().cycle().take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

/// Tokens of one user, each with a number of its own.
fn tokens(count: u64) -> anyhow::Result<Vec<String>> {
    let pem = std::fs::read(keys().join("eddsa_private.pem"))?;
    let key = EncodingKey::from_ed_pem(&pem)?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("a".to_owned());
    let now = WallClock.now().as_micros() / 1_000_000;
    let claims = |number: u64| {
        json!({
            "iss": ISS, "aud": "greenroom", "sub": "alice", "exp": now + 3_600, "iat": now, "jti": number.to_string(),
            "roles": ["agent_operator"], "allowed_categories": ["business_ops", "data_analytics"],
        })
    };
    (0..count).map(|number| Ok(encode(&header, &claims(number), &key)?)).collect()
}

/// The folder with the keys of tests.
fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/tests/keys")
}
