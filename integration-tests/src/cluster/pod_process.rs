//! One pod as a process of its own, with a data folder of its own, that can be killed, frozen and started again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use greenroom_protocol::{Json, UserId};
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

use super::exits::ProcessId;
use super::programs::find_program;
use crate::server_process::send_signal;
use crate::wait::wait_until;

/// Longest wait for a pod that starts: it may have to compile its policy.
pub const START_MAX: Duration = Duration::from_secs(90);
/// Longest wait for a command beside the pod, which may be delayed by everything else on the machine.
const COMMAND_MAX: Duration = Duration::from_secs(180);
/// Longest wait for the reply of a pod that serves.
const IDENTIFY_MAX: Duration = Duration::from_millis(500);
/// Bytes of the end of a log that an error has.
const LOG_BYTES_MAX: usize = 4_096;

/// What runs as the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodProgram {
    /// `greenroom up`.
    Product,
    /// The same pod with a clock that can be put forward ([`super::shifted_pod`]).
    ShiftedClock,
}

/// A pod, running or not. Dropping it kills the process.
#[derive(Debug)]
pub struct PodProcess {
    name: String,
    folder: PathBuf,
    program: PodProgram,
    variables: Vec<(String, String)>,
    child: Option<Child>,
    process: ProcessId,
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.kill();
    }
}

impl PodProcess {
    /// A pod that is not started yet, with a folder of its own in `folder`, and with these variables.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn new(
        folder: &Path,
        name: &str,
        program: PodProgram,
        variables: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { name: name.to_owned(), folder, program, variables, child: None, process: ProcessId::default() })
    }

    /// Its name; the ids of its starts begin with it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process, also the next ones.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process.clone()
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join(CONTROL_SOCKET)
    }

    /// A command of the product in the data folder of this pod, with its variables.
    ///
    /// # Errors
    /// If the product was not built.
    pub fn product_command(&self) -> anyhow::Result<Command> {
        Ok(self.configure(Command::new(find_program("greenroom")?)))
    }

    /// Executes a command of the product beside this pod, and returns its document.
    ///
    /// # Errors
    /// If it prints none, or does not end.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<Json> {
        let (output, errors) = (self.folder.join("command.out"), self.folder.join("command.err"));
        let mut command = self.product_command()?;
        command.args(words).args(["-o", "json"]).stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let mut child = command.spawn()?;
        let has_ended = || {
            let status = child.try_wait().ok().flatten();
            async move { status }
        };
        let ended = wait_until("the command ends", COMMAND_MAX, has_ended).await;
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let text = || format!("greenroom {}: {}", words.join(" "), fs::read_to_string(&errors).unwrap_or_default());
        ended.with_context(text)?;
        serde_json::from_slice(&fs::read(&output)?).with_context(text)
    }

    fn configure(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.folder)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GREENROOM_DATA_DIR", self.data_dir())
            .env("GREENROOM_POD", &self.name)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts the process. Its log is appended to that of its earlier starts.
    ///
    /// # Errors
    /// If the program was not built, or cannot be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = match self.program {
            PodProgram::Product => {
                let mut command = self.product_command()?;
                command.args(["up", "-o", "json"]);
                command
            }
            PodProgram::ShiftedClock => {
                let mut command = self.configure(Command::new(find_program("chaos")?));
                command.arg("pod").stdin(Stdio::piped());
                command
            }
        };
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        self.process.set(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// True if the process has ended by itself.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// Kills the process, as `kill -9` does.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.clear();
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.as_ref().context("the pod is not started")?.id();
        send_signal(id, name).with_context(|| format!("the pod {}: {}", self.name, self.log_end()))
    }

    /// Puts its clock forward.
    ///
    /// # Errors
    /// If its clock cannot be put forward, or the process has ended.
    pub fn put_clock_forward(&mut self, by: Duration) -> anyhow::Result<()> {
        let input = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        let input = input.with_context(|| format!("the pod {} has the clock of the machine", self.name))?;
        writeln!(input, "{}", by.as_millis())?;
        Ok(input.flush()?)
    }

    /// True if the process accepts requests.
    pub async fn is_serving(&self) -> bool {
        let Ok(user) = UserId::new("admin") else { return false };
        let socket = ControlClient::new(&self.socket(), user);
        matches!(tokio::time::timeout(IDENTIFY_MAX, socket.identify()).await, Ok(Ok(_)))
    }

    /// Waits until the process accepts requests.
    ///
    /// # Errors
    /// If it does not in time; the error has the end of its log.
    pub async fn wait_serving(&self) -> anyhow::Result<()> {
        let is_serving = || async { self.is_serving().await.then_some(()) };
        let waited = wait_until("the pod accepts requests", START_MAX, is_serving).await;
        waited.with_context(|| format!("the pod {}: {}", self.name, self.log_end()))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("pod.log")
    }

    /// The end of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let end = log.get(log.len().saturating_sub(LOG_BYTES_MAX)..).unwrap_or_default();
        String::from_utf8_lossy(end).into_owned()
    }
}
