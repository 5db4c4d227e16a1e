//! Databases of PostgreSQL for tests: each test has one of its own, which is dropped with it. Stores use it directly, or
//! through a proxy that lets their calls fail.

use std::net::SocketAddr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::call_proxy::{CallFault, CallProxy};
use super::*;
use crate::cluster::ClusterStore;
use crate::{ArtifactLocation, migrate_postgres, postgres as store};

/// The variable with the URL of a server, as a user who may create databases.
const URL_VARIABLE: &str = "GREENROOM_TEST_POSTGRES_URL";

/// The functions that execute the batches of the lanes.
pub(crate) const BATCHES: [&str; 2] = ["greenroom_commit_", "greenroom_accounts_"];

fn server() -> PgConnectOptions {
    let url = std::env::var(URL_VARIABLE);
    let url = url.unwrap_or_else(|_| panic!("{URL_VARIABLE} names no server; `scripts/test` starts one"));
    url.parse().unwrap()
}

async fn execute_on_server(sql: String) {
    let mut connection = server().connect().await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// A database of its own for one test.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// Creates a database without a schema.
    pub(crate) async fn empty() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("greenroom_test_{}_{number}", std::process::id());
        execute_on_server(format!("DROP DATABASE IF EXISTS {name}")).await;
        execute_on_server(format!("CREATE DATABASE {name}")).await;
        Self { name }
    }

    /// Creates a database with the schema of this release.
    pub(crate) async fn migrated() -> Self {
        let database = Self::empty().await;
        migrate_postgres(&database.url()).await.unwrap();
        database
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn options(&self) -> PgConnectOptions {
        server().database(&self.name)
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        self.options().to_url_lossy().to_string()
    }

    /// Its URL with other options.
    pub(crate) fn url_with(&self, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> String {
        change(self.options()).to_url_lossy().to_string()
    }

    /// Its URL by way of a proxy.
    pub(crate) fn url_by(&self, proxy: SocketAddr) -> String {
        self.url_with(|options| options.host(&proxy.ip().to_string()).port(proxy.port()))
    }

    /// A new proxy to its server, without faults.
    pub(crate) async fn proxy(&self) -> CallProxy {
        let server = server();
        CallProxy::postgres(format!("{}:{}", server.get_host(), server.get_port())).await
    }

    /// A connection past the stores.
    pub(crate) async fn connect(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    /// Executes a statement past the stores.
    pub(crate) async fn execute(&self, sql: &'static str) {
        self.connect().await.execute(sql).await.unwrap();
    }

    /// As [`TestDatabase::execute`], for each of several statements with names of this database: `{name}` stands for its
    /// own name.
    pub(crate) async fn execute_named(&self, statements: &[&str]) {
        let mut connection = self.connect().await;
        for sql in statements {
            connection.execute(AssertSqlSafe(sql.replace("{name}", &self.name))).await.unwrap();
        }
    }

    /// The number that a query returns.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.connect().await).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop_database = execute_on_server(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // The runtime of the test cannot wait here.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(drop_database);
        });
        drop(dropped.join());
    }
}

/// A pod of a test, with stores of its own.
pub(crate) async fn open_pod(url: &str, name: &str, lanes: usize) -> Result<TestStores, StoreError> {
    open_pod_with(url, name, lanes, fixed_clock()).await
}

/// The same with this clock.
pub(crate) async fn open_pod_with(
    url: &str,
    name: &str,
    lanes: usize,
    clock: Arc<dyn Clock>,
) -> Result<TestStores, StoreError> {
    let parts = postgres_parts(name, clock);
    let pod = parts.pod.clone();
    Ok(TestStores::run(store::open(url, lanes, &ArtifactLocation::SharedFolder, parts).await?, pod, None))
}

/// A pod with one lane that stores its artifacts in this place, as the other pods see it.
pub(crate) async fn open_pod_at(url: &str, name: &str, location: &ArtifactLocation) -> Result<TestStores, StoreError> {
    let parts = postgres_parts(name, fixed_clock());
    let pod = parts.pod.clone();
    Ok(TestStores::run(store::open(url, 1, location, parts).await?, pod, None))
}

fn postgres_parts(name: &str, clock: Arc<dyn Clock>) -> StoreParts {
    let (signer, artifacts) = (Signer::ephemeral([7; 32]), in_memory_artifacts());
    StoreParts { clock, signer, artifacts, pod: PodId::new(name).unwrap() }
}

impl TestStores {
    /// One pod with one lane on a new database, so that there is one audit chain as in the other stores.
    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::migrated().await;
        let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
        Self { postgres: Some(database), ..stores }
    }

    /// As [`TestStores::postgres`], but a part of the batches has faults.
    pub(crate) async fn postgres_with_faults() -> Self {
        let database = TestDatabase::migrated().await;
        let proxy = database.proxy().await;
        proxy.fail_repeatedly(&BATCHES, &CallFault::spread(&[&CallFault::CUTS[..], &[CallFault::Delay][..]].concat()));
        let stores = open_pod(&database.url_by(proxy.address()), "pod_a", 1).await.unwrap();
        Self { postgres: Some(database), _proxy: Some(proxy), ..stores }
    }

    /// The database of the stores.
    pub(crate) fn test_database(&self) -> &TestDatabase {
        self.postgres.as_ref().unwrap()
    }

    /// What the pods of the database do for each other.
    pub(crate) fn cluster(&self) -> Arc<dyn ClusterStore> {
        Arc::clone(&self.stores.cluster)
    }

    /// Aborts the tasks, as the end of a process does, and returns the database.
    pub(crate) async fn kill(mut self) -> Option<TestDatabase> {
        self.tasks.shutdown().await;
        self.postgres.take()
    }
}
