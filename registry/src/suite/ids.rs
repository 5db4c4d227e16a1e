//! Ids: whatever a constructor makes can be read back, from JSON, from every row and from the journal.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use protocol::audit::Event;
use protocol::{CallKey, IdempotencyKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::audit::AuditScope;
use crate::idempotency::KeyStatus;
use crate::journal::Seq;
use crate::runs::{DedupKey, RunFilter};

/// Samples of each property.
const SAMPLES: usize = 200;

/// Texts that are chosen from outside, up to the longest that an id of their kind may have.
#[derive(Debug)]
struct Texts {
    request: RequestId,
    principal: PrincipalId,
    step: StepId,
    workflow: WorkflowId,
    key: IdempotencyKey,
    call: CallKey,
    part: String,
}

fn texts() -> impl Strategy<Value = Texts> {
    let id = || "[A-Za-z0-9_.-]{3,128}|[A-Za-z0-9_-]{128}";
    let request = "[A-Za-z0-9_.-]{3,128}|[A-Za-z0-9_.-]{128}|req_|req_[0-9a-f]{32}|req_[a-z]{124}";
    let key = || "[!-~]{1,512}|[!-~]{512}";
    let part = "\\PC{0,40}|[a-z]{128}|.{0,600}";
    let principal = (id(), id(), id()).prop_map(|(issuer, tenant, user)| PrincipalId {
        issuer: Issuer::new(issuer).unwrap(),
        tenant: TenantId::new(tenant).unwrap(),
        user: UserId::new(user).unwrap(),
    });
    (request, principal, id(), id(), key(), key(), part).prop_map(
        |(request, principal, step, workflow, key, call, part)| Texts {
            request: RequestId::new(request).unwrap(),
            principal,
            step: StepId::new(step).unwrap(),
            workflow: WorkflowId::new(workflow).unwrap(),
            key: IdempotencyKey::new(key).unwrap(),
            call: CallKey::new(call).unwrap(),
            part,
        },
    )
}

/// The same samples in every execution.
fn samples() -> Vec<Texts> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"whatever is made is read back ok");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = texts();
    let mut requests = std::collections::HashSet::new();
    let all = (0..SAMPLES).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    all.filter(|texts| requests.insert(texts.request.clone())).collect()
}

fn assert_json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(id: &T) {
    let text = serde_json::to_string(id).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap_or_else(|error| panic!("{text}: {error}")), id);
}

#[test]
fn every_id_that_is_made_can_be_read_back_from_json() {
    for texts in samples() {
        let named = RequestId::for_caller(&texts.principal, &texts.request);
        for request in [&texts.request, &named, &RequestId::from_u128(u128::MAX)] {
            let run = RunId::for_request(request);
            assert_json(request);
            assert_json(&run);
            let steps = [None, Some(u32::MAX)].map(|index| CallKey::for_step(&run, &texts.step, index));
            for key in steps.into_iter().chain([CallKey::for_request(request), texts.call.clone()]) {
                // Calls nest deeper than any call chain may be long.
                let mut nested = key.clone();
                for _ in 0..20 {
                    nested = nested.child(&texts.part);
                    assert_json(&nested);
                    assert_json(&nested.compensation());
                }
                for key in [key.compensation(), key.child(texts.step.as_str()), nested, key] {
                    assert_json(&key);
                    assert_json(&key.request_id(u32::MAX));
                    assert_json(&RunId::for_request(&key.request_id(1)));
                }
            }
        }
        assert_json(&TraceId::from_u128(u128::MAX));
    }
}

#[test]
fn different_requests_start_different_runs() {
    let requests = ["req_a", "a", "req_req_a", "run_a", "req_"].map(|text| RequestId::new(text).unwrap());
    let runs: std::collections::HashSet<_> = requests.iter().map(RunId::for_request).collect();
    assert_eq!(runs.len(), requests.len(), "{runs:?}");
    let name = RequestId::new("req_a").unwrap();
    let alice = principal("alice");
    let own = RequestId::for_caller(&alice, &name);
    assert_eq!(own, RequestId::for_caller(&alice, &name));
    let of_another_tenant = PrincipalId { tenant: tenant("globex"), ..alice.clone() };
    let of_another_issuer = PrincipalId { issuer: Issuer::new("login").unwrap(), ..alice };
    for other in [of_another_tenant, of_another_issuer, principal("bob")] {
        assert_ne!(own, RequestId::for_caller(&other, &name), "{other}");
    }
    assert_ne!(own, name, "a name is never an id");
}

fn run_of(texts: &Texts) -> NewRun {
    let new = new_run(1);
    let started = RunStarted {
        run: RunId::for_request(&texts.request),
        root: RunId::for_request(&texts.request),
        owner: texts.principal.clone(),
        workflow: texts.workflow.clone(),
        parent: Some(RunId::for_request(&RequestId::for_caller(&texts.principal, &texts.request))),
        ..new.started.as_ref().clone()
    };
    NewRun { started: Arc::new(started), ..new }
}

#[tokio::test]
async fn every_id_that_is_made_can_be_read_back_from_the_stores() {
    let samples = samples();
    for stores in TestStores::each().await {
        for texts in &samples {
            let key = DedupKey::Call(CallKey::for_request(&texts.request).child(&texts.part));
            let entries = [started(texts.step.as_str())];
            let _ = stores.stores.core.create_run(run_of(texts), Some(&key), &entries, NOW).await.unwrap();
            let principal = texts.principal.clone();
            let request = RequestId::for_caller(&principal, &texts.request);
            let PrincipalId { issuer, tenant, user } = principal.clone();
            let opening = Opening { request, issuer, tenant: tenant.clone(), user, ..opening(1) };
            let entry = stores.stores.core.open_entry(opening, NOW).await.unwrap();
            stores.stores.core.close_entry(entry, closing(), NOW).await;
            let key = DedupKey::Caller { principal, key: texts.key.clone() };
            let body = ContentHash::from_content(b"body");
            let _ = stores.begin(&tenant, &key, &body).await;
        }
        assert_readable(&stores, &samples).await;
        if stores.dir.is_some() {
            assert_readable(&stores.crash_and_reopen().await, &samples).await;
        }
    }
}

async fn assert_readable(opened: &TestStores, samples: &[Texts]) {
    let stores = &opened.stores;
    let all = stores.runs.list(&RunFilter::default(), None, 1_000).await.unwrap().runs;
    let unclaimed = stores.runs.list_unclaimed(None, NOW.saturating_add(MINUTE * 2), 1_000).await.unwrap();
    assert_eq!(all.len(), unclaimed.len());
    for texts in samples {
        let run = run_of(texts).id().clone();
        let record = stores.runs.get(&run).await.unwrap().unwrap();
        assert!(all.contains(&record) && record.owner == texts.principal, "{run}");
        assert_eq!(stores.journal.read(&run, Seq(0), 10).await.unwrap()[0].entry, started(texts.step.as_str()));
        let request = RequestId::for_caller(&texts.principal, &texts.request);
        let records = stores.audit.find(&AuditScope::All, request.as_str()).await.unwrap();
        assert!(matches!(&records[0].event, Event::Opened(opening) if opening.issuer == texts.principal.issuer));
        let key = DedupKey::Call(CallKey::for_request(&texts.request).child(&texts.part));
        let (tenant, body) = (&texts.principal.tenant, ContentHash::from_content(b"body"));
        let status = stores.idempotency.lookup(tenant, &key, &body).await.unwrap();
        assert_eq!(status, KeyStatus::RunStarted(run));
    }
    assert!(stores.audit.verify().await.unwrap().is_valid());
}
