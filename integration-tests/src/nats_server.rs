//! A NATS server of one test, which it can configure, suspend, end and start again. `scripts/test` builds the program.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;

use crate::server_port::reserve_port;
use crate::server_process::{kill, set_suspended, wait_listening};

/// The variable with the path of the program.
const PROGRAM_VARIABLE: &str = "GREENROOM_TEST_NATS_SERVER";

/// A server with a folder of its own. It ends with the test.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    process: Child,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server without authentication at a free port, and waits until it listens.
    ///
    /// # Errors
    /// If the program is missing, or does not listen in time.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with("").await
    }

    /// As [`NatsServer::start`], with this configuration beside the port.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn start_with(configuration: &str) -> anyhow::Result<Self> {
        let port = reserve_port()?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("nats.conf"), configuration)?;
        let process = spawn(port, &folder)?;
        let server = Self { port, process, folder };
        wait_listening("nats-server", port).await?;
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its URL with the credentials of a user.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("nats://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// The id of its process.
    #[must_use]
    pub fn process(&self) -> String {
        self.process.id().to_string()
    }

    /// Suspends the server, or resumes it. The system accepts connections for a suspended server, and nothing replies.
    ///
    /// # Errors
    /// If it has ended.
    pub fn set_suspended(&self, suspended: bool) -> anyhow::Result<()> {
        set_suspended(&self.process, suspended)
    }

    /// Ends the server.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        kill(&mut self.process)
    }

    /// Starts a killed server again, and waits until it listens.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.port, &self.folder)?;
        wait_listening("nats-server", self.port).await
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // The test may have ended it.
        let _ = self.kill();
    }
}

fn spawn(port: u16, folder: &TempDir) -> anyhow::Result<Child> {
    let program = std::env::var(PROGRAM_VARIABLE)
        .with_context(|| format!("{PROGRAM_VARIABLE} names no program; `scripts/test` builds one"))?;
    let mut command = Command::new(&program);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "-c"]).arg(folder.path().join("nats.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("{program} cannot be started"))
}
