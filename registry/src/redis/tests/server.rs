//! Servers of one test: the tests change what they allow, suspend them and end them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The program, which `scripts/test` installs.
const PROGRAM: &str = "redis-server";

/// A Redis of one test. It persists nothing.
pub(super) struct Server {
    port: u16,
    options: Vec<&'static str>,
    process: Child,
    dir: TempDir,
}

impl Server {
    /// Starts a server at a free port. It may not listen yet.
    pub(super) fn start(options: &[&'static str]) -> Self {
        Self::start_at(free_port(), options)
    }

    /// Starts a server at this port.
    pub(super) fn start_at(port: u16, options: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = spawn(port, options, &dir);
        Self { port, options: options.to_vec(), process, dir }
    }

    pub(super) fn url(&self) -> String {
        url(self.port)
    }

    /// Ends the server; it forgets its keys and its functions.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts a killed server again.
    pub(super) fn restart(&mut self) {
        self.process = spawn(self.port, &self.options, &self.dir);
    }

    /// Suspends the server, or resumes it: the system accepts connections for it, and nothing replies.
    pub(super) fn set_suspended(&self, suspended: bool) {
        let signal = if suspended { "-STOP" } else { "-CONT" };
        let kill = format!("kill {signal} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by its test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nothing listens on.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn spawn(port: u16, options: &[&'static str], dir: &TempDir) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir.path()).args(options).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}; `scripts/test` installs it"))
}
