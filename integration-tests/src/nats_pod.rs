//! A NATS server of one test, which it can end and start again, and the settings by which a pod receives requests over it.
//! `scripts/test` installs the program and names it in a variable.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential};
use tempfile::TempDir;

use crate::terminal::CliHarness;
use crate::wait::wait_until;

/// The variable with the path of the program.
const PROGRAM_VARIABLE: &str = "GREENROOM_TEST_NATS_SERVER";
/// Longest wait for a server that starts.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(30);
/// The key of the administrator.
const ADMIN_KEY: &str = "planted-key-of-admin";

/// A server without authentication, with JetStream in a folder of its own. It ends with the test.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    process: Child,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server at a free port, and waits until it listens.
    ///
    /// # Errors
    /// If the program is missing, or does not listen in time.
    pub async fn start() -> anyhow::Result<Self> {
        let program = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
        let program = program.with_context(|| format!("{PROGRAM_VARIABLE} is not set: run scripts/test"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let process = spawn(&program, port, &folder)?;
        let server = Self { program, port, process, folder };
        server.wait_listening().await?;
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends the server.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts a killed server again, and waits until it listens.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.program, self.port, &self.folder)?;
        self.wait_listening().await
    }

    /// Lets the pods of this terminal receive requests over this server; the administrator has a key.
    ///
    /// # Errors
    /// If the settings cannot be written.
    pub fn configure(&self, terminal: &mut CliHarness) -> anyhow::Result<()> {
        terminal.set_variable("NATS_URL", &self.url());
        terminal.set_variable("GREENROOM_CLUSTER_SECRET", "planted-secret-of-the-cluster");
        let users = format!("[[users]]\nname = \"admin\"\nroles = [\"admin\"]\napi_key = \"{ADMIN_KEY}\"\n");
        terminal.write_file("greenroom.toml", users)?;
        Ok(())
    }

    /// A client of the administrator.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_with_key(ADMIN_KEY).await
    }

    /// A client with this key.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn client_with_key(&self, key: &str) -> anyhow::Result<Client> {
        let options = ConnectOptions::default().credential(Credential::ApiKey(key.to_owned()));
        Ok(Client::connect_with(&self.url(), options).await?)
    }

    async fn wait_listening(&self) -> anyhow::Result<()> {
        let probe = || async { TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop) };
        wait_until("NATS listens", SERVER_WAIT_MAX, probe).await
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // The test may have ended it.
        let _ = self.kill();
    }
}

fn spawn(program: &Path, port: u16, folder: &TempDir) -> anyhow::Result<Child> {
    Command::new(program)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))
}
