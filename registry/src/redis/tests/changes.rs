//! What changes while a pod is connected: the settings of the server, the rights of its user, and its data.

use std::sync::Arc;

use serde_json::json;

use super::rates::call;
use super::server::Server;
use super::{
    claim, command, connect, connect_started, data, error_of, key, prefix, read, shared_redis, until, until_available,
    view_key,
};
use crate::context::{ContextData, ContextValue, Version, ViewError};
use crate::rate_windows::RequestCounts;
use crate::redis::error::RedisError;
use crate::redis::rates::OnRedisLoss;
use crate::runs::Fence;
use crate::suite::{NOW, run_id};

/// The rights that `docs/redis.md` requires of a user with an access control list.
const RIGHTS: &str = "+ping +select +client +info +function +fcall +fcall_ro +del +pexpire +hget +hmget +hset +hdel \
                      +hgetall +hlen +zadd +zcard +zremrangebyscore";

fn value(version: u64) -> ContextValue {
    ContextValue { version: Version(version), value: Arc::new(json!(version)), until: None }
}

#[tokio::test]
async fn a_view_that_is_restored_without_its_last_change_is_lost_until_it_is_claimed() {
    let redis = shared_redis().await;
    let (view, run, name) = (redis.context_view(), run_id(1), view_key(&redis));
    let copy = format!("{name}:copy");
    claim(&redis, &data()).await.unwrap();
    command(&redis, "COPY", &[&name, &copy]).await;
    view.apply(&run, Fence(1), Version(3), &[(key("a"), value(4))], NOW).await.unwrap();
    assert_eq!(view.read(&run, &[], Version(4), NOW).await.unwrap().version, Version(4));
    command(&redis, "RENAME", &[&copy, &name]).await;
    assert!(matches!(view.read(&run, &[], Version(4), NOW).await, Err(ViewError::Lost)));
    let applied = view.apply(&run, Fence(1), Version(4), &[(key("b"), value(5))], NOW).await;
    assert!(matches!(applied, Err(ViewError::Lost)), "{applied:?}");
    let whole = ContextData::new([(key("a"), json!(4)), (key("b"), json!(5))], Version(5)).unwrap();
    claim(&redis, &whole).await.unwrap();
    assert_eq!(view.read(&run, &[], Version(5), NOW).await.unwrap(), whole.snapshot(&[], NOW));
}

#[tokio::test]
async fn a_server_that_begins_to_remove_keys_is_rejected_until_it_no_longer_does() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    claim(&redis, &data()).await.unwrap();
    command(&redis, "CONFIG", &["SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"]).await;
    until(async || claim(&redis, &data()).await.is_err()).await;
    let evicting = RedisError::Evicting("allkeys-lru".to_owned());
    assert_eq!(error_of(claim(&redis, &data()).await), evicting);
    assert_eq!(error_of(read(&redis).await), evicting);
    let cause = call(&*redis.rate_windows(OnRedisLoss::Deny), 9, NOW).await.unwrap_err().cause();
    assert_eq!(cause.details, json!({"store": "redis_evicting"}));
    assert_eq!(*failures.0.lock().unwrap(), ["redis_evicting"; 4]);
    command(&redis, "CONFIG", &["SET", "maxmemory-policy", "noeviction"]).await;
    until_available(&redis).await;
    assert!(read(&redis).await.is_ok());
}

#[tokio::test]
async fn a_user_that_loses_a_right_is_rejected_and_nothing_is_written() {
    let server = Server::start(&[]);
    let (redis, failures) = connect_started(&server).await;
    command(&redis, "ACL", &["SETUSER", "default", "-fcall"]).await;
    let error = error_of(claim(&redis, &data()).await);
    assert!(matches!(&error, RedisError::Rejected(text) if text.contains("fcall")), "{error}");
    assert_eq!(*failures.0.lock().unwrap(), ["redis_rejected"]);
    command(&redis, "ACL", &["SETUSER", "default", "+fcall"]).await;
    assert_eq!(read(&redis).await.unwrap(), ContextData::default().snapshot(&[], NOW));
    claim(&redis, &data()).await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let server = Server::start(&[]);
    let (admin, _) = connect_started(&server).await;
    let user = ["SETUSER", "limited", "on", ">secret", "~test_*"];
    command(&admin, "ACL", &user.into_iter().chain(RIGHTS.split_whitespace()).collect::<Vec<_>>()).await;
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let redis = connect(&url, prefix(), &Arc::default()).await.unwrap();
    let (view, run) = (redis.context_view(), run_id(1));
    claim(&redis, &data()).await.unwrap();
    view.apply(&run, Fence(1), Version(3), &[(key("a"), value(4))], NOW).await.unwrap();
    assert_eq!(read(&redis).await.unwrap().version, Version(4));
    view.remove(&run, Fence(1)).await.unwrap();
    let counts = call(&*redis.rate_windows(OnRedisLoss::Deny), 9, NOW).await.unwrap();
    assert_eq!(counts, RequestCounts { calls: 1, queries: 0 });
}
