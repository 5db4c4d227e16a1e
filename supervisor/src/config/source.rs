//! Loads a configuration: merges the layers, lists every value with its origin and reads each section.
//!
//! The `config` crate merges; every layer attaches the origin to each value, so that
//! `greenroom config check` can show it. A key that no setting knows is an error that suggests the most
//! similar known name; a variable with our prefix that no setting knows is a warning, because others set
//! such variables too: Kubernetes does so for each service, `GREENROOM_SERVICE_HOST` for one called greenroom.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{File, FileFormat};

use super::layers;
pub use super::layers::Flags;
use super::reader::{self, ConfigReader, Environment};
pub use super::resolved::ResolvedSetting;
use super::settings::CONFIG_FILE_VARIABLE;
use super::settings_hash::{SettingsHash, is_of_the_pod};
use super::users::BUILT_IN_USERS;
use super::{
    Config, ConfigError, UserDirectory, admission, artifacts, audit, cluster, definitions, files, guard, http, issuers,
    mcp, memory, models, nats, outbound, pod, process, python, qdrant, redis, resolved, store, users, wasm,
};

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "greenroom.toml";

/// A configuration, and what `greenroom config check` prints about it.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// The settings file; `None` if there is none.
    pub file: Option<PathBuf>,
    /// Every value with its origin, secrets masked.
    pub resolved: Vec<ResolvedSetting>,
    /// Settings that are set and unused, and variables that no setting knows.
    pub warnings: Vec<String>,
}

impl LoadedConfig {
    /// The flags that were passed and that only a pod reads: they have no effect on a pod that runs already.
    pub fn flags_of_the_pod(&self) -> impl Iterator<Item = &str> {
        let flags = self.resolved.iter().filter(|row| is_of_the_pod(&row.key));
        flags.filter_map(|row| row.origin.strip_prefix("flag "))
    }
}

/// Loads all layers.
///
/// # Errors
/// [`ConfigError`] with every problem: a file that cannot be read, an unknown key, an invalid value, a
/// variable that is not UTF-8.
pub fn load<T: Into<OsString>>(
    flags: &Flags,
    variables: impl Iterator<Item = (T, T)>,
) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let variables: Vec<(OsString, OsString)> = variables.map(|(name, value)| (name.into(), value.into())).collect();
    let environment = layers::read_environment(variables.iter().cloned(), &mut problems);
    let all_variables = layers::all_variables(variables.iter().cloned());
    let file = file(flags, &environment);
    if let Some(path) = &file {
        check_syntax(path).map_err(|problem| ConfigError(vec![problem]))?;
    }
    let (merged, of_file) = match merge(file.as_deref(), &environment, flags) {
        Ok(merged) => merged,
        Err(error) => {
            problems.push(reader::describe(&error));
            return Err(ConfigError(problems));
        }
    };
    let resolved = resolved::list(&merged.cache, &mut problems);
    // The keys that no setting knows are reported already.
    let of_file = resolved::list(&of_file.cache, &mut Vec::new());
    let mut reader = ConfigReader::new(&merged).with_environment(&all_variables);
    let settings_file = file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let config = read(&mut reader, settings_file, SettingsHash::new(&resolved, &of_file));
    problems.extend(reader.into_problems());
    problems.extend(config.iter().flat_map(|config| artifacts::missing_keys(&config.artifacts)));
    match config {
        Some(config) if problems.is_empty() => {
            let mut warnings = layers::unknown_variables(&environment);
            warnings.extend(artifacts::warning(&config.artifacts, resolved::set_keys(&resolved)));
            Ok(LoadedConfig { config, file, resolved, warnings })
        }
        Some(_) | None => Err(ConfigError(problems)),
    }
}

/// The users and tenants of a settings file that has changed.
#[derive(Debug)]
pub(crate) struct ChangedUsers {
    /// The users and tenants.
    pub(crate) users: UserDirectory,
    /// The hashes of the file.
    pub(crate) settings_hash: SettingsHash,
}

/// Reads the users and tenants of a settings file again. The whole file is checked: one with a misspelt table must not
/// replace the configured users by the built-in ones.
///
/// # Errors
/// [`ConfigError`] with every problem, and then no user of the file counts.
pub(crate) fn load_users(path: &Path) -> Result<ChangedUsers, ConfigError> {
    check_syntax(path).map_err(|problem| ConfigError(vec![problem]))?;
    let (merged, _) = merge(Some(path), &Environment::default(), &Flags::default())
        .map_err(|error| ConfigError(vec![reader::describe(&error)]))?;
    let mut problems = Vec::new();
    let resolved = resolved::list(&merged.cache, &mut problems);
    let mut reader = ConfigReader::new(&merged);
    let config = read(&mut reader, None, SettingsHash::new(&resolved, &resolved));
    problems.extend(reader.into_problems());
    match config {
        Some(Config { users, settings_hash, .. }) if problems.is_empty() => Ok(ChangedUsers { users, settings_hash }),
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
        Ok(load::<OsString>(&flags, std::iter::empty())?.config)
    }
}

fn file(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| environment.get(CONFIG_FILE_VARIABLE).map(PathBuf::from));
    named.or_else(|| Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE)))
}

/// Merges all layers, and the file over the defaults without the layers above it.
fn merge(
    file: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
) -> Result<(config::Config, config::Config), config::ConfigError> {
    let built_in = File::from_str(BUILT_IN_USERS, FileFormat::Toml);
    let mut builder = config::Config::builder().add_source(built_in).add_source(layers::defaults());
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let of_file = builder.build_cloned()?;
    let merged = builder.add_source(layers::variables(environment)).add_source(layers::flags(flags)).build()?;
    Ok((merged, of_file))
}

/// Rejects a file that is no TOML by its line and column. The parser's own message quotes the line, which may
/// hold a key or a password.
fn check_syntax(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let Err(error) = text.parse::<toml::Table>() else { return Ok(()) };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Err(format!("{}:{line}:{column}: this is not TOML: {}", path.display(), error.message().replace('\n', ", ")))
}

/// Reads every section; `None` only beside a problem.
fn read(reader: &mut ConfigReader<'_>, settings_file: Option<PathBuf>, settings_hash: SettingsHash) -> Option<Config> {
    let data_dir = pod::read_data_dir(reader);
    let (pod, user) = (pod::read_pod(reader), pod::read_user(reader));
    let admission = admission::read(reader);
    let python = python::read(reader, &data_dir);
    let config = Config {
        runtime_dir: pod::read_runtime_dir(reader),
        labels: pod::read_labels(reader),
        definitions: definitions::read_definitions(reader),
        strict: definitions::read_strict(reader),
        policy: definitions::read_policy(reader),
        files_roots: files::read(reader, &data_dir),
        store: store::read(reader, &data_dir),
        audit_key: audit::read(reader),
        redis: redis::read(reader),
        qdrant: qdrant::read(reader),
        memory: memory::read(reader),
        nats: nats::read(reader),
        cluster: cluster::read(reader),
        artifacts: artifacts::read(reader),
        park_delay: admission::read_park_delay(reader),
        guard_workers: guard::read(reader),
        wasm: wasm::read(reader),
        models: models::read(reader),
        mcp: mcp::read(reader),
        outbound: outbound::read(reader),
        http: http::read(reader),
        metrics: process::read_metrics(reader),
        log_filter: process::read_log_filter(reader),
        drain_timeout: process::read_drain_timeout(reader),
        users: users::read(reader),
        issuers: issuers::read(reader),
        pod: pod?,
        admission: admission?,
        python: python?,
        user: user?,
        data_dir,
        settings_file,
        settings_hash,
    };
    Some(config)
}
