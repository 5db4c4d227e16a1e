//! Runs the product's binary as a user does at a terminal, in a folder of its own. The output goes to
//! files, so that a command that never ends fails the test after a bound.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use greenroom_protocol::Json;
use tempfile::TempDir;

use crate::server_process::send_signal;
use crate::wait::wait_until;

/// Bound of the run time of one command; beyond it the command counts as hanging.
pub const COMMAND_WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs commands in a folder with a data directory of their own.
#[derive(Debug)]
pub struct CliHarness {
    folder: TempDir,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    /// Atomic, so that tests on several threads share a terminal.
    command_count: AtomicU32,
    /// The output format of a command whose arguments name none.
    format: Option<&'static str>,
}

impl CliHarness {
    /// Creates a new folder. The output of a command is JSON unless its arguments name another format.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let off = ["GREENROOM_METRICS_ADDR", "GREENROOM_HTTP_ADDR"];
        let variables = off.map(|name| (name.to_owned(), "off".to_owned())).into();
        Ok(Self { folder, options: Vec::new(), variables, command_count: AtomicU32::new(0), format: Some("json") })
    }

    /// As [`Self::open`], but the output is what a command prints if its arguments name no format.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open_without_format() -> anyhow::Result<Self> {
        Ok(Self { format: None, ..Self::open()? })
    }

    /// Adds options to every later command.
    pub fn add_options(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// Sets an environment variable of every later command.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The working directory of the commands.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file and the folders above it, and returns its path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_file(&self, name: &str, contents: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Runs a command and waits for its end.
    ///
    /// # Errors
    /// If the binary is missing or the command does not end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<CommandOutput> {
        self.start(arguments)?.wait().await
    }

    /// Starts a command and does not wait for it.
    ///
    /// # Errors
    /// If the binary is missing.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<RunningCommand> {
        let options = self.options.iter().map(String::as_str);
        let mut all: Vec<&str> = arguments.iter().copied().chain(options).collect();
        if let Some(format) = self.format.filter(|_| !all.contains(&"-o")) {
            all.extend(["-o", format]);
        }
        self.start_program(&binary()?, &all)
    }

    /// Runs a line of `sh` in which `"$0"` is the product's binary, for redirections and pipes.
    ///
    /// # Errors
    /// If the binary is missing or the line does not end.
    pub async fn run_shell(&self, line: &str) -> anyhow::Result<CommandOutput> {
        let binary = binary()?;
        let binary = binary.to_str().context("the path of the binary is UTF-8")?;
        self.start_program(Path::new("/bin/sh"), &["-c", line, binary])?.wait().await
    }

    /// Starts another program with the same variables and without the added options.
    ///
    /// # Errors
    /// If the program is missing.
    pub fn start_program(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<RunningCommand> {
        let number = self.command_count.fetch_add(1, Ordering::Relaxed);
        let (out, err) =
            (self.folder.path().join(format!("{number}.out")), self.folder.path().join(format!("{number}.err")));
        let child = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GREENROOM_DATA_DIR", self.data_dir())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .context("the binary cannot be started")?;
        Ok(RunningCommand { child: RefCell::new(child), arguments: arguments.join(" "), out, err })
    }
}

/// Path of the product's binary, in the folder above that of the running test.
///
/// # Errors
/// If it was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("deps"))).and_then(Path::parent);
    let path = folder.context("a test binary is in a folder `deps`")?.join("greenroom");
    ensure!(path.is_file(), "{} is missing: `cargo test --workspace` builds it with the tests", path.display());
    Ok(path)
}

/// A running command; dropping it kills the process.
#[derive(Debug)]
pub struct RunningCommand {
    child: RefCell<Child>,
    arguments: String,
    out: PathBuf,
    err: PathBuf,
}

impl RunningCommand {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> String {
        self.child.borrow().id().to_string()
    }

    /// Standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until standard output or standard error contains this text.
    ///
    /// # Errors
    /// If the command ends without it; the error contains the whole output.
    pub async fn wait_for_output(&self, text: &str) -> anyhow::Result<()> {
        let observe = || async {
            // The status is read first, so that output written just before the end is still found.
            let exit_status = self.status();
            let is_printed = self.err().contains(text) || self.out().contains(text);
            (is_printed || exit_status.is_some()).then_some(is_printed)
        };
        let is_printed = wait_until(text, COMMAND_WAIT_MAX, observe).await;
        ensure!(
            matches!(is_printed, Ok(true)),
            "greenroom {} did not print {text:?}: {}{}",
            self.arguments,
            self.out(),
            self.err()
        );
        Ok(())
    }

    fn status(&self) -> Option<std::io::Result<ExitStatus>> {
        self.child.borrow_mut().try_wait().transpose()
    }

    /// Sends SIGTERM, as a service manager does.
    ///
    /// # Errors
    /// If the process has ended already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// If the process has ended already.
    pub fn interrupt(&self) -> anyhow::Result<()> {
        self.signal("INT")
    }

    /// Sends SIGHUP, as a terminal does that is closed.
    ///
    /// # Errors
    /// If the process has ended already.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        self.signal("HUP")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.borrow().id();
        send_signal(id, name).with_context(|| format!("greenroom {}: {}", self.arguments, self.err()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the command does not end, or a signal ended it.
    pub async fn wait(self) -> anyhow::Result<CommandOutput> {
        let (arguments, err) = (self.arguments.clone(), self.err.clone());
        let ended = self.wait_or_kill().await?;
        ended.with_context(|| {
            format!("greenroom {arguments} ended by a signal: {}", fs::read_to_string(err).unwrap_or_default())
        })
    }

    /// Waits for its end; returns `None` if a signal ended it.
    ///
    /// # Errors
    /// If the command does not end.
    pub async fn wait_or_kill(self) -> anyhow::Result<Option<CommandOutput>> {
        let status = wait_until("the end of the command", COMMAND_WAIT_MAX, || async { self.status() })
            .await
            .with_context(|| format!("greenroom {}", self.arguments))??;
        let output = |code| CommandOutput { arguments: self.arguments.clone(), code, out: self.out(), err: self.err() };
        Ok(status.code().map(output))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // If it has ended by itself, both calls fail and there is nothing to do.
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The output and exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    /// The arguments of the command.
    pub arguments: String,
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl CommandOutput {
    /// Parses standard output as one JSON document.
    ///
    /// # Errors
    /// If the output is different; the error contains it.
    pub fn json(&self) -> anyhow::Result<Json> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?} is not JSON"))
    }

    /// Parses the document of a command that ended with exit code 0.
    ///
    /// # Errors
    /// If the output is different; the error contains it.
    pub fn expect_success(&self) -> anyhow::Result<Json> {
        ensure!(self.code == 0, "{self:?}");
        self.json()
    }

    /// Returns the error of the document of a command that ended with this exit code.
    ///
    /// # Errors
    /// If the output is different; the error contains it.
    pub fn expect_error(&self, code: i32) -> anyhow::Result<Json> {
        ensure!(self.code == code, "exit code {code} was expected: {self:?}");
        self.json()?.get("error").cloned().with_context(|| format!("{self:?} has no error"))
    }
}
