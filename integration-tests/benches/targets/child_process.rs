//! Processes that a benchmark starts: the product with the default settings except for those that a benchmark sets, and
//! this program itself for a part that needs a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context;
use greenroom_integration_tests::server_process::send_signal;

use crate::program;

/// Variables of other programs that are settings of the product too.
const FOREIGN_VARIABLES: [&str; 4] = ["DATABASE_URL", "REDIS_URL", "S3_BUCKET", "NATS_URL"];

/// How long a process may take to end; then it is killed.
const END_MAX: Duration = Duration::from_secs(20);

/// A process without a terminal, which ends when this is dropped. It is asked to: a program that records a profile writes it
/// at its end (`scripts/profile`).
pub(crate) struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let id = self.0.id();
        // The process may have ended already.
        let _ = send_signal(id, "TERM");
        let (ended, end) = mpsc::channel::<()>();
        let killer = std::thread::spawn(move || {
            if end.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout) {
                let _ = send_signal(id, "KILL");
            }
        });
        let _ = self.0.wait();
        drop(ended);
        let _ = killer.join();
    }
}

impl ChildProcess {
    /// Starts the process; its output is discarded.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// Starts a process whose first line on standard output is the address on which it listens.
    pub(crate) fn start_listening(command: &mut Command) -> anyhow::Result<(Self, SocketAddr)> {
        let mut process = Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let stdout = process.0.stdout.take().context("the process has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok((process, line.trim().parse().context("the process has printed no address")?))
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> String {
        self.0.id().to_string()
    }
}

/// The product with these words as arguments, without any setting of this process.
pub(crate) fn product(words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(program("greenroom")?);
    // A setting of the machine that measures would change what is measured.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
        command.env_remove(name);
    }
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    command.args(words).env("GREENROOM_METRICS_ADDR", "off").env("GREENROOM_HTTP_ADDR", "off");
    Ok(command)
}

/// This program, for one part of a group.
pub(crate) fn own_part(words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("only").args(words);
    Ok(command)
}
