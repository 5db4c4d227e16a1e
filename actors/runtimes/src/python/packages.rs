//! The packages that handlers need: a virtual environment for each content of the requirements, prepared once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use serde_json::json;
use tokio::process::Command;

use super::command;
use super::interpreter::Interpreter;

/// How long the installation may take.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of the requirements.
const REQUIREMENTS_BYTES_MAX: u64 = 256 * 1024;
/// The file that a complete environment has.
const COMPLETE: &str = "complete";

/// A step of an installation that has failed.
struct FailedStep {
    step: &'static str,
    /// What the installer says.
    explanation: String,
}

/// Prepares the packages and returns the folder that Python imports them from.
///
/// # Errors
/// [`ErrorCode::RuntimeUnavailable`] with what the installer says.
pub(super) async fn prepare(requirements: &Path, folder: &Path, interpreter: &Interpreter) -> Result<PathBuf, Cause> {
    let content = read(requirements).map_err(|problem| {
        let message = format!("the requirements {} cannot be read: {problem}", requirements.display());
        Cause::new(ErrorCode::RuntimeUnavailable, message)
    })?;
    let environment = folder.join(environment_name(&content, interpreter));
    let (major, minor) = interpreter.version;
    let packages = environment.join("lib").join(format!("python{major}.{minor}")).join("site-packages");
    if environment.join(COMPLETE).is_file() {
        return Ok(packages);
    }
    // What an interrupted installation has left.
    let _ = std::fs::remove_dir_all(&environment);
    let installed = install_completely(requirements, &environment, interpreter).await;
    if let Err(FailedStep { step, explanation }) = installed {
        let _ = std::fs::remove_dir_all(&environment);
        let message = format!("the packages of {} cannot be installed ({step})", requirements.display());
        return Err(Cause::new(ErrorCode::RuntimeUnavailable, message).with_details(json!({ "output": explanation })));
    }
    tracing::info!(python.requirements = %requirements.display(), "packages of handlers installed");
    Ok(packages)
}

fn read(requirements: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(requirements).map_err(|error| error.to_string())?.len();
    if size > REQUIREMENTS_BYTES_MAX {
        return Err(format!("they have {size} bytes, the limit is {REQUIREMENTS_BYTES_MAX}"));
    }
    std::fs::read(requirements).map_err(|error| error.to_string())
}

async fn install_completely(
    requirements: &Path,
    environment: &Path,
    interpreter: &Interpreter,
) -> Result<(), FailedStep> {
    let failed = |error: std::io::Error| FailedStep { step: "write", explanation: error.to_string() };
    std::fs::create_dir_all(environment).map_err(failed)?;
    install(requirements, environment, interpreter).await?;
    std::fs::write(environment.join(COMPLETE), "").map_err(failed)
}

/// The name of the environment of these requirements and this interpreter.
fn environment_name(content: &[u8], interpreter: &Interpreter) -> String {
    let mut text = format!("{} {:?}\n", interpreter.executable.display(), interpreter.version).into_bytes();
    text.extend_from_slice(content);
    ContentHash::from_content(&text).to_string()
}

/// Installs with `uv` if the machine has it, else with `venv` and pip of the interpreter.
async fn install(requirements: &Path, environment: &Path, interpreter: &Interpreter) -> Result<(), FailedStep> {
    // A relative path in the requirements begins at their folder.
    let folder = requirements.parent().unwrap_or_else(|| Path::new("/"));
    let (uv, executable, python) = (Path::new("uv"), &interpreter.executable, environment.join("bin").join("python"));
    let mut creation = command::command(uv);
    creation.args(["venv", "--python"]).arg(executable).arg(environment);
    if run_step("uv venv", creation, folder, environment).await.is_ok() {
        let mut installation = command::command(uv);
        installation.args(["pip", "install", "--python"]).arg(python).arg("--requirement").arg(requirements);
        return run_step("uv pip install", installation, folder, environment).await;
    }
    let mut creation = command::command(executable);
    creation.args(["-I", "-m", "venv"]).arg(environment);
    run_step("python3 -m venv, which Debian has in python3-venv", creation, folder, environment).await?;
    let mut installation = command::command(&python);
    installation.args(["-I", "-m", "pip", "install", "--requirement"]).arg(requirements);
    run_step("pip install", installation, folder, environment).await
}

async fn run_step(step: &'static str, mut command: Command, folder: &Path, home: &Path) -> Result<(), FailedStep> {
    command.current_dir(folder).env("HOME", home).env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    match command::run(command, INSTALL_TIMEOUT).await {
        Ok(completed) if completed.is_success => Ok(()),
        Ok(completed) => Err(FailedStep { step, explanation: completed.explain() }),
        Err(explanation) => Err(FailedStep { step, explanation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::interpreter;

    async fn found() -> Interpreter {
        interpreter::describe(Path::new("python3")).await.unwrap()
    }

    /// Writes a package whose sources are here, so that its installation needs no network.
    fn write_wheel(folder: &Path) {
        // A wheel is an archive; Python writes it.
        let script = "import sys, zipfile\n\
            with zipfile.ZipFile(sys.argv[1] + '/stage_words-1.0-py3-none-any.whl', 'w') as wheel:\n\
            \x20   wheel.writestr('stage_words.py', 'WORD = \"curtain\"\\n')\n\
            \x20   info = 'stage_words-1.0.dist-info/'\n\
            \x20   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: stage-words\\nVersion: 1.0\\n')\n\
            \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
            \x20   wheel.writestr(info + 'RECORD', '')\n";
        let status = std::process::Command::new("python3").arg("-c").arg(script).arg(folder).status().unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn packages_are_installed_once_for_each_content_of_the_requirements() {
        let (sources, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_wheel(sources.path());
        let requirements = sources.path().join("requirements.txt");
        std::fs::write(&requirements, "--no-index\n--find-links .\nstage-words==1.0\n").unwrap();
        let interpreter = found().await;
        let packages = prepare(&requirements, folder.path(), &interpreter).await.unwrap();
        assert!(packages.join("stage_words.py").is_file());
        std::fs::remove_file(packages.join("stage_words.py")).unwrap();
        let second = prepare(&requirements, folder.path(), &interpreter).await.unwrap();
        assert_eq!(second, packages);
        assert!(!packages.join("stage_words.py").exists(), "the same content is not installed again");
    }

    #[tokio::test]
    async fn what_cannot_be_installed_is_an_error_with_the_words_of_the_installer() {
        let (sources, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let requirements = sources.path().join("requirements.txt");
        std::fs::write(&requirements, "--no-index\nno-such-package==9\n").unwrap();
        let interpreter = found().await;
        let cause = prepare(&requirements, folder.path(), &interpreter).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::RuntimeUnavailable);
        assert!(cause.message.contains("requirements.txt"), "{cause}");
        assert!(cause.details["output"].as_str().unwrap().contains("no-such-package"), "{cause:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it remains");
        let missing = prepare(&sources.path().join("none.txt"), folder.path(), &interpreter).await.unwrap_err();
        assert_eq!(missing.code, ErrorCode::RuntimeUnavailable);
    }
}
