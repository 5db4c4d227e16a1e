//! The server that `scripts/bench` starts, and its databases.

use anyhow::{Context, ensure};
use greenroom_integration_tests::process_time::parent;
use greenroom_registry::migrate_postgres;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

/// The variable with the URL of a server, as a user who may do everything.
const URL_VARIABLE: &str = "GREENROOM_TEST_POSTGRES_URL";
/// The database of every server.
const OWN_DATABASE: &str = "postgres";
/// Settings without which a commit does not survive a power failure.
const DURABLE: [(&str, &str); 3] = [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

/// The server.
pub(crate) struct Server {
    /// Its URL without a database. All peers accept this scheme.
    url: String,
}

impl Server {
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let url = std::env::var(URL_VARIABLE)
            .with_context(|| format!("{URL_VARIABLE} names no server; scripts/bench starts one"))?;
        let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
        let authority = authority.with_context(|| format!("{URL_VARIABLE} is no URL"))?;
        Ok(Self { url: format!("postgresql://{authority}") })
    }

    /// Fails if a commit does not wait until the disk has written it, as on the server of the tests.
    pub(crate) async fn require_durable(&self) -> anyhow::Result<()> {
        let mut connection = self.connect_own().await?;
        for (setting, expected) in DURABLE {
            let value: String =
                sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut connection).await?;
            ensure!(value == expected, "{setting} of the server is {value}, not {expected}");
        }
        Ok(())
    }

    /// Connects to the database that every server has.
    async fn connect_own(&self) -> anyhow::Result<PgConnection> {
        connect(&self.url_of(OWN_DATABASE)).await
    }

    /// Creates an empty database, and returns its URL.
    pub(crate) async fn create(&self, name: &str) -> anyhow::Result<String> {
        self.drop_database(name).await?;
        let name = database(name);
        self.execute(format!("CREATE DATABASE {name}")).await?;
        Ok(self.url_of(&name))
    }

    /// Creates a database with the schema, and returns its URL.
    pub(crate) async fn create_migrated(&self, name: &str) -> anyhow::Result<String> {
        let url = self.create(name).await?;
        migrate_postgres(&url).await?;
        Ok(url)
    }

    /// Removes a database with its connections, so that its checkpoints and its vacuum do not load the server.
    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.execute(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", database(name))).await
    }

    /// Counts the statements of the connections that are opened to a database from now on.
    pub(crate) async fn count_statements(&self, name: &str) -> anyhow::Result<()> {
        self.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements".to_owned()).await?;
        for setting in ["compute_query_id = on", "pg_stat_statements.track = 'top'"] {
            self.execute(format!("ALTER DATABASE {} SET {setting}", database(name))).await?;
        }
        Ok(())
    }

    /// The number of statements that clients have sent to a database so far. What a function executes is a part of the
    /// statement that calls it.
    pub(crate) async fn statement_count(&self, name: &str) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar(
            "SELECT COALESCE(sum(s.calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
             WHERE d.datname = $1",
        );
        Ok(count.bind(database(name)).fetch_one(&mut self.connect_own().await?).await?)
    }

    /// Executes a statement in the database that every server has.
    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connect_own().await?).await?;
        Ok(())
    }

    fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }
}

/// The name of a database of the benchmark.
fn database(name: &str) -> String {
    format!("greenroom_bench_{name}")
}

/// The process of the server of this connection, whose children serve the connections.
pub(crate) async fn server_process(connection: &mut PgConnection) -> anyhow::Result<String> {
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
    parent(&backend.to_string())
}

/// Connects to the database with this URL.
pub(crate) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.connect().await?)
}
