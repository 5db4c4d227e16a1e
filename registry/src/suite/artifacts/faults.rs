//! An S3 server that is gone, slow, overloaded, skewed, misconfigured, or whose connections break: each a coded error
//! within a bound, and never a partial artifact.

use super::s3_proxy::{Fault, S3Proxy};
use super::*;
use crate::S3Fault;
use crate::artifacts::{ArtifactError, WHOLE};

/// No operation with a failing server takes longer.
const OPERATION_MAX: Duration = Duration::from_secs(30);
/// Bounds that a test can wait for.
const SHORT: S3Timeouts = S3Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(500),
    retries: Duration::from_secs(1),
    request: Duration::from_secs(3),
};
/// Content whose request and reply take several packets.
const LENGTH: usize = 3 * 1024 * 1024;
/// Bytes after which its request or its reply is cut.
const CUT: u64 = 300_000;

const OVERLOADED: Fault = Fault::Refuse { status: "503 Service Unavailable", code: "SlowDown" };

/// A store behind a proxy, and the same objects without one.
struct Faulty {
    artifacts: TestArtifacts,
    store: Arc<dyn ArtifactStore>,
    _proxy: S3Proxy,
}

impl Faulty {
    async fn open(faults: &[Fault], timeouts: S3Timeouts) -> Self {
        let artifacts = TestArtifacts::s3().await;
        let direct = s3_settings(&artifacts.dir);
        let proxy = S3Proxy::start(direct.endpoint.as_deref().unwrap()).await;
        let settings = S3Settings { endpoint: Some(proxy.url()), timeouts, ..direct };
        let store = open_s3_artifacts(settings, test_ids()).await.unwrap();
        proxy.fail(faults);
        Self { artifacts, store, _proxy: proxy }
    }

    /// Puts through the proxy.
    async fn put(&self, content: &[u8]) -> Result<ContentHash, ArtifactError> {
        let acme = owner("acme");
        let putting = self.store.put(&acme, content.to_vec(), "text/plain", "x");
        let stored = tokio::time::timeout(OPERATION_MAX, putting).await.expect("it is bounded")?;
        Ok(stored.hash)
    }

    /// Reads through the proxy.
    async fn get(&self, hash: &ContentHash) -> Result<Option<Vec<u8>>, ArtifactError> {
        let acme = tenant("acme");
        tokio::time::timeout(OPERATION_MAX, self.store.get(&acme, hash, u64::MAX)).await.expect("it is bounded")
    }
}

/// The fault of an error, whose message reveals no key.
fn fault_of(error: &ArtifactError) -> S3Fault {
    let ArtifactError::Store(StoreError::S3 { fault, .. }) = error else { panic!("{error:?}") };
    let cause = error.cause();
    assert_eq!(cause.code, protocol::ErrorCode::StoreUnavailable);
    assert_eq!(cause.details["store"], fault.as_str());
    for name in ["GREENROOM_TEST_S3_ACCESS_KEY_ID", "GREENROOM_TEST_S3_SECRET_ACCESS_KEY"] {
        assert!(!format!("{error:?} {cause}").contains(&variable(name)), "{error:?}");
    }
    *fault
}

/// The fault that prevents a store from being opened.
async fn open_fault(settings: S3Settings) -> S3Fault {
    match open_s3_artifacts(settings, test_ids()).await {
        Err(error) => fault_of(&error.into()),
        Ok(_) => panic!("it is opened"),
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_not_noticed() {
    let content = content_of(LENGTH);
    for fault in [OVERLOADED, Fault::CutRequests(CUT), Fault::CutReplies(10)] {
        let faults = [fault, fault, Fault::None];
        let faulty = Faulty::open(&faults, S3Timeouts::default()).await;
        let hash = faulty.put(&content).await.unwrap();
        assert!(faulty.artifacts.get("acme", &hash).await.unwrap() == content, "{faults:?}");
    }
    let faults = [Fault::CutReplies(CUT), Fault::CutReplies(CUT), Fault::None];
    let faulty = Faulty::open(&faults, S3Timeouts::default()).await;
    let hash = faulty.artifacts.put("acme", &content).await;
    assert!(faulty.get(&hash).await.unwrap().unwrap() == content, "the rest is read by another request");
}

#[tokio::test]
async fn a_fault_that_lasts_is_a_coded_error_and_stores_nothing() {
    let content = content_of(LENGTH);
    let retried = S3Timeouts { retries: Duration::from_secs(1), ..S3Timeouts::default() };
    for (lasting, timeouts, fault) in [
        (OVERLOADED, retried, S3Fault::Unavailable),
        (Fault::CutRequests(CUT), retried, S3Fault::Truncated),
        (Fault::Hang, SHORT, S3Fault::Slow),
    ] {
        let faulty = Faulty::open(&[lasting], timeouts).await;
        let error = faulty.put(&content).await.unwrap_err();
        assert_eq!(fault_of(&error), fault, "{lasting:?}: {error:?}");
        let hash = ContentHash::from_content(&content);
        assert_eq!(faulty.artifacts.get("acme", &hash).await, None, "{lasting:?}");
    }
    for (lasting, timeouts, fault) in [
        (OVERLOADED, retried, S3Fault::Unavailable),
        (Fault::CutReplies(CUT), retried, S3Fault::Truncated),
        (Fault::Hang, SHORT, S3Fault::Slow),
    ] {
        let faulty = Faulty::open(&[lasting], timeouts).await;
        let hash = faulty.artifacts.put("acme", &content).await;
        let error = faulty.get(&hash).await.unwrap_err();
        assert_eq!(fault_of(&error), fault, "{lasting:?}: {error:?}");
        let swept = tokio::time::timeout(OPERATION_MAX, faulty.store.sweep(HashSet::new(), None, NOW)).await;
        match lasting {
            // The list of a small store is a short reply.
            Fault::CutReplies(_) => {}
            _ => assert!(matches!(swept.expect("it is bounded"), Err(StoreError::S3 { .. })), "{lasting:?}"),
        }
    }
}

#[tokio::test]
async fn a_large_upload_that_breaks_stores_nothing() {
    // The second part is cut.
    let content = content_of(20 * 1024 * 1024);
    let timeouts = S3Timeouts { retries: Duration::from_secs(1), ..S3Timeouts::default() };
    let faulty = Faulty::open(&[Fault::CutRequests(12 * 1024 * 1024), Fault::CutRequests(CUT)], timeouts).await;
    let error = faulty.put(&content).await.unwrap_err();
    assert_eq!(fault_of(&error), S3Fault::Truncated, "{error:?}");
    let hash = ContentHash::from_content(&content);
    assert_eq!(faulty.artifacts.get("acme", &hash).await, None);
}

#[tokio::test]
async fn what_needs_an_operator_prevents_the_start_and_what_may_pass_does_not() {
    let artifacts = TestArtifacts::s3().await;
    let settings = || s3_settings(&artifacts.dir);
    let wrong_secret = S3Settings { secret_access_key: "wrong".to_owned(), ..settings() };
    assert_eq!(open_fault(wrong_secret).await, S3Fault::Denied);
    let wrong_id = S3Settings { access_key_id: "wrong".to_owned(), ..settings() };
    assert_eq!(open_fault(wrong_id).await, S3Fault::Denied);
    let no_bucket = S3Settings { bucket: "no-such-bucket".to_owned(), ..settings() };
    assert_eq!(open_fault(no_bucket).await, S3Fault::NoBucket);
    let proxy = S3Proxy::start(settings().endpoint.as_deref().unwrap()).await;
    proxy.fail(&[Fault::ShiftTime]);
    assert_eq!(open_fault(S3Settings { endpoint: Some(proxy.url()), ..settings() }).await, S3Fault::ClockSkewed);

    // A server that accepts connections and does not reply.
    proxy.fail(&[Fault::Hang]);
    let slow = S3Settings { endpoint: Some(proxy.url()), ..settings() };
    let opened = tokio::time::timeout(OPERATION_MAX, open_s3_artifacts(slow, test_ids())).await;
    assert!(opened.expect("it is bounded").is_ok());

    // A port at which nothing listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = S3Settings { endpoint: Some(format!("http://{free}")), timeouts: SHORT, ..settings() };
    let store = open_s3_artifacts(unreachable, test_ids()).await.unwrap();
    let hash = artifacts.put("acme", b"there").await;
    let error = store.info(&tenant("acme"), &hash).await.unwrap_err();
    assert_eq!(fault_of(&error), S3Fault::Unreachable, "{error:?}");
    let error = store.read(&tenant("acme"), &hash, WHOLE).await.err().unwrap();
    assert_eq!(fault_of(&error), S3Fault::Unreachable, "{error:?}");
}

#[tokio::test]
async fn a_clock_that_becomes_wrong_is_a_coded_error_without_a_retry() {
    let faulty = Faulty::open(&[Fault::ShiftTime, Fault::None], S3Timeouts::default()).await;
    let error = faulty.put(b"content").await.unwrap_err();
    assert_eq!(fault_of(&error), S3Fault::ClockSkewed, "{error:?}");
    assert!(faulty.put(b"content").await.is_ok(), "the clock was corrected");
}
