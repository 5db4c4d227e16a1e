//! What all processes of the runtime share, prepared at the first call: the interpreter, the packages, the module
//! `greenroom` and what the machine has to isolate them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use greenroom_actors::concurrency::spawn_blocking;
use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::interpreter::Interpreter;
use super::isolation::{EndedGroups, Isolation};
use super::settings::Settings;
use super::{command, interpreter, isolation, packages, work_folder};

/// The module `greenroom`: the name of each file and its text.
const MODULE: [(&str, &str); 5] = [
    ("__init__.py", include_str!("greenroom/__init__.py")),
    ("_calls.py", include_str!("greenroom/_calls.py")),
    ("_frames.py", include_str!("greenroom/_frames.py")),
    ("_limits.py", include_str!("greenroom/_limits.py")),
    ("_worker.py", include_str!("greenroom/_worker.py")),
];
/// How long a preparation that has failed is not repeated.
const FAILURE_DELAY: Duration = Duration::from_secs(10);
/// How long the interpreter may take to compile the module.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(20);

/// What all processes share.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) interpreter: Interpreter,
    pub(super) isolation: Isolation,
    /// The folder of the handlers, absolute.
    pub(super) handlers: PathBuf,
    /// The folder that has the module `greenroom`.
    pub(super) library: PathBuf,
    /// The folder with the packages, if there are requirements.
    pub(super) packages: Option<PathBuf>,
    /// The folder of the working folders of processes.
    pub(super) workers: PathBuf,
    pub(super) ended_groups: Arc<EndedGroups>,
    /// True once the log has what the machine lacks.
    pub(super) is_reported: AtomicBool,
}

/// A preparation: what it has made, or when it has failed.
type Prepared = Result<Arc<Environment>, (Instant, Cause)>;

/// The environment, once it is prepared.
#[derive(Debug, Default)]
pub(super) struct SharedEnvironment(Mutex<Option<Prepared>>);

impl SharedEnvironment {
    /// The environment; prepares it if that was not done yet, or has failed a while ago.
    ///
    /// # Errors
    /// [`ErrorCode::RuntimeUnavailable`], with what is missing.
    pub(super) async fn get(&self, settings: &Settings) -> Result<Arc<Environment>, Cause> {
        let mut prepared = self.0.lock().await;
        match &*prepared {
            Some(Ok(environment)) => return Ok(Arc::clone(environment)),
            Some(Err((at, cause))) if at.elapsed() < FAILURE_DELAY => return Err(cause.clone()),
            Some(Err(_)) | None => {}
        }
        let result = Box::pin(prepare(settings)).await.map(Arc::new);
        *prepared = Some(result.clone().map_err(|cause| (Instant::now(), cause)));
        result
    }
}

async fn prepare(settings: &Settings) -> Result<Environment, Cause> {
    let handlers = std::fs::canonicalize(&settings.handlers).map_err(|error| {
        let message = format!(
            "the folder of the handlers {} cannot be read: {error}; create it, or set `runtimes.python.handlers`",
            settings.handlers.display()
        );
        Cause::new(ErrorCode::RuntimeUnavailable, message)
    })?;
    let folder = std::path::absolute(&settings.folder).map_err(|error| unwritable(&settings.folder, &error))?;
    let interpreter = interpreter::describe(&settings.interpreter).await?;
    let library = write_module(&folder).map_err(|error| unwritable(&folder, &error))?;
    let (folder, library) = (canonical(&folder)?, canonical(&library)?);
    check_readable(&folder, &handlers, &interpreter)?;
    compile(&interpreter, &library).await;
    let packages = match requirements(settings, &handlers) {
        Some(file) => Some(packages::prepare(&file, &folder.join("packages"), &interpreter).await?),
        None => None,
    };
    let workers = folder.join("workers");
    remove_old(&workers).await;
    std::fs::create_dir_all(&workers).map_err(|error| unwritable(&workers, &error))?;
    let isolation = isolation::probe(settings.cgroup.as_deref()).await;
    if let Some(parent) = &isolation.cgroup {
        isolation::remove_old_groups(parent);
    }
    Ok(Environment {
        interpreter,
        isolation,
        handlers,
        library,
        packages,
        workers,
        ended_groups: Arc::default(),
        is_reported: AtomicBool::new(false),
    })
}

fn canonical(folder: &Path) -> Result<PathBuf, Cause> {
    std::fs::canonicalize(folder).map_err(|error| unwritable(folder, &error))
}

/// Refuses folders that handlers read and that have the data directory in them: its records, and the keys of the pod.
fn check_readable(folder: &Path, handlers: &Path, interpreter: &Interpreter) -> Result<(), Cause> {
    let mut readable = [handlers].into_iter().chain(interpreter.folders.iter().map(PathBuf::as_path));
    let Some(exposing) = readable.find(|readable| folder.starts_with(readable)) else { return Ok(()) };
    let message = format!(
        "handlers read the folder {}, and it contains {} of the data directory; use a folder of the handlers \
         (`runtimes.python.handlers`), or a data directory, outside of it",
        exposing.display(),
        folder.display()
    );
    Err(Cause::new(ErrorCode::RuntimeUnavailable, message))
}

/// Removes what a pod that was killed has left; the folder belongs to this process.
async fn remove_old(workers: &Path) {
    let path = workers.to_owned();
    let removed = spawn_blocking(move || work_folder::remove_tree(&path)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(folder = %workers.display(), error.message = %error, "old working folders cannot be removed");
    }
}

/// The requirements of the settings, or those beside the handlers if they exist.
fn requirements(settings: &Settings, handlers: &Path) -> Option<PathBuf> {
    let own = handlers.join("requirements.txt");
    let configured =
        settings.requirements.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    configured.or_else(|| own.is_file().then_some(own))
}

/// Writes the module into a folder of its version.
fn write_module(folder: &Path) -> std::io::Result<PathBuf> {
    let text: String = MODULE.iter().map(|(_, text)| *text).collect();
    let version = ContentHash::from_content(text.as_bytes()).to_string();
    let library = folder.join("module").join(version);
    let module = library.join("greenroom");
    std::fs::create_dir_all(&module)?;
    for (name, text) in MODULE {
        let file = module.join(name);
        if std::fs::read(&file).ok().as_deref() != Some(text.as_bytes()) {
            std::fs::write(file, text)?;
        }
    }
    Ok(library)
}

/// Compiles the module, so that processes start faster. They start without it, too.
async fn compile(interpreter: &Interpreter, library: &Path) {
    let mut compiling = command::command(&interpreter.executable);
    compiling.args(["-I", "-S", "-m", "compileall", "-q"]).arg(library);
    if let Err(error) = command::run(compiling, COMPILE_TIMEOUT).await {
        tracing::warn!(error.message = error, "the module of handlers cannot be compiled");
    }
}

fn unwritable(folder: &Path, error: &std::io::Error) -> Cause {
    let message = format!("the folder {} cannot be written: {error}", folder.display());
    Cause::new(ErrorCode::RuntimeUnavailable, message)
}
