//! The servers that the pods share: some of their own, which a fault can stop, or those that a script has started.

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;

use super::nats::OwnNats;
use super::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;

/// The variables of the servers that a script starts.
const POSTGRES_VARIABLE: &str = "GREENROOM_TEST_POSTGRES_URL";
const REDIS_VARIABLE: &str = "GREENROOM_TEST_REDIS_URL";
const NATS_VARIABLE: &str = "GREENROOM_TEST_NATS_URL";
/// The settings of the product for S3, each with the variable of the server that a script starts.
const S3_VARIABLES: [(&str, &str); 4] = [
    ("S3_ENDPOINT", "GREENROOM_TEST_S3_URL"),
    ("S3_BUCKET", "GREENROOM_TEST_S3_BUCKET"),
    ("S3_ACCESS_KEY_ID", "GREENROOM_TEST_S3_ACCESS_KEY_ID"),
    ("S3_SECRET_ACCESS_KEY", "GREENROOM_TEST_S3_SECRET_ACCESS_KEY"),
];

/// The servers.
#[derive(Debug)]
pub struct Servers {
    /// PostgreSQL, as a user who may create databases.
    pub postgres: PgConnectOptions,
    /// The URL of Redis.
    pub redis_url: String,
    /// The settings of the product for S3. Nothing stops this server.
    pub s3: Vec<(String, String)>,
    /// The URL of NATS, if the pods receive their requests over it.
    pub nats_url: Option<String>,
    /// The servers that a fault can stop.
    pub own: Option<OwnServers>,
}

/// Servers that a fault can stop.
#[derive(Debug)]
pub struct OwnServers {
    /// PostgreSQL.
    pub postgres: PostgresServer,
    /// Redis.
    pub redis: RedisServer,
    /// NATS, if the pods receive their requests over it.
    pub nats: Option<OwnNats>,
}

impl Servers {
    /// Starts a PostgreSQL and a Redis; the S3 server is the one that the script has started.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_all(None).await
    }

    /// As [`Servers::start`], and a NATS over which the pods receive their requests.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub async fn start_with_nats() -> anyhow::Result<Self> {
        Self::start_all(Some(OwnNats::start().await?)).await
    }

    async fn start_all(nats: Option<OwnNats>) -> anyhow::Result<Self> {
        let s3 = s3_settings()?;
        let (postgres, redis) = tokio::try_join!(PostgresServer::start(), RedisServer::start())?;
        let (options, redis_url) = (postgres.url().parse()?, redis.url());
        let nats_url = nats.as_ref().map(OwnNats::url);
        Ok(Self { postgres: options, redis_url, s3, nats_url, own: Some(OwnServers { postgres, redis, nats }) })
    }

    /// The servers that a script has started, NATS among them.
    ///
    /// # Errors
    /// If there are none.
    pub fn from_environment() -> anyhow::Result<Self> {
        let (postgres, redis_url) = (variable(POSTGRES_VARIABLE)?.parse()?, variable(REDIS_VARIABLE)?);
        Ok(Self { postgres, redis_url, s3: s3_settings()?, nats_url: Some(variable(NATS_VARIABLE)?), own: None })
    }
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; the script that starts the servers sets it"))
}

fn s3_settings() -> anyhow::Result<Vec<(String, String)>> {
    S3_VARIABLES.iter().map(|(setting, name)| Ok(((*setting).to_owned(), variable(name)?))).collect()
}
