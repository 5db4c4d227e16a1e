//! The guard's actors over the shipped policy.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::request::{Page, Query};
use greenroom_protocol::{Cause, ErrorCode, Request, Timestamp};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{
    AccessRequest, Bundle, CacheDir, Denied, Facts, Guard, PolicySnapshot, Principal, Resource, testing,
};
use ractor::{ActorCell, ActorId, ActorRef};

use super::{GuardHandle, LoadError};
use crate::observer::NoopObserver;
use crate::supervision::ChildKind;
use crate::test_env::{NoMsg, TestRoot, until};

struct Harness {
    guard: Guard,
    handle: GuardHandle,
    supervisor: ActorCell,
    root: ActorRef<NoMsg>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.root.kill();
    }
}

async fn harness() -> Harness {
    let compiler = Compiler::new(&CacheDir::Off).unwrap();
    let snapshot = PolicySnapshot::load(&compiler, &Bundle::embedded().unwrap()).await.unwrap();
    let handle = GuardHandle::new(snapshot, compiler, 2);
    let root = TestRoot::start().await;
    let supervisor = handle.start_supervisor(Arc::new(NoopObserver), root.get_cell()).await.unwrap();
    until("the workers are attached", || handle.info().workers == 2).await;
    Harness { guard: Guard::new(Arc::new(handle.clone())), handle, supervisor, root }
}

/// An access request of this user for the audit.
fn access_request(principal: Principal) -> AccessRequest {
    let request = testing::user_request(
        principal,
        1,
        Request::Query(Query::Audit { page: Page::default() }),
        Timestamp::from_micros(1),
    );
    let mut facts = Facts::for_resource(Resource::Collection { kind: "audit".into() });
    facts.usage.available = true;
    facts.usage.requests = 1;
    facts.audited = true;
    facts.relation.own_tenant = true;
    AccessRequest::new(request, facts)
}

impl Harness {
    fn worker_ids(&self) -> BTreeSet<ActorId> {
        self.supervisor.get_children().iter().map(ActorCell::get_id).collect()
    }

    async fn allows(&self, principal: Principal) -> Result<bool, Denied> {
        match self.guard.permit(access_request(principal)).await {
            Ok(_) => Ok(true),
            Err(Denied::ByPolicy { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

#[tokio::test]
async fn the_workers_decide_by_the_shipped_policy() {
    let harness = harness().await;
    for _ in 0..20 {
        assert_eq!(harness.allows(testing::admin()).await, Ok(true));
        assert_eq!(harness.allows(testing::user("guest", &[], &[])).await, Ok(false));
    }
    assert_eq!(harness.handle.info().waiting, 0);
}

#[tokio::test]
async fn a_loaded_bundle_becomes_active_and_drops_no_access_request() {
    let harness = harness().await;
    let before = harness.handle.active_policy();
    let pending: Vec<_> = (0..50).map(|_| harness.allows(testing::admin())).collect();
    let (decisions, loaded) =
        tokio::join!(futures::future::join_all(pending), harness.handle.load(Bundle::embedded().unwrap()));
    assert!(decisions.into_iter().all(|allowed| allowed == Ok(true)));
    assert_eq!(loaded.unwrap(), before.revision().clone());
    assert!(!Arc::ptr_eq(&before, &harness.handle.active_policy()));
    assert_eq!(harness.allows(testing::admin()).await, Ok(true));
}

/// The shipped bundle with a module that is not a policy: it only imports a memory.
fn bundle_without_policy() -> Bundle {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\x02\x0f\x01\x03env\x06memory\x02\0\x02";
    let shipped = include_bytes!("../../../rego/bundle/guard.tar.gz");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&shipped[..]));
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(packed);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if path.ends_with("policy.wasm") {
            content = MODULE.to_vec();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let path = path.strip_prefix("/").unwrap_or(&path);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    Bundle::read(&builder.into_inner().unwrap().finish().unwrap()).unwrap()
}

#[tokio::test]
async fn a_bundle_that_fails_its_validation_does_not_change_the_active_policy() {
    let harness = harness().await;
    let before = harness.handle.active_policy();
    let rejected = harness.handle.load(bundle_without_policy()).await.unwrap_err();
    assert_eq!(Cause::from(rejected).code, ErrorCode::InvalidPolicy);
    assert!(Arc::ptr_eq(&before, &harness.handle.active_policy()));
    assert_eq!(harness.allows(testing::admin()).await, Ok(true));
    assert!(harness.handle.load(Bundle::embedded().unwrap()).await.is_ok(), "a valid bundle is accepted afterwards");
}

#[tokio::test]
async fn killed_workers_are_restarted() {
    let harness = harness().await;
    for worker in harness.supervisor.get_children() {
        worker.kill();
        worker.wait(Some(Duration::from_secs(5))).await.unwrap();
    }
    assert_eq!(harness.allows(testing::admin()).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_worker_with_a_long_queue_is_not_killed() {
    const LOAD: Duration = Duration::from_millis(2_500);
    let harness = harness().await;
    let started = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(harness.allows(testing::admin()).await, Ok(true));
    }
    // Longer than a worker may take none of its jobs, so that the last jobs wait for longer than that.
    let jobs = (50.0 * LOAD.as_secs_f64() / started.elapsed().as_secs_f64()) as usize;
    let workers = harness.worker_ids();
    let decisions = futures::future::join_all((0..jobs).map(|_| harness.allows(testing::admin()))).await;
    assert!(decisions.into_iter().all(|allowed| allowed == Ok(true)), "of {jobs} decisions");
    assert_eq!(harness.worker_ids(), workers, "none was restarted");
}

#[tokio::test]
async fn a_bundle_is_validated_without_becoming_active() {
    let harness = harness().await;
    let before = harness.handle.active_policy();
    let validated = harness.handle.validate(Bundle::embedded().unwrap()).await.unwrap();
    assert_eq!(validated.hash(), before.hash());
    assert!(Arc::ptr_eq(&before, &harness.handle.active_policy()));
    let rejected = harness.handle.validate(bundle_without_policy()).await.map(drop).unwrap_err();
    assert_eq!(rejected.code, ErrorCode::InvalidPolicy);
}

#[tokio::test(start_paused = true)]
async fn workers_that_fail_more_often_than_their_row_allows_end_their_supervisor() {
    let harness = harness().await;
    let mut killed = BTreeSet::new();
    for _ in 0..=ChildKind::GuardWorker.restart_policy().restarts_max {
        until("two other workers run", || {
            let workers = harness.worker_ids();
            workers.len() == 2 && workers.is_disjoint(&killed) && harness.handle.info().workers == 2
        })
        .await;
        killed.extend(harness.worker_ids());
        harness.supervisor.get_children().iter().for_each(ActorCell::kill);
    }
    harness.supervisor.wait(Some(Duration::from_secs(5))).await.unwrap();
    // The next supervisor starts with a new intensity and the same queues.
    harness.handle.start_supervisor(Arc::new(NoopObserver), harness.root.get_cell()).await.unwrap();
    assert_eq!(harness.allows(testing::admin()).await, Ok(true));
}

#[tokio::test]
async fn a_restarted_supervisor_uses_the_same_job_queues() {
    let harness = harness().await;
    harness.supervisor.kill();
    harness.supervisor.wait(Some(Duration::from_secs(5))).await.unwrap();
    let rejected = harness.handle.load(Bundle::embedded().unwrap()).await;
    assert_eq!(rejected, Err(LoadError::Unavailable));
    let waiting = harness.allows(testing::admin());
    let restart = async {
        tokio::task::yield_now().await;
        harness.handle.start_supervisor(Arc::new(NoopObserver), harness.root.get_cell()).await.unwrap()
    };
    let (allowed, _supervisor) = tokio::join!(waiting, restart);
    assert_eq!(allowed, Ok(true));
}

#[tokio::test]
async fn guards_are_not_offered_to_other_pods() {
    let harness = harness().await;
    assert!(!harness.supervisor.supports_remoting());
    assert!(harness.supervisor.get_children().iter().all(|worker| !worker.supports_remoting()));
}
