//! The section `runtimes.python`: where handlers in Python are, and the bounds of the processes that execute them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_runtimes::python::settings::{IsolationMode, Settings};

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "runtimes.python.handlers",
        &["GREENROOM_PYTHON_HANDLERS"],
        "folder below which the modules of handlers in Python are; default DATA_DIR/handlers",
    ),
    Setting::text(
        "runtimes.python.interpreter",
        &["GREENROOM_PYTHON_INTERPRETER"],
        "interpreter of handlers: a path, or a name that is searched in /usr/local/bin, /usr/bin and /bin",
    )
    .or("python3"),
    Setting::text(
        "runtimes.python.requirements",
        &["GREENROOM_PYTHON_REQUIREMENTS"],
        "packages of handlers, in the format of pip; default `requirements.txt` of the handlers, if it exists",
    ),
    Setting::number(
        "runtimes.python.workers_max",
        &["GREENROOM_PYTHON_WORKERS_MAX"],
        "executions of handlers at the same time, for each depth of the call chain, and idle processes; 0 means 2 per core",
    )
    .or("0"),
    Setting::number(
        "runtimes.python.worker_calls_max",
        &["GREENROOM_PYTHON_WORKER_CALLS_MAX"],
        "calls that one process of a handler serves",
    )
    .or("10000"),
    Setting::number(
        "runtimes.python.worker_age_max_s",
        &["GREENROOM_PYTHON_WORKER_AGE_MAX_S"],
        "seconds that one process of a handler serves",
    )
    .or("3600"),
    Setting::number(
        "runtimes.python.memory_mib",
        &["GREENROOM_PYTHON_MEMORY_MIB"],
        "memory of a process of a handler in MiB, unless `implementation.memory` has another bound",
    )
    .or("512"),
    Setting::number(
        "runtimes.python.processes_max",
        &["GREENROOM_PYTHON_PROCESSES_MAX"],
        "processes and threads of one handler, where the machine counts them; elsewhere it starts no process",
    )
    .or("32"),
    Setting::number(
        "runtimes.python.file_bytes_max",
        &["GREENROOM_PYTHON_FILE_BYTES_MAX"],
        "bytes of a file of a handler, and of all files in its working folder",
    )
    .or("268435456"),
    Setting::text(
        "runtimes.python.isolation",
        &["GREENROOM_PYTHON_ISOLATION"],
        "`best_effort` executes a handler with the isolation that the machine has; `required` executes none without all of it",
    )
    .or("best_effort"),
    Setting::text(
        "runtimes.python.cgroup",
        &["GREENROOM_PYTHON_CGROUP"],
        "folder of a control group (version 2) that belongs to the user of the pod, with `memory` and `pids` enabled",
    ),
];

/// Processes for each core, by default: a handler computes, or waits for its host.
const WORKERS_PER_CORE: usize = 2;
const ISOLATION_MODES: [(&str, IsolationMode); 2] =
    [("best_effort", IsolationMode::BestEffort), ("required", IsolationMode::Required)];

/// The handlers in Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonConfig {
    /// The settings of the runtime.
    pub settings: Settings,
    /// True if the folder of the handlers was configured, so that a module that it lacks is a warning of a definition.
    pub has_folder: bool,
}

impl PythonConfig {
    /// The configured folder of the handlers.
    #[must_use]
    pub fn configured_folder(&self) -> Option<&Path> {
        self.has_folder.then_some(self.settings.handlers.as_path())
    }
}

/// The handlers; `None` beside a problem.
pub(super) fn read(reader: &mut ConfigReader<'_>, data_dir: &Path) -> Option<PythonConfig> {
    let handlers = path(reader, "runtimes.python.handlers");
    let workers_max: Option<usize> = reader.get("runtimes.python.workers_max");
    let worker_calls_max: Option<u32> = at_least_one(reader, "runtimes.python.worker_calls_max");
    let worker_age_max: Option<u32> = at_least_one(reader, "runtimes.python.worker_age_max_s");
    let memory_mib: Option<u32> = at_least_one(reader, "runtimes.python.memory_mib");
    let processes_max: Option<u32> = at_least_one(reader, "runtimes.python.processes_max");
    let file_bytes_max: Option<u64> = reader.get("runtimes.python.file_bytes_max");
    let isolation = reader.word("runtimes.python.isolation", &ISOLATION_MODES);
    let settings = Settings {
        interpreter: path(reader, "runtimes.python.interpreter").unwrap_or_else(|| PathBuf::from("python3")),
        requirements: path(reader, "runtimes.python.requirements"),
        cgroup: path(reader, "runtimes.python.cgroup"),
        folder: data_dir.join("python"),
        workers_max: match workers_max? {
            0 => WORKERS_PER_CORE * super::guard::cores(),
            workers => workers,
        },
        worker_calls_max: worker_calls_max?,
        worker_age_max: Duration::from_secs(u64::from(worker_age_max?)),
        memory_mib: u64::from(memory_mib?),
        processes_max: processes_max?,
        file_bytes_max: file_bytes_max?,
        isolation: isolation?,
        handlers: handlers.clone().unwrap_or_else(|| data_dir.join("handlers")),
    };
    Some(PythonConfig { settings, has_folder: handlers.is_some() })
}

/// A path; an empty one is none.
fn path(reader: &mut ConfigReader<'_>, key: &str) -> Option<PathBuf> {
    reader.get::<PathBuf>(key).filter(|path| !path.as_os_str().is_empty())
}

/// A number of at least one; zero is a problem.
fn at_least_one(reader: &mut ConfigReader<'_>, key: &str) -> Option<u32> {
    let number: u32 = reader.get(key)?;
    if number == 0 {
        reader.report(format!("{key}: 0 is not a whole number of at least 1"));
        return None;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::{Flags, load};
    use super::super::{Config, ConfigError};
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let flags = Flags { data_dir: Some("/var/lib/greenroom".into()), ..Flags::default() };
        load(&flags, variables.into_iter()).map(|loaded| loaded.config)
    }

    #[test]
    fn handlers_are_in_the_data_directory_unless_a_folder_is_configured() {
        let config = read(&[]).unwrap().python;
        assert_eq!(config.settings.handlers, Path::new("/var/lib/greenroom/handlers"));
        assert_eq!(
            (config.configured_folder(), config.settings.folder.as_path()),
            (None, Path::new("/var/lib/greenroom/python"))
        );
        assert!(config.settings.workers_max >= WORKERS_PER_CORE);
        let config =
            read(&[("GREENROOM_PYTHON_HANDLERS", "/srv"), ("GREENROOM_PYTHON_WORKERS_MAX", "3")]).unwrap().python;
        assert_eq!((config.configured_folder(), config.settings.workers_max), (Some(Path::new("/srv")), 3));
    }

    #[test]
    fn a_bound_of_zero_and_an_unknown_word_are_problems() {
        let variables = [("GREENROOM_PYTHON_MEMORY_MIB", "0"), ("GREENROOM_PYTHON_ISOLATION", "some")];
        let problems = read(&variables).unwrap_err().0;
        assert!(problems.iter().any(|line| line.contains("runtimes.python.memory_mib: 0")), "{problems:?}");
        assert!(problems.iter().any(|line| line.contains("`best_effort` or `required`")), "{problems:?}");
    }
}
