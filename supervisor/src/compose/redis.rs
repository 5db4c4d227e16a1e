//! From the configuration to Redis. Without it, the views of contexts and the rate windows are in this process.

use std::sync::Arc;

use greenroom_protocol::Cause;
use greenroom_registry::rate_windows::RateWindows;
use greenroom_registry::redis::{KEY_PREFIX, Redis, RedisParts};
use greenroom_registry::{StoreError, Stores};

use crate::config::{Config, RedisConfig};
use crate::telemetry::Metrics;

/// Connects, if the configuration has a URL.
///
/// # Errors
/// That of a server which cannot serve. A server that cannot be reached is no error: the pod starts without it.
pub(crate) async fn connect(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Redis>, Cause> {
    let Some(RedisConfig { url, ca_file, on_loss: _ }) = &config.redis else { return Ok(None) };
    let parts = RedisParts {
        url: url.reveal(),
        ca_file: ca_file.as_deref(),
        prefix: KEY_PREFIX.to_owned(),
        observer: metrics.clone(),
    };
    Redis::connect(parts).await.map(Some).map_err(|error| StoreError::from(error).cause())
}

/// The stores, with the views of contexts in Redis if there is one.
pub(crate) fn with_views(redis: Option<&Redis>, stores: Stores) -> Stores {
    match redis {
        Some(redis) => Stores { context: redis.context_view(), ..stores },
        None => stores,
    }
}

/// The windows in which the requests of users are counted for all pods, if there is Redis.
pub(crate) fn rate_windows(config: &Config, redis: Option<&Redis>) -> Option<Arc<dyn RateWindows>> {
    let (redis, RedisConfig { url: _, ca_file: _, on_loss }) = redis.zip(config.redis.as_ref())?;
    Some(redis.rate_windows(*on_loss))
}
