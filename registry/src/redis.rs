//! Redis shows what is true elsewhere: the live views of the contexts of teams, which their owners make anew from the
//! journals, and the requests of each user within the last hour, for several pods together. Nothing in it is needed
//! to continue a run.
//!
//! The product calls a few functions there, each of which is atomic and has its keys in one hash slot. It loads them
//! when it connects, and again when the server has forgotten them. Every operation has a bounded time.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::Config;

use crate::context::ContextView;
use crate::rate_windows::RateWindows;

use connection::Connection;
use context::RedisContextView;
use error::RedisError;
use rates::{OnRedisLoss, RedisRateWindows};

mod connection;
mod context;
pub mod error;
mod eviction;
mod failure_log;
mod functions;
pub mod rates;
mod reply_monitor;
mod tls;

/// The prefix of every key of the product. Two clusters use two servers, or two databases of one.
pub const KEY_PREFIX: &str = "greenroom";

/// Learns of each failure of Redis.
pub trait RedisObserver: Send + Sync {
    /// Called for each operation that failed.
    fn on_failure(&self, error: &RedisError);
}

/// Arguments of [`Redis::connect`].
pub struct RedisParts<'p> {
    /// The URL, which [`check_url`] accepts.
    pub url: &'p str,
    /// The certificates (PEM) of the authorities that are trusted; `None` for those of the system. Without TLS it has no
    /// effect.
    pub ca_file: Option<&'p Path>,
    /// The prefix of every key.
    pub prefix: String,
    /// Learns of each failure.
    pub observer: Arc<dyn RedisObserver>,
}

/// A connection to Redis.
#[derive(Clone)]
pub struct Redis(Arc<Connection>);

impl Redis {
    /// Connects, and loads the functions. Without a server it connects as soon as there is one; until then each
    /// operation fails.
    ///
    /// # Errors
    /// A [`RedisError`] that waiting does not resolve: the credentials are wrong, its certificate is not trusted, or the
    /// server is a replica, removes keys, or has no functions.
    pub async fn connect(parts: RedisParts<'_>) -> Result<Self, RedisError> {
        Ok(Self(Arc::new(Connection::open(parts).await?)))
    }

    /// The views of contexts.
    #[must_use]
    pub fn context_view(&self) -> Arc<dyn ContextView> {
        Arc::new(RedisContextView(self.0.clone()))
    }

    /// The windows of all pods, and what replaces them while Redis is lost.
    #[must_use]
    pub fn rate_windows(&self, on_loss: OnRedisLoss) -> Arc<dyn RateWindows> {
        Arc::new(RedisRateWindows { connection: self.0.clone(), on_loss })
    }
}

/// Checks a URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://` for TLS, or one of a cluster or of
/// sentinels.
///
/// # Errors
/// The problem, as a text without any part of the URL.
pub fn check_url(url: &str) -> Result<(), String> {
    const SCHEMES: [&str; 2] = ["redis", "valkey"];
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let (base, kind) = scheme.split_once('-').unwrap_or((scheme, ""));
    let is_known = SCHEMES.contains(&base) || SCHEMES.contains(&base.strip_suffix('s').unwrap_or_default());
    if !is_known || !matches!(kind, "" | "cluster" | "sentinel") {
        return Err("it must begin with `redis://`, or with `rediss://` for TLS".to_owned());
    }
    Config::from_url(url).map(drop).map_err(|error| error.details().to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
