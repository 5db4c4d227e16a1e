//! The section `redis`, and what becomes of the limits of users without it: where contexts are shown, and where the
//! requests of users are counted for several pods together.

use std::path::PathBuf;

use greenroom_registry::redis::check_url;
use greenroom_registry::redis::rates::OnRedisLoss;

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "redis.url",
        &["REDIS_URL"],
        "`redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS; without it, views of contexts and \
         rate windows are in this process",
    )
    .masked(),
    Setting::text(
        "redis.ca_file",
        &["REDIS_CA_FILE"],
        "certificates (PEM) of the authorities that are trusted for `rediss://`; default those of the system",
    ),
    Setting::text(
        "limits.on_redis_loss",
        &["GREENROOM_LIMITS_ON_REDIS_LOSS"],
        "requests of users while Redis is lost: `deny` denies them, `local` counts those of each pod by itself",
    )
    .or("deny"),
];

/// The words of `limits.on_redis_loss`.
const LOSS_WORDS: [(&str, OnRedisLoss); 2] = [("deny", OnRedisLoss::Deny), ("local", OnRedisLoss::Local)];

/// Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Its URL, which may contain a password.
    pub url: Secret,
    /// The certificates of the authorities that are trusted; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// What becomes of the requests of users while it is lost.
    pub on_loss: OnRedisLoss,
}

/// The configured Redis; `None` if there is none.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<RedisConfig> {
    let on_loss = reader.word("limits.on_redis_loss", &LOSS_WORDS).unwrap_or_default();
    let ca_file = reader.get::<PathBuf>("redis.ca_file").filter(|path| !path.as_os_str().is_empty());
    let url = reader.get::<String>("redis.url").filter(|url| !url.is_empty())?;
    if let Err(problem) = check_url(&url) {
        let origin = reader.origin("redis.url");
        reader.report(format!("redis.url ({origin}): this is no URL of Redis: {problem}"));
    }
    if ca_file.is_some() && !has_tls(&url) {
        reader.report("redis.ca_file is set, but redis.url does not begin with `rediss://`".to_owned());
    }
    Some(RedisConfig { url: Secret::new(url), ca_file, on_loss })
}

/// True for `rediss://`, `rediss-cluster://` and the like.
fn has_tls(url: &str) -> bool {
    ["rediss", "valkeys"].iter().any(|scheme| url.starts_with(scheme))
}
