//! The layers, and where each value came from.
//!
//! The `config` crate merges them; every layer says its origin with each value, so that
//! `greenroom config check` can tell. A key or variable of ours that no setting knows is an error
//! with the nearest known name in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{File, FileFormat, Map, Source, Value, ValueKind};
use greenroom_protocol::{PodId, UserId};

use super::secret::MASK;
use super::settings::{CONFIG_FILE_VARIABLE, OUR_PREFIX, RESERVED_SETTINGS, SETTINGS, Setting, SettingKind};
use super::users::{BUILT_IN_USERS, UserDirectory};
use super::{AdmissionConfig, Config, ConfigError, ModelsConfig, ProviderConfig, Secret, StoreConfig, SyncMode};

/// Tables of the file, of which there may be several.
const TABLES: [&str; 2] = ["users", "providers"];
/// The origin of a setting that nothing sets.
const UNSET: &str = "not set";
/// The file that is read if it exists and no other is named.
const FILE: &str = "greenroom.toml";
/// How alike a name must be to be offered instead, 0 to 1.
const SIMILARITY_MIN: f64 = 0.75;

/// What the command line says; it wins over everything.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--definitions`.
    pub definitions: Option<PathBuf>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--user`.
    pub user: Option<String>,
}

/// Where a value came from, in words.
pub type Origin = String;

/// One value as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ResolvedSetting {
    /// Its key.
    pub key: String,
    /// Its value, a secret masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl ResolvedSetting {
    fn unset(key: &str) -> Self {
        Self { key: key.to_owned(), value: String::new(), origin: UNSET.to_owned() }
    }
}

/// A configuration, and what there is to say about it.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// What the process is told.
    pub config: Config,
    /// Every value with its origin, secrets masked.
    pub shown: Vec<ResolvedSetting>,
    /// What is set and does nothing.
    pub warnings: Vec<String>,
}

/// One layer: keys, dotted, with a value and an origin each.
#[derive(Debug, Clone, Default)]
struct Layer(BTreeMap<&'static str, (ValueKind, Origin)>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value = |(key, (kind, origin)): (&&str, &(ValueKind, Origin))| {
            ((*key).to_owned(), Value::new(Some(origin), kind.clone()))
        };
        Ok(self.0.iter().map(value).collect())
    }
}

/// Reads all layers.
///
/// # Errors
/// [`ConfigError`] with every problem: a file that cannot be read, an unknown key, a wrong value.
pub fn load(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<LoadedConfig, ConfigError> {
    let environment: BTreeMap<String, String> = environment.filter(|(_, value)| !value.is_empty()).collect();
    let mut problems = unknown_variables(&environment);
    let built_in = File::from_str(BUILT_IN_USERS, FileFormat::Toml);
    let mut builder = config::Config::builder().add_source(built_in).add_source(defaults());
    if let Some(path) = file(flags, &environment) {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let built = builder.add_source(variables(&environment)).add_source(flag_layer(flags)).build();
    let merged = match built {
        Ok(merged) => merged,
        Err(error) => {
            problems.push(error.to_string());
            return Err(ConfigError(problems));
        }
    };
    let mut shown = Vec::new();
    leaves("", &merged.cache, &mut shown, &mut problems);
    match assemble(&merged) {
        Ok(config) if problems.is_empty() => {
            let unset = SETTINGS.iter().filter(|setting| shown.iter().all(|row| row.key != setting.key));
            let unset: Vec<_> = unset.map(|setting| ResolvedSetting::unset(setting.key)).collect();
            shown.extend(unset);
            shown.sort_by(|a, b| a.key.cmp(&b.key));
            let warnings = warnings(&shown);
            Ok(LoadedConfig { config, shown, warnings })
        }
        Ok(_) => Err(ConfigError(problems)),
        Err(mut more) => {
            problems.append(&mut more);
            Err(ConfigError(problems))
        }
    }
}

fn file(flags: &Flags, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| environment.get(CONFIG_FILE_VARIABLE).map(PathBuf::from));
    named.or_else(|| Path::new(FILE).exists().then(|| PathBuf::from(FILE)))
}

fn value_of(setting: &Setting, text: &str) -> ValueKind {
    match setting.kind {
        SettingKind::Text => ValueKind::String(text.to_owned()),
        SettingKind::Number => text.parse().map_or_else(|_| ValueKind::String(text.to_owned()), ValueKind::I64),
        SettingKind::Paths => ValueKind::Array(text.split(':').map(|path| Value::new(None, path.to_owned())).collect()),
    }
}

fn defaults() -> Layer {
    let set = SETTINGS.iter().filter(|setting| !setting.default.is_empty());
    Layer(set.map(|setting| (setting.key, (value_of(setting, setting.default), "default".to_owned()))).collect())
}

fn variables(environment: &BTreeMap<String, String>) -> Layer {
    let set = SETTINGS.iter().filter_map(|setting| {
        let (name, text) = setting.env.iter().find_map(|name| environment.get_key_value(*name))?;
        Some((setting.key, (value_of(setting, text), format!("environment {name}"))))
    });
    Layer(set.collect())
}

fn flag_layer(flags: &Flags) -> Layer {
    let mut layer = BTreeMap::new();
    let mut say = |key, flag: &str, text: Option<String>| {
        if let Some(text) = text {
            layer.insert(key, (ValueKind::String(text), format!("flag {flag}")));
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    say("data_dir", "--data-dir", path(&flags.data_dir));
    say("definitions.dir", "--definitions", path(&flags.definitions));
    say("policy.dir", "--policy", path(&flags.policy));
    say("user", "--user", flags.user.clone());
    Layer(layer)
}

fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<&str> =
        SETTINGS.iter().flat_map(|setting| setting.env).copied().chain([CONFIG_FILE_VARIABLE]).collect();
    let ours = environment.keys().filter(|name| name.starts_with(OUR_PREFIX) && !known.contains(&name.as_str()));
    ours.map(|name| format!("environment: unknown variable {name}{}", nearest(name, &known))).collect()
}

fn nearest(name: &str, known: &[&str]) -> String {
    let best = known.iter().map(|word| (strsim::jaro_winkler(name, word), word)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, word)) if likeness >= SIMILARITY_MIN => format!("; did you mean {word}?"),
        Some(_) | None => String::new(),
    }
}

/// Walks the merged tree: shows each leaf, and names each key that no setting knows.
fn leaves(prefix: &str, value: &Value, shown: &mut Vec<ResolvedSetting>, problems: &mut Vec<String>) {
    let origin = || value.origin().unwrap_or("default").to_owned();
    match &value.kind {
        ValueKind::Table(members) => {
            for (name, member) in members {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                leaves(&key, member, shown, problems);
            }
        }
        ValueKind::Array(items) if TABLES.contains(&prefix) => {
            for (index, item) in items.iter().enumerate() {
                leaves(&format!("{prefix}[{index}]"), item, shown, problems);
            }
        }
        kind => {
            let people =
                TABLES.iter().any(|table| prefix.starts_with(&format!("{table}["))) || prefix.starts_with("tenants.");
            let setting = SETTINGS.iter().find(|setting| setting.key == prefix);
            if setting.is_none() && !people {
                let known: Vec<&str> =
                    SETTINGS.iter().map(|setting| setting.key).chain(TABLES).chain(["tenants"]).collect();
                problems.push(format!("{}: unknown setting {prefix}{}", origin(), nearest(prefix, &known)));
                return;
            }
            let secret = setting.map_or_else(|| prefix.ends_with("api_key"), |setting| setting.secret);
            let text = if secret { MASK.to_owned() } else { plain(kind, value) };
            shown.push(ResolvedSetting { key: prefix.to_owned(), value: text, origin: origin() });
        }
    }
}

fn plain(kind: &ValueKind, value: &Value) -> String {
    match kind {
        ValueKind::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Table(_) => value.to_string(),
    }
}

fn warnings(shown: &[ResolvedSetting]) -> Vec<String> {
    let unused = shown.iter().filter(|row| RESERVED_SETTINGS.contains(&row.key.as_str()) && row.origin != UNSET);
    unused.map(|row| format!("{} is set ({}), and this version does nothing with it", row.key, row.origin)).collect()
}

/// Reads typed values out of the merged tree, and collects what is wrong with them.
struct ConfigReader<'a> {
    merged: &'a config::Config,
    problems: Vec<String>,
}

impl ConfigReader<'_> {
    fn get<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        match self.merged.get::<T>(key) {
            Ok(value) => Some(value),
            Err(config::ConfigError::NotFound(_)) => None,
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        }
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let text: String = self.get(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{key}: {text:?}: {error}"));
                None
            }
        }
    }
}

fn assemble(merged: &config::Config) -> Result<Config, Vec<String>> {
    let mut read = ConfigReader { merged, problems: Vec::new() };
    // Absolute, so that every process of this folder means the same one, wherever it stands.
    let data_dir: PathBuf = read.get("data_dir").unwrap_or_default();
    let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
    let files_roots = read.get("files.roots").unwrap_or_else(|| vec![data_dir.join("files")]);
    let sync = read.get("store.sync").unwrap_or(SyncMode::Full);
    let store = store(read.get("store.url"), &data_dir, sync, &mut read.problems);
    let metrics = match read.get::<String>("metrics.addr").as_deref() {
        None | Some("off") => None,
        Some(_) => read.parsed("metrics.addr"),
    };
    let people = people(&mut read);
    let (pod, user): (Option<PodId>, Option<UserId>) = (read.parsed("pod"), read.parsed("user"));
    let places = read.get("admission.max_in_flight");
    let max_in_flight_per_tenant = read.get("admission.max_in_flight_per_tenant");
    let turns = read.get("admission.pipeline_concurrency");
    let config = (|| {
        Some(Config {
            pod: pod?,
            definitions_dir: read.get("definitions.dir"),
            policy_dir: read.get("policy.dir"),
            files_roots,
            store,
            admission: AdmissionConfig {
                max_in_flight: places?,
                max_in_flight_per_tenant: max_in_flight_per_tenant?,
                pipeline_concurrency: turns?,
            },
            guard_workers: read.get("guard.workers").unwrap_or_default(),
            models: models(&mut read),
            metrics,
            log_filter: read.get("log.filter").unwrap_or_default(),
            drain_timeout: Duration::from_secs(read.get("drain.timeout_s").unwrap_or_default()),
            users: people,
            user: user?,
            data_dir,
        })
    })();
    match config {
        Some(config) if read.problems.is_empty() => Ok(config),
        Some(_) | None => Err(read.problems),
    }
}

fn store(url: Option<String>, data_dir: &Path, sync: SyncMode, problems: &mut Vec<String>) -> StoreConfig {
    let embedded = StoreConfig::Sqlite { path: data_dir.join("greenroom.db"), sync };
    match url.as_deref() {
        None | Some("") => embedded,
        Some("memory:") => StoreConfig::Memory,
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => StoreConfig::Sqlite { path: PathBuf::from(path.trim_start_matches("//")), sync },
            None => {
                let scheme = url.split(':').next().unwrap_or_default();
                problems.push(format!("store.url: this version stores in `sqlite:PATH` or `memory:`, not in {scheme}"));
                embedded
            }
        },
    }
}

/// The providers that have a key or an address: the known ones by their settings, others by tables.
fn models(read: &mut ConfigReader<'_>) -> ModelsConfig {
    let mut providers: Vec<ProviderConfig> = read.get("providers").unwrap_or_default();
    for name in ["anthropic", "openai", "gemini", "ollama"] {
        let api_key = read.get::<Secret>(&format!("{name}.api_key"));
        let base_url = read.get::<String>(&format!("{name}.base_url"));
        if api_key.is_some() || base_url.is_some() {
            providers.push(ProviderConfig { name: name.to_owned(), wire: name.to_owned(), api_key, base_url });
        }
    }
    for (index, provider) in providers.iter().enumerate() {
        if providers.iter().take(index).any(|other| other.name == provider.name) {
            read.problems.push(format!("providers: {} is configured twice", provider.name));
        }
    }
    ModelsConfig { providers, pod: read.get("openai.model"), script: read.get("models.script") }
}

fn people(read: &mut ConfigReader<'_>) -> UserDirectory {
    let tenants = read.get("tenants").unwrap_or_default();
    let users = read.get("users").unwrap_or_default();
    let people = UserDirectory { users, tenants };
    for (index, user) in people.users.iter().enumerate() {
        if people.users.iter().take(index).any(|other| other.name == user.name) {
            read.problems.push(format!("users[{index}]: there is another user {}", user.name));
        }
    }
    people
}
