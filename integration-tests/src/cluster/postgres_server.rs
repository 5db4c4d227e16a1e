//! A PostgreSQL of one run of the harness, which can be stopped and started again. `scripts/test` installs the
//! programs.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::server_port::reserve_port;

/// Where Debian has the programs of each version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
/// The user of the server if the harness runs as root, which the server refuses to do.
const SERVER_USER: &str = "postgres";
/// The role that owns everything.
const ROLE: &str = "greenroom";
/// Settings of the server. What it writes survives its own end, also an immediate one, without waiting for the disk.
const SETTINGS: &str = "-c fsync=off -c full_page_writes=off -c max_connections=200";
/// Longest wait for a server that starts or stops, in seconds.
const SERVER_WAIT_SECONDS: &str = "60";

/// How the server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Connections are closed, and the server writes what it has in memory.
    Fast,
    /// It ends at once, as after a crash, and recovers when it starts.
    Immediate,
}

impl StopMode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

impl fmt::Display for StopMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A running server in a folder of its own. It ends with the harness.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    is_root: bool,
    port: u16,
    folder: TempDir,
    /// Further settings of the program.
    settings: String,
}

impl PostgresServer {
    /// Creates and starts a server at a free port.
    ///
    /// # Errors
    /// If the programs are missing, or the server does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`PostgresServer::start`], with further settings (`NAME=VALUE`).
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub async fn start_with(settings: &[&str]) -> anyhow::Result<Self> {
        let programs = find_programs()?;
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        let port = reserve_port()?;
        let settings = settings.iter().map(|setting| format!(" -c {setting}")).collect();
        let server = Self { programs, is_root, port, folder: tempfile::tempdir()?, settings };
        if is_root {
            let mut command = Command::new("chown");
            command.arg(SERVER_USER).arg(server.folder.path());
            server.execute(command).await?;
        }
        let mut command = server.command("initdb");
        command.args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        server.execute(command).await?;
        server.start_again().await?;
        Ok(server)
    }

    /// The URL of the database that every server has, for a user who may do everything.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops the server.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn stop(&self, mode: StopMode) -> anyhow::Result<()> {
        let mut command = self.command("pg_ctl");
        command.args(["stop", "--silent", "--wait", "--timeout", SERVER_WAIT_SECONDS, "--mode", mode.as_str()]);
        self.execute(command).await
    }

    /// Starts the stopped server, and waits until it accepts connections.
    ///
    /// # Errors
    /// If it does not.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        let folder = self.folder.path().display();
        let options = format!("-h 127.0.0.1 -p {} -k {folder} {SETTINGS}{}", self.port, self.settings);
        let mut command = self.command("pg_ctl");
        command.args(["start", "--silent", "--wait", "--timeout", SERVER_WAIT_SECONDS, "--options", &options, "--log"]);
        command.arg(self.log());
        self.execute(command).await
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// A program of the server for its data, as the user who may run it.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if self.is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", SERVER_USER, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // The user may not enter the folder of the harness.
        command.current_dir("/").env("PGDATA", self.folder.path().join("data"));
        command
    }

    /// Executes a command on a thread that may block. The server that it starts inherits nothing of the harness.
    async fn execute(&self, mut command: Command) -> anyhow::Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let text = format!("{command:?}");
        let status = tokio::task::spawn_blocking(move || command.status()).await?;
        let status = status.with_context(|| text.clone())?;
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        ensure!(status.success(), "{text} failed: {}", log());
        Ok(())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl");
        command.args(["stop", "--silent", "--mode", StopMode::Immediate.as_str()]);
        // It may have been stopped already.
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The folder of the programs: Debian's newest version, which is not in the path, or a folder of the path.
fn find_programs() -> anyhow::Result<PathBuf> {
    let has_programs = |folder: &PathBuf| folder.join("pg_ctl").is_file() && folder.join("initdb").is_file();
    let installed = fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let versions = installed.map(|entry| entry.path().join("bin")).filter(has_programs);
    let newest = versions.max_by_key(|folder| version_of(folder));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&path).find(has_programs);
    newest.or_else(in_path).context("PostgreSQL is missing; `scripts/test` installs it")
}

/// The version in `…/15/bin`.
fn version_of(folder: &Path) -> u32 {
    let version = folder.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}
