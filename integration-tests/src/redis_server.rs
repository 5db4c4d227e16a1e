//! A Redis of one test, which it can change, suspend, end and start again. `scripts/test` installs the program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::server_port::reserve_port;
use crate::server_process::{SERVER_WAIT_MAX, kill, set_suspended, wait_listening};

/// The program.
const PROGRAM: &str = "redis-server";

/// A server that writes no file, in a folder of its own. It ends with the test.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    options: Vec<&'static str>,
    process: Child,
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server at a free port, and waits until it listens.
    ///
    /// # Errors
    /// If the program is missing, or does not listen in time.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`RedisServer::start`], with further options of the program.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn start_with(options: &[&'static str]) -> anyhow::Result<Self> {
        let port = reserve_port()?;
        let folder = tempfile::tempdir()?;
        let process = spawn(port, options, &folder)?;
        let server = Self { port, options: options.to_vec(), process, folder };
        wait_listening("redis", port).await?;
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command whose reply is `OK`.
    ///
    /// # Errors
    /// If the server gives another reply, or none.
    pub fn command(&self, command: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(SERVER_WAIT_MAX))?;
        write!(stream, "{command}\r\n")?;
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply)?;
        ensure!(reply == "+OK\r\n", "{command}: {reply:?}");
        Ok(())
    }

    /// Removes every key and every function.
    ///
    /// # Errors
    /// If the server does not confirm it.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.command("FLUSHALL")?;
        self.command("FUNCTION FLUSH")
    }

    /// Suspends the server, or resumes it. The system accepts connections for a suspended server, and nothing replies.
    ///
    /// # Errors
    /// If it has ended.
    pub fn set_suspended(&self, suspended: bool) -> anyhow::Result<()> {
        set_suspended(&self.process, suspended)
    }

    /// Ends the server, which forgets everything.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        kill(&mut self.process)
    }

    /// Starts a killed server again, and waits until it listens.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.port, &self.options, &self.folder)?;
        wait_listening("redis", self.port).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // The test may have ended it.
        let _ = self.kill();
    }
}

fn spawn(port: u16, options: &[&'static str], folder: &TempDir) -> anyhow::Result<Child> {
    let port = port.to_string();
    let mut command = Command::new(PROGRAM);
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder.path()).args(options).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().with_context(|| format!("{PROGRAM} cannot be started; `scripts/test` installs it"))
}
