//! The identity provider over a store: keys and tokens, what another pod sees, and what a revocation ends.

use greenroom_protocol::request::{KeyScope, NewKey};
use greenroom_protocol::{Clock, Json, PodId, TenantId};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::{StoreParts, in_memory_artifacts, open_in_memory};
use serde_json::{Value, json};

use super::*;
use crate::clock::WallClock;
use crate::config::{TokenAlgorithm, UserDirectory};
use crate::identity::jwt::test_keys::{SignedWith, claims, issuer_config, sign};
use crate::identity::manage::KeyOps;
use crate::telemetry::Metrics;

const USERS: &str = r#"
[[users]]
name = "alice"
tenant = "acme"
roles = ["admin"]
permissions = { pii_access = true }

[[users]]
name = "root"
roles = ["admin"]

[[users]]
name = "mallory"
tenant = "globex"
roles = ["admin"]
"#;

/// A pod: its provider and what manages its keys.
struct TestPod {
    identities: Identities,
    key_ops: KeyOps,
    metrics: Metrics,
}

fn stores() -> Stores {
    let (signer, artifacts) = (Signer::ephemeral([7; 32]), in_memory_artifacts());
    let pod = PodId::new("pod_a").unwrap();
    open_in_memory(StoreParts { clock: Arc::new(WallClock), signer, artifacts, pod }).stores
}

impl TestPod {
    /// A pod that has just started over these stores.
    fn over(stores: &Stores) -> Self {
        Self::with_users(stores, USERS)
    }

    fn with_users(stores: &Stores, users: &str) -> Self {
        let users = Arc::new(ConfigIdentityProvider::new(toml::from_str::<UserDirectory>(users).unwrap()));
        let credentials = Arc::new(Credentials::new(Arc::clone(&stores.credentials)));
        let issuers = [issuer_config(&[(None, TokenAlgorithm::EdDsa)])];
        let metrics = Metrics::new().unwrap();
        let observer: Arc<dyn IdentityObserver> = metrics.identity().clone();
        let identities = Identities::open(Arc::clone(&users), Arc::clone(&credentials), &issuers, observer).unwrap();
        Self { identities, key_ops: KeyOps { users, credentials, clock: Arc::new(WallClock) }, metrics }
    }

    async fn verify(&self, secret: &str) -> Option<Principal> {
        let credential = Credential::Bearer(secret.to_owned());
        self.identities.verify_credential(&credential, WallClock.now()).await.unwrap()
    }

    async fn find(&self, id: &PrincipalId) -> Option<Principal> {
        self.identities.find_user(id, WallClock.now()).await.unwrap()
    }

    async fn create(&self, owner: &str, by: &PrincipalId) -> Result<Json, Cause> {
        let scope = KeyScope { roles: Some(vec!["agent_operator".into()]), ..KeyScope::default() };
        let expires_at = WallClock.now().saturating_add(Duration::from_secs(3_600));
        let owner = UserId::new(owner).unwrap();
        self.key_ops.create(NewKey { owner, name: "nightly".into(), scope, expires_at }, by).await
    }
}

fn user(tenant: &str, name: &str) -> PrincipalId {
    PrincipalId::local(TenantId::new(tenant).unwrap(), UserId::new(name).unwrap())
}

fn text(report: &Json, member: &str) -> String {
    report[member].as_str().unwrap().to_owned()
}

/// A token of a user that is valid now.
fn token(change: impl Fn(&mut Value)) -> String {
    let mut claims = claims();
    let now = WallClock.now().as_micros() / 1_000_000;
    (claims["iat"], claims["exp"]) = (json!(now), json!(now + 600));
    change(&mut claims);
    sign(SignedWith::own(TokenAlgorithm::EdDsa), None, &claims)
}

/// Waits until this is so, for at most the second in which every pod learns of a revocation.
async fn wait_until(is_so: impl AsyncFn() -> bool) {
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    let met = async {
        while !is_so().await {
            interval.tick().await;
        }
    };
    assert!(timeout(Duration::from_secs(1), met).await.is_ok(), "it is not so after a second");
}

#[tokio::test]
async fn a_key_acts_for_its_owner_on_every_pod_until_it_is_revoked() {
    let stores = stores();
    let (first, second) = (TestPod::over(&stores), TestPod::over(&stores));
    let alice = user("acme", "alice");
    let report = first.create("alice", &alice).await.unwrap();
    let (secret, id) = (text(&report, "api_key"), UserId::new(text(&report, "key")).unwrap());
    for pod in [&first, &second] {
        let principal = pod.verify(&secret).await.unwrap();
        assert_eq!(principal.id.to_string(), format!("key/acme/{id}"));
        assert!(principal.roles.contains("agent_operator") && !principal.roles.contains("admin"));
        assert_eq!(pod.find(&principal.id).await, Some(principal), "a run of the key goes through the next hop");
    }
    let listed = first.key_ops.list(&alice).await.unwrap().to_string();
    assert!(listed.contains(id.as_str()) && !listed.contains(&secret));
    first.key_ops.revoke(&id, &alice).await.unwrap();
    let principal = PrincipalId { issuer: "key".parse().unwrap(), tenant: alice.tenant.clone(), user: id };
    for pod in [&first, &second] {
        wait_until(async || pod.verify(&secret).await.is_none()).await;
        assert_eq!(pod.find(&principal).await, None, "a run of the key ends at its next hop");
    }
}

#[tokio::test]
async fn a_key_ends_with_its_owner_and_a_changed_key_is_none() {
    let stores = stores();
    let pod = TestPod::over(&stores);
    let secret = text(&pod.create("alice", &user("acme", "alice")).await.unwrap(), "api_key");
    let without_alice = TestPod::with_users(&stores, "[[users]]\nname = \"root\"\n");
    assert_eq!(without_alice.verify(&secret).await, None);
    let moved = TestPod::with_users(&stores, "[[users]]\nname = \"alice\"\ntenant = \"globex\"\n");
    assert_eq!(moved.verify(&secret).await, None, "the user of this name in another tenant is another one");
    let other = crate::identity::api_key::ApiKey::generate().unwrap();
    assert_eq!(pod.verify(other.reveal()).await, None);
}

#[tokio::test]
async fn tenants_manage_their_own_keys_and_the_pods_own_tenant_those_of_all() {
    let stores = stores();
    let pod = TestPod::over(&stores);
    let (alice, mallory, root) = (user("acme", "alice"), user("globex", "mallory"), user("default", "root"));
    let unknown = |outcome: Result<Json, Cause>| outcome.unwrap_err().code == ErrorCode::UnknownRecord;
    assert!(unknown(pod.create("alice", &mallory).await));
    assert!(unknown(pod.create("bob", &alice).await));
    let report = pod.create("alice", &alice).await.unwrap();
    let id = UserId::new(text(&report, "key")).unwrap();
    assert_eq!(pod.key_ops.list(&mallory).await.unwrap(), json!({ "keys": [] }));
    assert!(unknown(pod.key_ops.revoke(&id, &mallory).await));
    assert!(pod.verify(&text(&report, "api_key")).await.is_some());
    assert_eq!(pod.key_ops.list(&root).await.unwrap()["keys"].as_array().unwrap().len(), 1);
    assert!(pod.key_ops.revoke(&id, &root).await.is_ok());
    let subject = PrincipalId { issuer: "login".parse().unwrap(), ..alice.clone() };
    assert!(unknown(pod.key_ops.set_revoked(&subject, true, &mallory).await));
    for own in [alice.clone(), PrincipalId { issuer: "key".parse().unwrap(), ..alice.clone() }] {
        let cause = pod.key_ops.set_revoked(&own, true, &alice).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidInput, "{own}");
    }
}

#[tokio::test]
async fn the_user_of_a_token_is_found_without_it_on_every_pod_until_it_is_revoked() {
    let stores = stores();
    let (first, second) = (TestPod::over(&stores), TestPod::over(&stores));
    let token = token(|_| {});
    let principal = first.verify(&token).await.unwrap();
    assert_eq!(principal.id.to_string(), "login/acme/alice");
    assert_ne!(principal.id, user("acme", "alice"), "the configured user of this name is another one");
    // Another pod, and one that has restarted, has never received the token.
    assert_eq!(second.find(&principal.id).await, Some(principal.clone()));
    // A run lives longer than the token by which it was started.
    let in_a_week = WallClock.now().saturating_add(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(second.identities.find_user(&principal.id, in_a_week).await.unwrap(), Some(principal.clone()));
    let ended = first.identities.verify_credential(&Credential::Bearer(token.clone()), in_a_week).await;
    assert_eq!(ended.unwrap(), None);
    let stranger = PrincipalId { user: UserId::new("bob").unwrap(), ..principal.id.clone() };
    assert_eq!(second.find(&stranger).await, None, "a user without a token was never vouched for");
    first.key_ops.set_revoked(&principal.id, true, &user("default", "root")).await.unwrap();
    for pod in [&first, &second] {
        wait_until(async || pod.find(&principal.id).await.is_none()).await;
        assert_eq!(pod.verify(&token).await, None);
    }
    first.key_ops.set_revoked(&principal.id, false, &user("default", "root")).await.unwrap();
    wait_until(async || second.verify(&token).await.is_some()).await;
}

#[tokio::test]
async fn the_rights_of_the_newest_token_are_those_of_the_runs_of_its_user() {
    let stores = stores();
    let pod = TestPod::over(&stores);
    let older = token(|claims| claims["iat"] = json!(1_000));
    let newer = token(|claims| claims["roles"] = json!(["approver"]));
    let id = pod.verify(&older).await.unwrap().id;
    assert!(pod.find(&id).await.unwrap().roles.contains("agent_operator"));
    assert!(pod.verify(&newer).await.unwrap().roles.contains("approver"));
    assert!(!pod.find(&id).await.unwrap().roles.contains("agent_operator"));
    // The older token is still valid for itself, and gives its rights to nothing else.
    assert!(pod.verify(&older).await.unwrap().roles.contains("agent_operator"));
    assert!(!TestPod::over(&stores).find(&id).await.unwrap().roles.contains("agent_operator"));
}

#[tokio::test(start_paused = true)]
async fn a_verification_has_a_deadline() {
    let cause = in_time(std::future::pending::<Result<(), Cause>>()).await.unwrap_err();
    assert!(cause.code == ErrorCode::TimedOut && cause.code.is_retryable(), "{cause}");
}

#[tokio::test]
async fn what_becomes_of_each_credential_is_counted() {
    let (stores, alice) = (stores(), user("acme", "alice"));
    let pod = TestPod::over(&stores);
    let ending = text(&pod.create("alice", &alice).await.unwrap(), "api_key");
    let report = pod.create("alice", &alice).await.unwrap();
    let (revoked, id) = (text(&report, "api_key"), UserId::new(text(&report, "key")).unwrap());
    pod.key_ops.revoke(&id, &alice).await.unwrap();
    assert_eq!(pod.verify(&revoked).await, None);
    let after_its_end = WallClock.now().saturating_add(Duration::from_secs(7_200));
    let ended = pod.identities.verify_credential(&Credential::ApiKey(ending.clone()), after_its_end).await;
    assert_eq!(ended.unwrap(), None);
    assert_eq!(pod.verify("hunter2").await, None);
    let valid = token(|_| {});
    for _ in 0..3 {
        assert!(pod.verify(&valid).await.is_some());
    }
    assert_eq!(pod.verify(&token(|claims| claims["aud"] = json!("billing"))).await, None);
    let page = pod.metrics.render();
    for line in [
        "identity_keys_refused{reason=\"revoked\"} 1",
        "identity_keys_refused{reason=\"ended\"} 1",
        "identity_keys_refused{reason=\"unknown\"} 1",
        "identity_keys_refused{reason=\"owner\"} 0",
        "identity_tokens_accepted{by=\"signature\"} 1",
        "identity_tokens_accepted{by=\"cache\"} 2",
        "identity_tokens_refused{reason=\"audience\"} 1",
        "identity_tokens_refused{reason=\"expired\"} 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
    }
    let without_alice = TestPod::with_users(&stores, "[[users]]\nname = \"root\"\n");
    assert_eq!(without_alice.verify(&ending).await, None);
    assert!(without_alice.metrics.render().contains("identity_keys_refused{reason=\"owner\"} 1"));
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_no_secret_is_shown() {
    let stores = stores();
    let pod = TestPod::over(&stores);
    for other in ["", "hunter2", "a.b.c", "grk_hunter2", "..", &"x".repeat(100_000)] {
        assert_eq!(pod.verify(other).await, None);
    }
    let foreign = token(|claims| claims["iss"] = json!("https://evil.example"));
    assert_eq!(pod.verify(&foreign).await, None);
}
