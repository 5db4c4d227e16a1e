//! A person at a terminal: the product's own binary, typed in a folder of its own. What it says goes to
//! files, so that a command that never ends is given up instead of waited for.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use greenroom_protocol::Json;
use tempfile::TempDir;

use crate::wait::until;

/// How long one command may take before it counts as hanging.
pub const COMMAND_WAIT_MAX: Duration = Duration::from_secs(60);

/// A folder in which commands are typed, with a data directory that is theirs.
#[derive(Debug)]
pub struct CliHarness {
    folder: TempDir,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    typed: Cell<u32>,
}

impl CliHarness {
    /// In a fresh folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let variables = vec![("GREENROOM_METRICS_ADDR".to_owned(), "off".to_owned())];
        Ok(Self { folder, options: Vec::new(), variables, typed: Cell::new(0) })
    }

    /// Every command from now on gets these options too.
    pub fn always(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// Every command from now on sees this variable.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Where commands are typed.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file, with the folders that lead to it, and answers where it lies.
    ///
    /// # Errors
    /// What the file system says.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Types a command and waits until it has ended.
    ///
    /// # Errors
    /// A binary that is not there; a command that does not end.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<CommandOutput> {
        self.start(words)?.ended().await
    }

    /// Types a command and does not wait for it.
    ///
    /// # Errors
    /// A binary that is not there.
    pub fn start(&self, words: &[&str]) -> anyhow::Result<RunningCommand> {
        let options = self.options.iter().map(String::as_str);
        self.start_other(&binary()?, &words.iter().copied().chain(options).collect::<Vec<_>>())
    }

    /// Types the name of another program, which gets no options but sees the same variables.
    ///
    /// # Errors
    /// A program that is not there.
    pub fn start_other(&self, program: &Path, words: &[&str]) -> anyhow::Result<RunningCommand> {
        let number = self.typed.replace(self.typed.get() + 1);
        let (out, err) =
            (self.folder.path().join(format!("{number}.out")), self.folder.path().join(format!("{number}.err")));
        let child = Command::new(program)
            .args(words)
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
        Ok(RunningCommand { child: RefCell::new(child), words: words.join(" "), out, err })
    }
}

/// The binary beside the test that asks for it.
fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("deps"))).and_then(Path::parent);
    let path = folder.context("a test lies in a folder `deps`")?.join("greenroom");
    ensure!(path.is_file(), "{} is missing: `cargo test --workspace` builds it with the tests", path.display());
    Ok(path)
}

/// A command that has been typed. It ends with its owner.
#[derive(Debug)]
pub struct RunningCommand {
    child: RefCell<Child>,
    words: String,
    out: PathBuf,
    err: PathBuf,
}

impl RunningCommand {
    /// The number that the operating system gave it.
    #[must_use]
    pub fn id(&self) -> String {
        self.child.borrow().id().to_string()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until it has said this, on either channel.
    ///
    /// # Errors
    /// All that it said instead.
    pub async fn says(&self, text: &str) -> anyhow::Result<()> {
        let heard = || async {
            // Looked at in this order, what it says with its last breath is heard.
            let over = self.status();
            let said = self.err().contains(text) || self.out().contains(text);
            (said || over.is_some()).then_some(said)
        };
        let said = until(text, COMMAND_WAIT_MAX, heard).await;
        ensure!(matches!(said, Ok(true)), "greenroom {} said no {text:?}: {}{}", self.words, self.out(), self.err());
        Ok(())
    }

    fn status(&self) -> Option<std::io::Result<ExitStatus>> {
        self.child.borrow_mut().try_wait().transpose()
    }

    /// Asks it to end, as a service manager does.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.id()]).status()?;
        ensure!(asked.success(), "greenroom {} is gone: {}", self.words, self.err());
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// A command that does not end, or that a signal ended.
    pub async fn ended(self) -> anyhow::Result<CommandOutput> {
        let (words, err) = (self.words.clone(), self.err.clone());
        let ended = self.wait_or_kill().await?;
        ended.with_context(|| {
            format!("greenroom {words} ended by a signal: {}", fs::read_to_string(err).unwrap_or_default())
        })
    }

    /// Waits until it has ended; answers nothing if a signal ended it.
    ///
    /// # Errors
    /// A command that does not end.
    pub async fn wait_or_kill(self) -> anyhow::Result<Option<CommandOutput>> {
        let status = until("the end of the command", COMMAND_WAIT_MAX, || async { self.status() })
            .await
            .with_context(|| format!("greenroom {}", self.words))??;
        let said = |code| CommandOutput { words: self.words.clone(), code, out: self.out(), err: self.err() };
        Ok(status.code().map(said))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct CommandOutput {
    /// What was typed.
    pub words: String,
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl CommandOutput {
    /// Its standard output as one JSON document.
    ///
    /// # Errors
    /// What it said instead.
    pub fn json(&self) -> anyhow::Result<Json> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?} is not JSON"))
    }

    /// Its document, if it ended well.
    ///
    /// # Errors
    /// What it said instead.
    pub fn done(&self) -> anyhow::Result<Json> {
        ensure!(self.code == 0, "{self:?}");
        self.json()
    }

    /// The error of its document, if it ended with this exit code.
    ///
    /// # Errors
    /// What it said instead.
    pub fn refused(&self, code: i32) -> anyhow::Result<Json> {
        ensure!(self.code == code, "exit code {code} was expected: {self:?}");
        self.json()?.get("error").cloned().with_context(|| format!("{self:?} has no error"))
    }
}
