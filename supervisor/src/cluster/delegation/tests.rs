//! Delegations between two pods: each refusal beside the acceptance of the same delegation.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_actors::remote::RemoteCall;
use greenroom_protocol::request::{CallOptions, Invoke};
use greenroom_protocol::{
    AgentId, BootTime, CallKey, Clock, ContentHash, Credential, Envelope, ErrorCode, IdGenerator, IngressKind, PodId,
    Received, Request, Timestamp, Values,
};
use greenroom_registry::runs::Fence;
use greenroom_rego::{AuthMethod, Authenticator, Caller, DelegationVerifier, Resource, testing};
use serde_json::json;

use super::issuer::{DelegationIssuer, LIFETIME};
use super::refusal::{DelegationObserver, RefusedDelegation};
use super::token::{Statement, Unverified};
use super::verifier::{Delegations, LIFETIME_MAX};
use crate::cluster::keys::{ClusterSecret, KeyLabel};
use crate::config::UserDirectory;
use crate::identity::ConfigIdentityProvider;

const SECRET: &str = "a secret of sixteen bytes or more";
const START: i64 = 1_700_000_000_000_000;

/// A clock and a source of ids that a test controls.
#[derive(Default)]
struct TestTime(AtomicI64);

impl TestTime {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(START + self.0.load(Ordering::Relaxed))
    }
    fn boot_time(&self) -> BootTime {
        BootTime::from_duration(Duration::from_micros(self.0.load(Ordering::Relaxed).unsigned_abs()))
    }
}

struct Counter(AtomicI64);

impl IdGenerator for Counter {
    fn next_id(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed).unsigned_abs())
    }
}

/// Records the refusals.
#[derive(Default)]
struct Refusals(Mutex<Vec<RefusedDelegation>>);

impl DelegationObserver for Refusals {
    fn on_refused(&self, _: Option<&PodId>, reason: RefusedDelegation) {
        self.0.lock().unwrap().push(reason);
    }
}

fn pod(name: &str) -> PodId {
    PodId::new(name).unwrap()
}

fn secret(text: &str) -> ClusterSecret {
    ClusterSecret::new(text, "green").unwrap()
}

fn invoke() -> Invoke {
    Invoke {
        agent: AgentId::new("summary_agent").unwrap(),
        inputs: Values::from([("document".to_owned(), json!("text")), ("score".to_owned(), json!(0.1 + 0.2))]),
        context: Values::new(),
        version: Some(ContentHash::from_content(b"agent")),
        key: Some(CallKey::new("run_1/step").unwrap()),
        options: CallOptions::default(),
        approvals: None,
    }
}

struct Harness {
    time: Arc<TestTime>,
    issuer: DelegationIssuer,
    verifier: Arc<Delegations>,
    refusals: Arc<Refusals>,
}

fn harness_with(issuing_secret: &str) -> Harness {
    let (time, refusals) = (Arc::new(TestTime::default()), Arc::new(Refusals::default()));
    let ids = Arc::new(Counter(AtomicI64::new(1)));
    let issuer = DelegationIssuer::new(&secret(issuing_secret), pod("one"), time.clone(), ids).unwrap();
    let verifier = Arc::new(Delegations::new(secret(SECRET), pod("two"), refusals.clone()));
    Harness { time, issuer, verifier, refusals }
}

impl Harness {
    async fn call(&self, fence: Option<Fence>) -> RemoteCall {
        let agent = Resource::Agent { agent: invoke().agent, version: ContentHash::from_content(b"agent") };
        let permit = testing::permit(9, Request::Invoke(invoke()), agent, self.time.now()).await.unwrap();
        RemoteCall { grant: permit.grant().clone(), invoke: invoke(), fence, sink: None }
    }

    async fn envelope(&self) -> Envelope {
        self.issuer.envelope(&self.call(None).await, &pod("two")).unwrap()
    }

    fn verify(&self, token: &str, request: &Request) -> Option<RefusedDelegation> {
        let verified = self.verifier.verify(token, request, self.time.now());
        let refusal = self.refusals.0.lock().unwrap().last().copied().filter(|_| verified.is_err());
        assert_eq!(verified.err().map(|cause| cause.code), refusal.map(|reason| reason.cause().code));
        refusal
    }
}

fn token(envelope: &Envelope) -> String {
    match &envelope.credential {
        Some(Credential::Delegation(token)) => token.clone(),
        other => panic!("{other:?}"),
    }
}

/// The same delegation with another statement, signed with the secret of the cluster.
fn resealed(token: &str, change: impl FnOnce(&mut Statement)) -> String {
    let key = secret(SECRET).key(KeyLabel::Delegation, b"one").unwrap();
    let mut statement = Unverified::parse(token).unwrap().statement;
    change(&mut statement);
    statement.seal(&key).unwrap()
}

#[tokio::test]
async fn a_delegation_is_accepted_once_after_the_request_has_crossed_the_wire() {
    let harness = harness_with(SECRET);
    let sent = serde_json::to_vec(&harness.envelope().await).unwrap();
    let envelope: Envelope = serde_json::from_slice(&sent).unwrap();
    assert_eq!(harness.verify(&token(&envelope), &envelope.request), None);
    assert_eq!(harness.verify(&token(&envelope), &envelope.request), Some(RefusedDelegation::Replayed));
    let next = harness.envelope().await;
    assert_eq!(harness.verify(&token(&next), &next.request), None, "each attempt has one of its own");
}

#[tokio::test]
async fn a_delegation_of_another_secret_or_a_changed_one_is_foreign() {
    let foreign = harness_with("another secret of the cluster").envelope().await;
    let harness = harness_with(SECRET);
    assert_eq!(harness.verify(&token(&foreign), &foreign.request), Some(RefusedDelegation::Foreign));
    let envelope = harness.envelope().await;
    let original = token(&envelope);
    // Another issuer has another key.
    let renamed = resealed(&original, |statement| statement.issuer = pod("three"));
    assert_eq!(harness.verify(&renamed, &envelope.request), Some(RefusedDelegation::Foreign));
    let (signed, _) = original.split_once('.').unwrap();
    let (_, other_code) = renamed.split_once('.').unwrap();
    assert_eq!(harness.verify(&format!("{signed}.{other_code}"), &envelope.request), Some(RefusedDelegation::Foreign));
    assert_eq!(harness.verify(&original, &envelope.request), None);
}

#[tokio::test]
async fn what_has_not_the_form_of_a_delegation_is_unreadable() {
    let harness = harness_with(SECRET);
    let envelope = harness.envelope().await;
    let long = "a".repeat(100_000);
    for text in ["", ".", "a.b", "e30.e30", "no dot", long.as_str()] {
        assert_eq!(harness.verify(text, &envelope.request), Some(RefusedDelegation::Unreadable), "{text}");
    }
    let later = resealed(&token(&envelope), |statement| statement.version += 1);
    assert_eq!(harness.verify(&later, &envelope.request), Some(RefusedDelegation::Unreadable));
}

#[tokio::test]
async fn a_delegation_expires_and_lives_at_most_a_minute() {
    let harness = harness_with(SECRET);
    let envelope = harness.envelope().await;
    let long = resealed(&token(&envelope), |statement| {
        statement.expires_at = statement.issued_at.saturating_add(LIFETIME_MAX + Duration::from_secs(1));
    });
    assert_eq!(harness.verify(&long, &envelope.request), Some(RefusedDelegation::Lifetime));
    let early = resealed(&token(&envelope), |statement| {
        statement.issued_at = statement.issued_at.saturating_add(Duration::from_secs(10));
    });
    assert_eq!(harness.verify(&early, &envelope.request), Some(RefusedDelegation::Early), "issued in the future");
    harness.time.advance(LIFETIME);
    assert_eq!(harness.verify(&token(&envelope), &envelope.request), Some(RefusedDelegation::Expired));
}

#[tokio::test]
async fn a_pod_with_another_clock_states_it_and_the_next_delegation_has_its_time() {
    let harness = harness_with(SECRET);
    let call = harness.call(None).await;
    let timeout = call.grant.deadline().remaining(harness.time.now());
    // The clock of the other pod shows that many seconds more.
    for shift in [40, -40] {
        let their_time = || Timestamp::from_micros(harness.time.now().as_micros().saturating_add(shift * 1_000_000));
        let verify = |envelope: &Envelope| harness.verifier.verify(&token(envelope), &envelope.request, their_time());
        let refusal = verify(&harness.issuer.envelope(&call, &pod("two")).unwrap()).unwrap_err();
        let reason = if shift > 0 { RefusedDelegation::Expired } else { RefusedDelegation::Early };
        assert_eq!(harness.refusals.0.lock().unwrap().last(), Some(&reason));
        assert!(harness.issuer.learn_clock(&pod("two"), &refusal));
        let envelope = harness.issuer.envelope(&call, &pod("two")).unwrap();
        assert_eq!(envelope.timeout_ms.map(Duration::from_millis), Some(timeout), "it depends on no clock");
        let verified = verify(&envelope).unwrap();
        assert_eq!(verified.call.deadline.remaining(their_time()), timeout);
    }
    let for_another = harness.issuer.envelope(&call, &pod("three")).unwrap();
    let issued_at = Unverified::parse(&token(&for_another)).unwrap().statement.issued_at;
    assert_eq!(issued_at, harness.time.now(), "the clock of another pod is another one");
    let other_reason = RefusedDelegation::Foreign.cause();
    assert!(!harness.issuer.learn_clock(&pod("two"), &other_reason));
}

#[tokio::test]
async fn a_delegation_is_for_one_pod_and_one_request() {
    let harness = harness_with(SECRET);
    let call = harness.call(None).await;
    let for_another = harness.issuer.envelope(&call, &pod("three")).unwrap();
    assert_eq!(harness.verify(&token(&for_another), &for_another.request), Some(RefusedDelegation::Audience));
    let envelope = harness.envelope().await;
    let other_inputs = Request::Invoke(Invoke { inputs: Values::new(), ..invoke() });
    let other_agent = Request::Invoke(Invoke { agent: AgentId::new("other_agent").unwrap(), ..invoke() });
    for request in [other_inputs, other_agent] {
        assert_eq!(harness.verify(&token(&envelope), &request), Some(RefusedDelegation::Body));
    }
    assert_eq!(harness.verify(&token(&envelope), &envelope.request), None);
}

#[tokio::test]
async fn a_delegation_is_bound_to_its_call_key_and_its_principal() {
    let harness = harness_with(SECRET);
    let envelope = harness.envelope().await;
    let other_key = resealed(&token(&envelope), |statement| statement.key = CallKey::new("run_1/other").unwrap());
    let other_principal = resealed(&token(&envelope), |statement| {
        statement.call.principal.user = greenroom_protocol::UserId::new("mallory").unwrap();
    });
    for token in [other_key, other_principal] {
        assert_eq!(harness.verify(&token, &envelope.request), Some(RefusedDelegation::Binding));
    }
}

#[tokio::test]
async fn an_older_owner_of_the_tree_is_refused() {
    let harness = harness_with(SECRET);
    let envelope = harness.envelope().await;
    let with_fence = |id: &str, root: &str, fence: u64| {
        resealed(&token(&envelope), |statement| {
            statement.id = id.to_owned();
            statement.fence = Some(fence);
            statement.call.root = Some(greenroom_protocol::RunId::new(root).unwrap());
        })
    };
    let verify = |token: String| harness.verify(&token, &envelope.request);
    assert_eq!(verify(with_fence("a", "run_1", 4)), None);
    assert_eq!(verify(with_fence("b", "run_1", 4)), None);
    assert_eq!(verify(with_fence("c", "run_1", 3)), Some(RefusedDelegation::OldFence));
    assert_eq!(verify(with_fence("d", "run_1", 5)), None);
    assert_eq!(verify(with_fence("e", "run_1", 4)), Some(RefusedDelegation::OldFence));
    assert_eq!(verify(with_fence("f", "run_2", 1)), None, "another tree");
    let verified = harness.verifier.verify(&with_fence("g", "run_1", 5), &envelope.request, harness.time.now());
    assert_eq!(verified.unwrap().fence, Some(5), "the receiver knows for which owner it executes the request");
}

fn users(roles: &[&str]) -> ConfigIdentityProvider {
    let text = format!("[[users]]\nname = \"admin\"\ntenant = \"acme\"\nroles = {roles:?}\napi_key = \"key\"\n");
    ConfigIdentityProvider::new(toml::from_str::<UserDirectory>(&text).unwrap())
}

#[tokio::test]
async fn a_delegated_request_has_its_call_chain_and_the_rights_of_this_moment() {
    let harness = harness_with(SECRET);
    let authenticator = Authenticator::new(Arc::new(users(&["auditor"]))).with_delegations(harness.verifier.clone());
    let received =
        |bytes: &[u8], ingress| Received::decode(bytes, ingress, &Counter(AtomicI64::new(1)), harness.time.now());
    let envelope = harness.envelope().await;
    let bytes = serde_json::to_vec(&envelope).unwrap();
    let from_outside = authenticator.authenticate(received(&bytes, IngressKind::Nats).unwrap()).await;
    assert_eq!(from_outside.unwrap_err().code, ErrorCode::Unauthenticated, "only pods delegate");
    let request = authenticator.authenticate(received(&bytes, IngressKind::Peer).unwrap()).await.unwrap();
    assert!(request.is_delegated() && !request.is_recovery());
    assert_eq!(request.auth_method(), AuthMethod::Delegation);
    assert!(matches!(request.caller(), Caller::User { user } if user.as_str() == "admin"));
    assert!(request.principal().roles.contains("auditor") && !request.principal().roles.contains("admin"));
    let call = harness.call(None).await;
    assert_eq!((request.id(), request.deadline()), (call.grant.request_id(), call.grant.deadline()));
}

#[tokio::test]
async fn a_principal_that_does_not_exist_any_more_is_refused() {
    let harness = harness_with(SECRET);
    let no_users = ConfigIdentityProvider::new(UserDirectory::default());
    let authenticator = Authenticator::new(Arc::new(no_users)).with_delegations(harness.verifier.clone());
    let bytes = serde_json::to_vec(&harness.envelope().await).unwrap();
    let ids = Counter(AtomicI64::new(1));
    let received = Received::decode(&bytes, IngressKind::Peer, &ids, harness.time.now()).unwrap();
    assert_eq!(authenticator.authenticate(received).await.unwrap_err().code, ErrorCode::Unauthenticated);
}
