//! A process of `greenroom up` that takes requests over every public interface: the command line, HTTP and NATS, each with
//! the same users.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Context;
use greenroom_client::http::HttpOptions;
use greenroom_client::{Client, Credential};

use crate::definitions_dir::DefinitionsDir;
use crate::http_pod::{ADMIN_KEY, HttpResponse, send_to};
use crate::nats_server::NatsServer;
use crate::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use crate::wait::wait_until;

/// The file of settings in the folder of the process. A test may write further tables into it; the users are added.
pub const SETTINGS: &str = "greenroom.toml";
/// The key of a user who may call the agents of one category.
pub const OPERATOR_KEY: &str = "planted-key-of-operator";
/// The users. The tenant of the pod itself, in which all but one of them are, may maintain its stores. The command line
/// authenticates as `admin` unless its arguments name another user; the keys are those of [`crate::http_pod`].
const USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]
permissions = { pii_access = true }
rate_limit = 1000000
query_limit = 1000000
api_key = "planted-key-of-admin"

[[users]]
name = "operator"
roles = ["agent_operator"]
permissions = { allowed_categories = ["business_ops"] }
api_key = "planted-key-of-operator"

[[users]]
name = "guest"
api_key = "planted-key-of-guest"

[[users]]
name = "other"
tenant = "globex"
roles = ["admin"]
permissions = { pii_access = true }
api_key = "planted-key-of-other"
"#;

/// A process, its terminal and its NATS. It is killed on drop.
#[derive(Debug)]
pub struct UpProcess {
    process: Mutex<Option<RunningCommand>>,
    /// Runs commands, which the process executes.
    pub terminal: CliHarness,
    /// The server over which it takes requests.
    pub nats: NatsServer,
    /// Where it serves HTTP.
    pub addr: SocketAddr,
}

impl UpProcess {
    /// Starts a process with definitions of its own, which `prepare` writes; it may set variables and write [`SETTINGS`], too.
    ///
    /// # Errors
    /// If the process does not take requests in time.
    pub async fn start(
        prepare: impl FnOnce(&mut CliHarness, &DefinitionsDir) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut terminal = CliHarness::open()?;
        let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
        terminal.set_variable("GREENROOM_DEFINITIONS", &definitions.dir().display().to_string());
        prepare(&mut terminal, &definitions)?;
        Self::start_in(terminal).await
    }

    /// Starts a process with the definitions that the binary embeds.
    ///
    /// # Errors
    /// As [`UpProcess::start`].
    pub async fn start_embedded() -> anyhow::Result<Self> {
        Self::start_in(CliHarness::open()?).await
    }

    async fn start_in(mut terminal: CliHarness) -> anyhow::Result<Self> {
        let nats = NatsServer::start().await?;
        let addr = free_address()?;
        terminal.set_variable("GREENROOM_HTTP_ADDR", &addr.to_string());
        terminal.set_variable("NATS_URL", &nats.url());
        terminal.set_variable("GREENROOM_CLUSTER_SECRET", "planted-secret-of-the-cluster");
        let settings = std::fs::read_to_string(terminal.folder().join(SETTINGS)).unwrap_or_default();
        terminal.write_file(SETTINGS, format!("{settings}{USERS}"))?;
        let up = Self { process: Mutex::new(None), terminal, nats, addr };
        up.restart().await?;
        Ok(up)
    }

    /// Kills the process, as `kill -9` does.
    pub fn kill(&self) {
        self.replace(None);
    }

    /// Starts a killed process again at the same addresses, and waits until it takes requests.
    ///
    /// # Errors
    /// As [`UpProcess::start`].
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.replace(Some(self.terminal.start(&["up"])?));
        wait_until_ready(self.addr).await.with_context(|| self.log())
    }

    /// Ends the process by SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// If it does not end in time, or with another exit code than 0.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let process = process.context("the process has ended already")?;
        process.terminate()?;
        let output = process.wait().await?;
        anyhow::ensure!(output.code == 0, "{output:?}");
        Ok(())
    }

    /// The id of the process; `None` once it was killed.
    #[must_use]
    pub fn process(&self) -> Option<String> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_ref().map(RunningCommand::id)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_ref().map(RunningCommand::err).unwrap_or_default()
    }

    /// A client over HTTP with this key.
    ///
    /// # Errors
    /// Never: the address is one.
    pub fn http(&self, key: &str) -> anyhow::Result<Client> {
        let options = HttpOptions::default().credential(Credential::ApiKey(key.to_owned()));
        Ok(Client::connect_http(&format!("http://{}", self.addr), options)?)
    }

    /// A client over NATS with this key.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn nats(&self, key: &str) -> anyhow::Result<Client> {
        self.nats.client_with_key(key).await
    }

    /// Sends `GET` to a path as the administrator.
    ///
    /// # Errors
    /// If no response arrives in time.
    pub async fn get(&self, path: &str) -> anyhow::Result<HttpResponse> {
        send_to(self.addr, &format!("GET {path}"), Some(ADMIN_KEY), &[], "").await
    }

    /// Sends `POST` to a path as the administrator.
    ///
    /// # Errors
    /// If no response arrives in time.
    pub async fn post(&self, path: &str, headers: &[&str], body: &str) -> anyhow::Result<HttpResponse> {
        send_to(self.addr, &format!("POST {path}"), Some(ADMIN_KEY), headers, body).await
    }

    fn replace(&self, process: Option<RunningCommand>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }
}

/// The process that the running tests of a group share: the first of them starts it, and it ends with the last one.
#[derive(Debug, Default)]
pub struct SharedUp(tokio::sync::Mutex<Weak<UpProcess>>);

impl SharedUp {
    /// A process that no test uses yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(tokio::sync::Mutex::const_new(Weak::new()))
    }

    /// The process that runs, or else the one that `start` starts.
    ///
    /// # Errors
    /// Those of `start`.
    pub async fn get(&self, start: impl Future<Output = anyhow::Result<UpProcess>>) -> anyhow::Result<Arc<UpProcess>> {
        let mut shared = self.0.lock().await;
        if let Some(up) = shared.upgrade() {
            return Ok(up);
        }
        let up = Arc::new(start.await?);
        *shared = Arc::downgrade(&up);
        Ok(up)
    }
}

/// An address of this machine that nothing listens on.
///
/// # Errors
/// If no port is free.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until the process at this address takes requests.
///
/// # Errors
/// If it does not in time.
pub async fn wait_until_ready(addr: SocketAddr) -> anyhow::Result<()> {
    let ready = || async {
        let ping = send_to(addr, "GET /ping", None, &[], "").await.ok()?;
        (ping.status == 200).then_some(())
    };
    wait_until("the process takes requests", COMMAND_WAIT_MAX, ready).await
}
