//! The interpreter: which one it is, and which folders it reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use serde::Deserialize;

use super::command;

/// How long an interpreter may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(20);
/// The oldest version that has what `greenroom/_worker.py` uses.
const VERSION_MIN: (u32, u32) = (3, 10);
/// Imports what a process of the runtime needs, so that a stripped interpreter is found out here.
const DESCRIBE: &str = "import ctypes, json, os, resource, select, shutil, sys, traceback; \
     print(json.dumps({'executable': os.path.realpath(sys.executable), 'version': sys.version_info[:2], \
     'folders': [sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.realpath(os.__file__))]}))";

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Interpreter {
    /// The program itself, and not a script that selects it.
    pub(super) executable: PathBuf,
    /// Major and minor version.
    pub(super) version: (u32, u32),
    /// The folders of its libraries.
    pub(super) folders: Vec<PathBuf>,
}

/// Asks the interpreter what it is.
///
/// # Errors
/// [`ErrorCode::RuntimeUnavailable`], with what is to be installed.
pub(super) async fn describe(interpreter: &Path) -> Result<Interpreter, Cause> {
    let unavailable = |problem: &str| {
        let (major, minor) = VERSION_MIN;
        let message = format!(
            "the interpreter `{}` cannot be used: {problem}; install Python {major}.{minor} or later \
             (Debian: `apt-get install python3`), or set `runtimes.python.interpreter`",
            interpreter.display()
        );
        Cause::new(ErrorCode::RuntimeUnavailable, message)
    };
    let mut describing = command::command(interpreter);
    describing.args(["-I", "-S", "-c", DESCRIBE]);
    let completed = command::run(describing, DESCRIBE_TIMEOUT).await.map_err(|error| unavailable(&error))?;
    if !completed.is_success {
        return Err(unavailable(last_line(&completed.explain())));
    }
    let found: Interpreter =
        serde_json::from_slice(completed.printed.as_bytes()).map_err(|error| unavailable(&error.to_string()))?;
    if found.version < VERSION_MIN {
        let (major, minor) = found.version;
        return Err(unavailable(&format!("it is Python {major}.{minor}")));
    }
    Ok(found)
}

/// The last line, where Python has the exception.
fn last_line(text: &str) -> &str {
    text.lines().next_back().unwrap_or("it has failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interpreter_describes_itself() {
        let found = describe(Path::new("python3")).await.unwrap();
        assert!(found.version >= VERSION_MIN && found.executable.is_absolute(), "{found:?}");
        assert!(found.folders.iter().all(|folder| folder.is_dir()), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_no_interpreter_is_reported_with_what_to_install() {
        for program in ["/no/such/python", "sh", "true"] {
            let cause = describe(Path::new(program)).await.unwrap_err();
            assert_eq!(cause.code, ErrorCode::RuntimeUnavailable, "{program}");
            assert!(cause.message.contains(program) && cause.message.contains("install Python"), "{cause}");
        }
    }
}
