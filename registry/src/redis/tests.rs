//! Redis beyond the suites of its traits: what it forgets, what it does not allow, and its absence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fred::types::Value;
use greenroom_protocol::ContextKey;
use serde_json::json;

use super::connection::OPERATION_TIMEOUT;
use super::context::FIELDS_MAX;
use super::error::RedisError;
use super::functions::Function;
use super::{Redis, RedisObserver, RedisParts, check_url};
use crate::context::{CONTEXT_VIEW_TTL, ContextData, ContextValue, Snapshot, Version, ViewError};
use crate::error::StoreError;
use crate::runs::Fence;
use crate::suite::call_proxy::CallProxy;
use crate::suite::{NOW, run_id};

use server::{Server, free_port, url};

mod changes;
mod faults;
mod rates;
mod server;
mod tls;

/// Names the server that tests share; each uses keys with a prefix of its own.
const URL_VARIABLE: &str = "GREENROOM_TEST_REDIS_URL";
/// Longest wait for a client to connect again or to notice a change, far longer than it needs.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// Records the failures.
#[derive(Default)]
struct Failures(Mutex<Vec<&'static str>>);

impl RedisObserver for Failures {
    fn on_failure(&self, error: &RedisError) {
        self.0.lock().unwrap().push(error.detail());
    }
}

/// The URL of the server that tests share.
fn shared_url() -> String {
    std::env::var(URL_VARIABLE)
        .unwrap_or_else(|_| panic!("set {URL_VARIABLE} to the URL of a Redis for tests; `scripts/test` starts one"))
}

/// A prefix that no other test uses.
fn prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn connect(url: &str, prefix: String, failures: &Arc<Failures>) -> Result<Redis, RedisError> {
    Redis::connect(RedisParts { url, ca_file: None, prefix, observer: failures.clone() }).await
}

/// A connection to the server that tests share, for keys of its own.
pub(crate) async fn shared_redis() -> Redis {
    connect(&shared_url(), prefix(), &Arc::default()).await.unwrap()
}

/// As [`shared_redis`], through a proxy without faults.
pub(crate) async fn proxied_redis() -> (Redis, CallProxy) {
    let proxy = CallProxy::redis(shared_url().trim_start_matches("redis://").to_owned()).await;
    let redis = connect(&format!("redis://{}", proxy.address()), prefix(), &Arc::default()).await.unwrap();
    (redis, proxy)
}

/// A connection to a server of the test, once it has started.
async fn connect_started(server: &Server) -> (Redis, Arc<Failures>) {
    let failures = Arc::<Failures>::default();
    let redis = connect(&server.url(), prefix(), &failures).await.unwrap();
    until_available(&redis).await;
    failures.0.lock().unwrap().clear();
    (redis, failures)
}

/// Waits until a condition is true.
async fn until(is_true: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        while !is_true().await {
            interval.tick().await;
        }
    };
    tokio::time::timeout(RECONNECT_WAIT_MAX, waiting).await.unwrap();
}

/// Waits until an operation succeeds.
async fn until_available(redis: &Redis) {
    until(async || claim(redis, &ContextData::default()).await.is_ok()).await;
}

/// The error of a connection to a server that has just been started.
async fn rejection(server: &Server) -> RedisError {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        loop {
            match connect(&server.url(), prefix(), &Arc::default()).await {
                Err(error) => return error,
                Ok(redis) => {
                    // It has not started yet, unless it is accepted.
                    let claimed = claim(&redis, &ContextData::default()).await;
                    assert!(claimed.is_err(), "the server is accepted");
                }
            }
            interval.tick().await;
        }
    };
    tokio::time::timeout(RECONNECT_WAIT_MAX, waiting).await.unwrap()
}

fn key(name: &str) -> ContextKey {
    ContextKey::new(name).unwrap()
}

fn data() -> ContextData {
    ContextData::new([(key("a"), json!("x")), (key("b"), json!([1, {"c": null}]))], Version(3)).unwrap()
}

async fn claim(redis: &Redis, data: &ContextData) -> Result<(), ViewError> {
    redis.context_view().claim(&run_id(1), Fence(1), data, NOW).await
}

async fn read(redis: &Redis) -> Result<Snapshot, ViewError> {
    redis.context_view().read(&run_id(1), &[], Version(0), NOW).await
}

fn view_key(redis: &Redis) -> String {
    format!("{}:context:{{{}}}", redis.0.prefix(), run_id(1))
}

async fn command(redis: &Redis, name: &'static str, args: &[&str]) -> Value {
    redis.0.command(name, args.iter().map(|arg| (*arg).to_owned()).collect()).await.unwrap()
}

fn error_of<T: std::fmt::Debug>(result: Result<T, ViewError>) -> RedisError {
    match result {
        Err(ViewError::Store(StoreError::Redis(error))) => error,
        other => panic!("an error of Redis is expected: {other:?}"),
    }
}

#[tokio::test]
async fn a_view_has_the_time_to_live_that_each_write_renews() {
    let redis = shared_redis().await;
    let name = view_key(&redis);
    let ttl = i64::try_from(CONTEXT_VIEW_TTL.as_millis()).unwrap();
    let minute = 60_000;
    claim(&redis, &data()).await.unwrap();
    let remaining = command(&redis, "PTTL", &[&name]).await.as_i64().unwrap();
    assert!((ttl - minute..=ttl).contains(&remaining), "{remaining}");
    command(&redis, "PEXPIRE", &[&name, "60000"]).await;
    let view = redis.context_view();
    let value = ContextValue { version: Version(4), value: Arc::new(json!(1)), until: None };
    view.apply(&run_id(1), Fence(1), Version(3), &[(key("a"), value)], NOW).await.unwrap();
    let remaining = command(&redis, "PTTL", &[&name]).await.as_i64().unwrap();
    assert!((ttl - minute..=ttl).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn values_expire_and_large_contexts_take_several_calls() {
    let redis = shared_redis().await;
    let view = redis.context_view();
    let megabyte = json!("m".repeat(1_000_000));
    let values = (0..5).map(|number| (key(&format!("k{number}")), megabyte.clone()));
    claim(&redis, &ContextData::new(values, Version(2)).unwrap()).await.unwrap();
    assert_eq!(read(&redis).await.unwrap().values.len(), 5);
    let until = NOW.saturating_add(Duration::from_secs(1));
    let change = |version: u64, name: &str| {
        let value = Arc::new(megabyte.clone());
        (key(name), ContextValue { version: Version(version), value, until: Some(until) })
    };
    let changes = [change(3, "k0"), change(4, "new"), change(5, "k1")];
    view.apply(&run_id(1), Fence(1), Version(2), &changes, NOW).await.unwrap();
    let snapshot = read(&redis).await.unwrap();
    assert_eq!(
        (snapshot.version, snapshot.values.len(), snapshot.values[&key("k1")].version),
        (Version(5), 6, Version(5))
    );
    let later = view.read(&run_id(1), &[], Version(5), until).await.unwrap();
    assert_eq!((later.version, later.values.len()), (Version(5), 3), "three values have expired");
}

#[tokio::test]
async fn a_view_that_is_claimed_in_pieces_is_lost_until_it_is_whole_and_fenced_by_the_next_owner() {
    let redis = shared_redis().await;
    let piece = async |fence: &str, version: &str, [is_first, is_last]: [&str; 2]| {
        let args = [fence, version, "60000", is_first, is_last, &format!("=k{is_first}"), "2 - 1"].map(Value::from);
        redis.0.call(Function::Claim, vec![view_key(&redis)], args.to_vec()).await.unwrap()
    };
    assert_eq!(piece("1", "2", ["1", "0"]).await, ["OK"]);
    assert!(matches!(read(&redis).await, Err(ViewError::Lost)));
    let applied = redis.context_view().apply(&run_id(1), Fence(1), Version(0), &[], NOW).await;
    assert!(matches!(applied, Err(ViewError::Lost)), "{applied:?}");
    assert_eq!(piece("2", "2", ["1", "0"]).await, ["OK"]);
    assert_eq!(piece("1", "2", ["0", "1"]).await, ["FENCED"]);
    assert_eq!(piece("2", "3", ["0", "1"]).await, ["LOST"], "a piece of another claim");
    assert_eq!(piece("2", "2", ["0", "1"]).await, ["OK"]);
    assert_eq!(read(&redis).await.unwrap().values.len(), 2);
    assert_eq!(piece("2", "2", ["0", "1"]).await, ["LOST"], "the claim is complete");
}

#[tokio::test]
async fn a_view_with_too_many_expired_values_is_lost() {
    let redis = shared_redis().await;
    let view = redis.context_view();
    claim(&redis, &ContextData::default()).await.unwrap();
    let value = |version| ContextValue { version: Version(version), value: Arc::new(json!(1)), until: Some(NOW) };
    let changes: Vec<_> =
        (1..=FIELDS_MAX as u64).map(|version| (key(&format!("k{version}")), value(version))).collect();
    let applied = view.apply(&run_id(1), Fence(1), Version(0), &changes, NOW).await;
    assert!(matches!(applied, Err(ViewError::Lost)), "{applied:?}");
    assert!(matches!(read(&redis).await, Err(ViewError::Lost)));
    claim(&redis, &ContextData::default()).await.unwrap();
}

#[tokio::test]
async fn a_flushed_server_has_lost_its_views_and_its_functions_are_loaded_again() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    command(&redis, "FLUSHALL", &[]).await;
    command(&redis, "FUNCTION", &["FLUSH"]).await;
    assert!(matches!(read(&redis).await, Err(ViewError::Lost)));
    claim(&redis, &data()).await.unwrap();
    assert_eq!(read(&redis).await.unwrap(), data().snapshot(&[], NOW));
    assert_eq!(failures.0.lock().unwrap().len(), 0, "a loss is no failure");
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_read_and_not_written() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    command(&redis, "REPLICAOF", &["127.0.0.1", &free_port().to_string()]).await;
    assert_eq!(error_of(claim(&redis, &data()).await), RedisError::ReadOnly);
    assert!(read(&redis).await.is_ok());
    assert_eq!(*failures.0.lock().unwrap(), ["redis_read_only"]);
    assert_eq!(rejection(&server).await, RedisError::ReadOnly);
    let cause = StoreError::from(RedisError::ReadOnly).cause();
    assert_eq!(cause.details, json!({"store": "redis_read_only"}));
    assert!(cause.message.contains("primary"), "{cause}");
}

#[tokio::test]
async fn a_server_without_free_memory_is_read_and_not_written() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    command(&redis, "CONFIG", &["SET", "maxmemory", "1"]).await;
    assert_eq!(error_of(claim(&redis, &data()).await), RedisError::Full);
    assert!(read(&redis).await.is_ok());
    redis.context_view().remove(&run_id(1), Fence(1)).await.unwrap();
    command(&redis, "CONFIG", &["SET", "maxmemory", "0"]).await;
    claim(&redis, &data()).await.unwrap();
    assert_eq!(*failures.0.lock().unwrap(), ["redis_full"]);
}

#[tokio::test]
async fn a_server_that_cannot_serve_is_rejected_at_the_start() {
    let evicting = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    assert_eq!(rejection(&evicting).await, RedisError::Evicting("allkeys-lru".to_owned()));
    let without_functions = Server::start(&["--rename-command", "FUNCTION", ""]);
    assert_eq!(rejection(&without_functions).await, RedisError::NoFunctions);
    let with_password = Server::start(&["--requirepass", "secret"]);
    assert!(matches!(rejection(&with_password).await, RedisError::Rejected(_)));
    let url = with_password.url().replace("redis://", "redis://:wrong@");
    let error = connect(&url, prefix(), &Arc::default()).await.err().unwrap();
    assert!(matches!(&error, RedisError::Rejected(text) if !text.contains("wrong@")), "{error}");
    let url = with_password.url().replace("redis://", "redis://:secret@");
    claim(&connect(&url, prefix(), &Arc::default()).await.unwrap(), &data()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_fails_each_operation_at_once_and_is_used_again_when_it_is_back() {
    let mut server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    server.kill();
    let started = Instant::now();
    for _ in 0..20 {
        assert!(matches!(error_of(claim(&redis, &data()).await), RedisError::Unreachable(_)));
        assert!(matches!(error_of(read(&redis).await), RedisError::Unreachable(_)));
    }
    assert!(started.elapsed() < OPERATION_TIMEOUT * 5, "{:?}", started.elapsed());
    assert_eq!(*failures.0.lock().unwrap(), ["redis_unreachable"; 40]);
    server.restart();
    until_available(&redis).await;
    assert_eq!(read(&redis).await.unwrap(), Snapshot::default(), "it has what was claimed after the restart only");
}

#[tokio::test]
async fn a_pod_that_starts_before_its_server_uses_it_later() {
    let port = free_port();
    let failures = Arc::<Failures>::default();
    let redis = connect(&url(port), prefix(), &failures).await.unwrap();
    assert!(matches!(error_of(claim(&redis, &data()).await), RedisError::Unreachable(_)));
    assert_eq!(*failures.0.lock().unwrap(), ["redis_unreachable"; 2], "the start and the claim");
    let _server = Server::start_at(port, &[]);
    until_available(&redis).await;
}

#[tokio::test]
async fn a_suspended_server_delays_an_operation_for_a_bounded_time() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    server.set_suspended(true);
    let started = Instant::now();
    let error = error_of(claim(&redis, &data()).await);
    assert!(matches!(error, RedisError::Timeout | RedisError::Unreachable(_)), "{error}");
    for _ in 0..20 {
        assert!(claim(&redis, &data()).await.is_err());
    }
    assert!(started.elapsed() < OPERATION_TIMEOUT * 4, "only some of them wait: {:?}", started.elapsed());
    server.set_suspended(false);
    until_available(&redis).await;
    assert!(!failures.0.lock().unwrap().is_empty());
}

#[test]
fn a_url_that_cannot_be_used_is_a_problem_without_its_secrets() {
    for url in [
        "redis://h",
        "redis://:pw@h:6380/1",
        "redis://u:pw@h",
        "valkey://h",
        "redis-cluster://h:1?node=i:2",
        "redis-sentinel://h:1?sentinelServiceName=s",
    ] {
        assert_eq!(check_url(url), Ok(()), "{url}");
    }
    for url in ["", "h:6379", "http://u:pw@h", "redis+unix:///s", "redis://", "redis://h:x", "redis://u:pw@h/x"] {
        let problem = check_url(url).unwrap_err();
        assert!(!problem.is_empty() && !problem.contains("pw"), "{url}: {problem}");
    }
}
