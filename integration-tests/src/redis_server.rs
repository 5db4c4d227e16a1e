//! A Redis of one test, which it can flush, end and start again. `scripts/test` installs the program.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::wait::wait_until;

/// The program.
const PROGRAM: &str = "redis-server";
/// Longest wait for a server that starts, or for its reply.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(30);

/// A server that writes no file. It ends with the test.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    process: Child,
}

impl RedisServer {
    /// Starts a server at a free port, and waits until it listens.
    ///
    /// # Errors
    /// If the program is missing, or does not listen in time.
    pub async fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self { port, process: spawn(port)? };
        server.wait_listening().await?;
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Removes every key and every function.
    ///
    /// # Errors
    /// If the server does not confirm it.
    pub fn flush(&self) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(SERVER_WAIT_MAX))?;
        stream.write_all(b"FLUSHALL\r\nFUNCTION FLUSH\r\n")?;
        let mut replies = [0; 10];
        stream.read_exact(&mut replies)?;
        ensure!(&replies == b"+OK\r\n+OK\r\n", "{}", String::from_utf8_lossy(&replies));
        Ok(())
    }

    /// Ends the server, which forgets everything.
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
    /// As [`RedisServer::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.port)?;
        self.wait_listening().await
    }

    async fn wait_listening(&self) -> anyhow::Result<()> {
        let probe = || async { TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop) };
        wait_until("redis listens", SERVER_WAIT_MAX, probe).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // The test may have ended it.
        let _ = self.kill();
    }
}

fn spawn(port: u16) -> anyhow::Result<Child> {
    let port = port.to_string();
    let dir = std::env::temp_dir();
    let mut command = Command::new(PROGRAM);
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(dir);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    started.with_context(|| format!("{PROGRAM} cannot be started; `scripts/test` installs it"))
}
