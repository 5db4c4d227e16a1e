//! Pods with users, an issuer, HTTP and NATS: two that share a PostgreSQL database, or one that is started again over its
//! SQLite file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::http::HttpOptions;
use greenroom_client::{Client, Credential};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::http_pod::exchange;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::{ErrorCode, PodId, PrincipalId, Reply};
use greenroom_registry::migrate_postgres;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, HttpConfig, NatsConfig, Secret, StoreConfig, UserDirectory};
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use tempfile::TempDir;

use crate::issuer;
use crate::postgres::create_database;

/// Longest wait for what a pod does.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// An agent that returns its input.
pub(super) const ECHO: &str = "echo_agent";
/// A workflow that awaits an approval.
pub(super) const SIGNED: &str = "signed";

const USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]
permissions = { pii_access = true }

[[users]]
name = "operator"
roles = ["agent_operator"]
permissions = { allowed_categories = ["business_ops"] }

[[users]]
name = "guest"
api_key = "planted-guest-key"
"#;

/// The principal of a user of the issuer.
pub(super) fn subject(user: &str) -> Result<PrincipalId> {
    Ok(PrincipalId { issuer: "login".parse()?, tenant: "default".parse()?, user: user.parse()? })
}

/// A pod and where it is served.
pub(super) struct ServedPod {
    pub(super) pod: Pod,
    addr: SocketAddr,
    nats: Option<(String, String)>,
}

impl ServedPod {
    /// A client over HTTP.
    pub(super) fn client(&self, secret: &str) -> Result<Client> {
        let options = HttpOptions::default().credential(Credential::Bearer(secret.to_owned()));
        Ok(Client::connect_http(&format!("http://{}", self.addr), options)?)
    }

    /// Executes the agent over HTTP; the status of the response.
    pub(super) async fn echo_over_http(&self, secret: &str) -> Result<u16> {
        let body = json!({ "inputs": { "text": "x" } }).to_string();
        let request = format!(
            "POST /v1/agents/{ECHO}/execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer \
             {secret}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(exchange(self.addr, request.as_bytes()).await?.status)
    }

    /// Executes the agent over NATS; the code of the error, if there is one.
    pub(super) async fn echo_over_nats(&self, secret: &str) -> Result<Option<ErrorCode>> {
        let (url, prefix) = self.nats.as_ref().context("the pod uses NATS")?;
        let client = async_nats::connect(url).await?;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Authorization", format!("Bearer {secret}").as_str());
        let body = json!({ "inputs": { "text": "x" } }).to_string();
        let request = async_nats::Request::new().headers(headers).payload(body.into()).timeout(Some(WAIT_MAX));
        let message = client.send_request(format!("{prefix}.v1.agents.{ECHO}.execute"), request).await?;
        let reply: Reply = serde_json::from_slice(&message.payload)?;
        Ok(reply.error.map(|cause| cause.code))
    }
}

fn definitions(dir: &Path) -> Result<DefinitionsDir> {
    let definitions = DefinitionsDir::new(dir)?;
    definitions.write_echo_agent(ECHO)?;
    definitions.write_signed_workflow()?;
    Ok(definitions)
}

/// Users, an issuer, and HTTP on a free port.
fn add_identities(config: &mut Config) -> Result<()> {
    config.users = toml::from_str::<UserDirectory>(USERS)?;
    config.issuers = issuer::config("default")?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (cors_origins, connections_max, upload_bytes_max) = (Vec::new(), 64, 1024 * 1024);
    config.http =
        Some(HttpConfig { addr, allows_development_user: true, cors_origins, connections_max, upload_bytes_max });
    Ok(())
}

async fn start(config: &Config) -> Result<ServedPod> {
    let nats = config.nats.as_ref().map(|nats| (shared_url(), nats.prefix.clone()));
    let overrides = Overrides { uses_nats: nats.is_some(), ..Overrides::default() };
    let pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
    let mut pod = pod.context("the pod cannot be assembled")?;
    let nats = match nats {
        Some((url, prefix)) => {
            pod.serve_nats().await?;
            Some((url?, prefix))
        }
        None => None,
    };
    let addr = pod.serve_http()?.context("HTTP is on")?;
    Ok(ServedPod { pod, addr, nats })
}

fn shared_url() -> Result<String> {
    let variable = "GREENROOM_TEST_NATS_URL";
    std::env::var(variable).with_context(|| format!("{variable} names no server; `scripts/test` starts one"))
}

/// Two pods that share a database. Each has subjects of its own, so that a test chooses the pod.
pub(super) struct SharedPods {
    pub(super) pods: [ServedPod; 2],
    _folder: TempDir,
}

impl SharedPods {
    /// Starts the pods over a new database.
    pub(super) async fn start(name: &str) -> Result<Self> {
        let url = create_database(name).await?;
        migrate_postgres(&url).await?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("artifacts"))?;
        let definitions = definitions(&folder.path().join("definitions"))?;
        let first = Self::start_pod(&url, folder.path(), &definitions, "pod_a").await?;
        let second = Self::start_pod(&url, folder.path(), &definitions, "pod_b").await?;
        Ok(Self { pods: [first, second], _folder: folder })
    }

    async fn start_pod(url: &str, folder: &Path, definitions: &DefinitionsDir, name: &str) -> Result<ServedPod> {
        let dir = folder.join(name);
        let mut config = test_config(&dir, StoreKind::Memory, Some(definitions.dir()))?;
        config.store = StoreConfig::Postgres { url: Secret::new(url) };
        config.pod = PodId::new(name)?;
        config.artifacts.shared = true;
        config.nats = Some(NatsConfig { prefix: format!("t_identity_{name}"), ..NatsConfig::for_url(&shared_url()?) });
        config.cluster.secret = Some(Secret::new("planted cluster secret"));
        fs::create_dir(&config.data_dir)?;
        symlink(folder.join("artifacts"), config.artifacts_dir())?;
        // The first pod generates the key of both.
        let key = folder.join("audit.key");
        if key.exists() {
            fs::copy(&key, config.audit_key_file())?;
        }
        add_identities(&mut config)?;
        let pod = start(&config).await?;
        if !key.exists() {
            fs::copy(config.audit_key_file(), &key)?;
        }
        Ok(pod)
    }

    /// Stops both. The future is boxed here, because it contains both.
    pub(super) fn shutdown(self) -> impl Future<Output = ()> {
        Box::pin(self.stop())
    }

    async fn stop(self) {
        for served in self.pods {
            served.pod.shutdown().await;
        }
    }
}

/// What outlives the starts of one pod.
pub(super) struct SingleData {
    config: Config,
    _folder: TempDir,
}

impl SingleData {
    /// A data directory with an SQLite file.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = definitions(&folder.path().join("definitions"))?;
        let mut config = test_config(folder.path(), StoreKind::Full, Some(definitions.dir()))?;
        add_identities(&mut config)?;
        Ok(Self { config, _folder: folder })
    }

    /// Starts the pod.
    pub(super) async fn start(&self) -> Result<ServedPod> {
        start(&self.config).await
    }
}
