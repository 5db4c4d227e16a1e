//! Pods on a database that refuses them, fails or is silent: each request has a coded error with a remedy by its deadline,
//! a metric and a line of the log, and the pod serves again when the database does.
//!
//! A full disk of the server is simulated: a trigger raises the error that PostgreSQL has for `ENOSPC` (53100). A real one
//! needs a small file system, which only root can mount. A limit on the size of files (`ulimit -f`) is no full disk for
//! the server: its `EFBIG` has the code of an internal error, except for a short write, which version 16 and newer try
//! again. A database that is read-only and a server without a free connection are real: `default_transaction_read_only`
//! and `max_connections`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use greenroom_integration_tests::cluster::postgres_server::PostgresServer;
use greenroom_integration_tests::cluster::proxy::{Link, Proxy};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;

use super::*;
use crate::control::scrape;

const LIST: [&str; 2] = ["agents", "list"];
const ECHO: [&str; 5] = ["run", "agent", "echo_agent", "--input", "text=hello"];
/// A deadline that a test can wait for, before the lease of a pod is over.
const DEADLINE: [&str; 2] = ["--timeout", "2s"];
/// No command with such a deadline takes longer, also on a busy machine.
const DEADLINE_MISSED: Duration = Duration::from_secs(25);

/// Executes statements on the database with this URL.
async fn execute(url: &str, statements: &[&'static str]) -> Result<()> {
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    for sql in statements {
        connection.execute(*sql).await?;
    }
    Ok(())
}

/// The URL of a database by way of another address or as another user.
fn url_with(url: &str, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Result<String> {
    Ok(change(url.parse()?).to_url_lossy().to_string())
}

/// A proxy to the server of the database with this URL, and the URL by way of the proxy.
async fn start_proxy(url: &str) -> Result<(Proxy, String)> {
    let options: PgConnectOptions = url.parse()?;
    let proxy = Proxy::start(format!("{}:{}", options.get_host(), options.get_port())).await?;
    let by_proxy = url_with(url, |options| options.host("127.0.0.1").port(proxy.port()))?;
    Ok((proxy, by_proxy))
}

/// A running pod, its terminal and the address of its metrics.
struct PodOnDatabase {
    terminal: CliHarness,
    up: RunningCommand,
    metrics: String,
}

impl PodOnDatabase {
    /// Migrates the database with this URL, and starts a pod on it.
    async fn start(url: &str) -> Result<Self> {
        let mut terminal = harness(url)?;
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        terminal.set_variable("GREENROOM_METRICS_ADDR", &metrics);
        terminal.run(&["db", "migrate"]).await?.expect_success()?;
        let up = terminal.start(&["up", "-o", "json"])?;
        up.wait_for_output("greenroom is up").await?;
        Ok(Self { terminal, up, metrics })
    }

    /// Fails unless the metrics count a failure of this kind and the log has it.
    async fn expect_reported(&self, kind: &str, message: &str) -> Result<()> {
        let counter = format!("store_failures{{error=\"{kind}\"}} ");
        let page = scrape(&self.metrics)?;
        let counted = page.lines().any(|line| line.strip_prefix(&counter).is_some_and(|count| count != "0"));
        assert!(counted, "{kind}: {page}");
        self.up.wait_for_output("store failed").await?;
        self.up.wait_for_output(message).await
    }

    /// Waits until the pod serves requests, and ends it. Its audit must be valid.
    async fn end(self) -> Result<()> {
        let served = || async { self.terminal.run(&ECHO).await.ok()?.expect_success().ok() };
        wait_until("the pod serves again", COMMAND_WAIT_MAX, served).await?;
        let verified = self.terminal.run(&["audit", "verify"]).await?.expect_success()?;
        assert_eq!(verified["valid"], true, "{verified:#}");
        self.up.terminate()?;
        assert_eq!(self.up.wait().await?.code, 0);
        Ok(())
    }
}

/// Fails unless the error has this kind and this remedy.
fn expect_refusal(error: &Json, kind: &str, remedy: &str) {
    assert_eq!((&error["code"], &error["details"]["store"]), (&"store_unavailable".into(), &kind.into()), "{error:#}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(remedy)), "{kind}: {error:#}");
}

#[tokio::test]
async fn a_start_that_the_server_refuses_names_the_remedy() -> Result<()> {
    let url = create_database("refused_start").await?;
    harness(&url)?.run(&["db", "migrate"]).await?.expect_success()?;
    let unknown = url_with(&url, |options| options.database("greenroom_cli_none"))?;
    let with_password = url_with(&url, |options| options.username("greenroom_password").password("hunter2"))?;
    let create_role = "DO $$ BEGIN CREATE ROLE greenroom_password LOGIN PASSWORD 'right'; \
                       EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    execute(&url, &[create_role]).await?;
    for (url, kind, remedy) in
        [(&unknown, "no_database", "create the database"), (&with_password, "denied", "check the user, the password")]
    {
        let listed = harness(url)?.run(&LIST).await?;
        expect_refusal(&listed.expect_error(1)?, kind, remedy);
        assert!(!format!("{listed:?}").contains("hunter2"), "{listed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_start_on_a_database_that_cannot_be_used_names_the_remedy() -> Result<()> {
    let url = create_database("unusable").await?;
    harness(&url)?.run(&["db", "migrate"]).await?.expect_success()?;
    let read_only = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
                     current_database()); END $$";
    let writable = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', \
                    current_database()); END $$";
    execute(&url, &[read_only]).await?;
    let error = harness(&url)?.run(&LIST).await?.expect_error(1)?;
    expect_refusal(&error, "read_only", "default_transaction_read_only");
    execute(&url, &["SET default_transaction_read_only = off", writable]).await?;

    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', true, '', 0)";
    execute(&url, &[later]).await?;
    let error = harness(&url)?.run(&LIST).await?.expect_error(1)?;
    expect_refusal(&error, "version", "start the release that wrote the database");
    execute(&url, &["DELETE FROM _sqlx_migrations WHERE version = 9999"]).await?;

    execute(&url, &["ALTER FUNCTION greenroom_sweep_v1 RENAME TO without_greenroom_sweep"]).await?;
    let error = harness(&url)?.run(&LIST).await?.expect_error(1)?;
    expect_refusal(&error, "corrupt", "greenroom_sweep_v1");
    let report = harness(&url)?.run(&["db", "check"]).await?;
    assert!(report.code == 1 && report.out.contains("greenroom_sweep_v1"), "{report:?}");
    execute(&url, &["ALTER FUNCTION without_greenroom_sweep RENAME TO greenroom_sweep_v1"]).await?;
    harness(&url)?.run(&LIST).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn a_server_whose_connections_are_all_in_use_refuses_a_start_and_serves_the_pod_that_has_some() -> Result<()> {
    let server = PostgresServer::start_with(&["max_connections=20"]).await?;
    let url = server.url();
    let pod = PodOnDatabase::start(&url).await?;
    pod.terminal.run(&ECHO).await?.expect_success()?;
    let options: PgConnectOptions = url.parse()?;
    let mut others = Vec::new();
    let refusal = loop {
        match options.connect().await {
            Ok(connection) => others.push(connection),
            Err(error) => break error,
        }
    };
    let code = refusal.as_database_error().and_then(|error| Some(error.code()?.into_owned()));
    assert_eq!(code.as_deref(), Some("53300"), "{refusal}");
    let error = harness(&url)?.run(&LIST).await?.expect_error(1)?;
    expect_refusal(&error, "no_connections", "raise `max_connections`");
    let served = || async { pod.terminal.run(&ECHO).await.ok()?.expect_success().ok() };
    wait_until("the pod serves by the connections that it has", COMMAND_WAIT_MAX, served).await?;
    assert!(options.connect().await.is_err(), "no connection has become free");
    drop(others);
    pod.end().await
}

#[tokio::test]
async fn a_full_disk_of_the_server_rejects_requests_until_there_is_space() -> Result<()> {
    let url = create_database("full").await?;
    let pod = PodOnDatabase::start(&url).await?;
    pod.terminal.run(&ECHO).await?.expect_success()?;
    // The error of a table that cannot grow.
    let function = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                    RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$";
    let trigger = "CREATE TRIGGER full_disk BEFORE INSERT ON audit FOR EACH STATEMENT EXECUTE FUNCTION full_disk()";
    execute(&url, &[function, trigger]).await?;
    let error = pod.terminal.run(&ECHO).await?.expect_error(1)?;
    let found = (&error["code"], &error["details"]["store"]);
    assert_eq!(found, (&"audit_unavailable".into(), &"disk_full".into()), "{error:#}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("free some space")), "{error:#}");
    pod.expect_reported("disk_full", "the disk is full").await?;
    execute(&url, &["DROP TRIGGER full_disk ON audit"]).await?;
    pod.end().await
}

#[tokio::test]
async fn a_silent_database_delays_no_request_beyond_its_deadline() -> Result<()> {
    let url = create_database("silent").await?;
    let (proxy, by_proxy) = start_proxy(&url).await?;
    let pod = PodOnDatabase::start(&by_proxy).await?;
    pod.terminal.run(&ECHO).await?.expect_success()?;
    proxy.set(Link::Silent);
    let started_at = Instant::now();
    let error = pod.terminal.run(&[&ECHO[..], &DEADLINE[..]].concat()).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"timed_out".into(), &"timeout".into()), "{error:#}");
    assert!(started_at.elapsed() < DEADLINE_MISSED, "{:?}", started_at.elapsed());
    pod.expect_reported("timeout", "the lease of this pod was not renewed").await?;
    proxy.set(Link::Open);
    pod.end().await
}

#[tokio::test]
async fn a_pod_whose_connections_are_cut_again_and_again_serves_each_request_in_the_end() -> Result<()> {
    let url = create_database("cut").await?;
    let (proxy, by_proxy) = start_proxy(&url).await?;
    let pod = PodOnDatabase::start(&by_proxy).await?;
    for _ in 0..5 {
        let served = || async {
            let running = pod.terminal.start(&ECHO).ok()?;
            proxy.drop_connections();
            running.wait().await.ok()?.expect_success().ok()
        };
        let reply = wait_until("the request is served", COMMAND_WAIT_MAX, served).await?;
        assert_eq!(reply["outputs"]["text"], "hello", "{reply:#}");
    }
    pod.end().await
}
