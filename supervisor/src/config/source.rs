//! Loads a configuration: merges the layers, lists every value with its origin and reads each section.
//!
//! The `config` crate merges; every layer attaches the origin to each value, so that
//! `greenroom config check` can show it. A key, or a variable with our prefix, that no setting knows is
//! an error that suggests the most similar known name.

use std::path::{Path, PathBuf};

use config::{File, FileFormat};

pub use super::layers::Flags;
use super::layers::{self, Environment};
use super::reader::ConfigReader;
pub use super::resolved::ResolvedSetting;
use super::settings::CONFIG_FILE_VARIABLE;
use super::users::BUILT_IN_USERS;
use super::{Config, ConfigError, admission, definitions, files, guard, models, pod, process, resolved, store, users};

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "greenroom.toml";

/// A configuration, and what `greenroom config check` prints about it.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Every value with its origin, secrets masked.
    pub resolved: Vec<ResolvedSetting>,
    /// Settings that are set and unused.
    pub warnings: Vec<String>,
}

/// Loads all layers.
///
/// # Errors
/// [`ConfigError`] with every problem: a file that cannot be read, an unknown key, an invalid value.
pub fn load(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<LoadedConfig, ConfigError> {
    let environment: Environment = environment.filter(|(_, value)| !value.is_empty()).collect();
    let mut problems = layers::unknown_variables(&environment);
    let built_in = File::from_str(BUILT_IN_USERS, FileFormat::Toml);
    let mut builder = config::Config::builder().add_source(built_in).add_source(layers::defaults());
    if let Some(path) = file(flags, &environment) {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let built = builder.add_source(layers::variables(&environment)).add_source(layers::flags(flags)).build();
    let merged = match built {
        Ok(merged) => merged,
        Err(error) => {
            problems.push(error.to_string());
            return Err(ConfigError(problems));
        }
    };
    let resolved = resolved::list(&merged.cache, &mut problems);
    let mut reader = ConfigReader::new(&merged);
    let config = read(&mut reader);
    problems.extend(reader.into_problems());
    match config {
        Some(config) if problems.is_empty() => {
            let warnings = resolved::warnings(&resolved);
            Ok(LoadedConfig { config, resolved, warnings })
        }
        Some(_) | None => Err(ConfigError(problems)),
    }
}

impl Config {
    /// Every setting at its default, in `data_dir`, for tests and benchmarks: no file, no environment.
    ///
    /// # Errors
    /// [`ConfigError`] if the defaults are invalid; a test ensures that they are not.
    pub fn defaults(data_dir: &Path) -> Result<Self, ConfigError> {
        let flags = Flags { data_dir: Some(data_dir.to_owned()), ..Flags::default() };
        Ok(load(&flags, std::iter::empty())?.config)
    }
}

fn file(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| environment.get(CONFIG_FILE_VARIABLE).map(PathBuf::from));
    named.or_else(|| Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE)))
}

/// Reads every section; `None` only beside a problem.
fn read(reader: &mut ConfigReader<'_>) -> Option<Config> {
    let data_dir = pod::read_data_dir(reader);
    let (pod, user) = (pod::read_pod(reader), pod::read_user(reader));
    let admission = admission::read(reader);
    let config = Config {
        definitions_dir: definitions::read_definitions_dir(reader),
        policy_dir: definitions::read_policy_dir(reader),
        files_roots: files::read(reader, &data_dir),
        store: store::read(reader, &data_dir),
        guard_workers: guard::read(reader),
        models: models::read(reader),
        metrics: process::read_metrics(reader),
        log_filter: process::read_log_filter(reader),
        drain_timeout: process::read_drain_timeout(reader),
        users: users::read(reader),
        pod: pod?,
        admission: admission?,
        user: user?,
        data_dir,
    };
    Some(config)
}
