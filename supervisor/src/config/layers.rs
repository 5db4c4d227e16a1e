//! The layers of a configuration: defaults, environment and flags. Each value carries its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use config::{Map, Source, Value, ValueKind};
use greenroom_definitions::problem::did_you_mean;

use super::reader::Environment;
use super::settings::{self, CONFIG_FILE_VARIABLE, OUR_PREFIX, Setting, SettingKind};

/// The flags of the command line; they override every other layer.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--definitions`.
    pub definitions: Option<PathBuf>,
    /// `--strict`.
    pub strict: bool,
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--user`.
    pub user: Option<String>,
}

/// One layer: a value and its origin for each dotted key.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(BTreeMap<&'static str, (ValueKind, String)>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value = |(key, (kind, origin)): (&&str, &(ValueKind, String))| {
            ((*key).to_owned(), Value::new(Some(origin), kind.clone()))
        };
        Ok(self.0.iter().map(value).collect())
    }
}

/// The defaults of all settings.
pub(super) fn defaults() -> Layer {
    let with_default = settings::all().filter(|setting| !setting.default.is_empty());
    Layer(
        with_default.map(|setting| (setting.key, (to_value(setting, setting.default), "default".to_owned()))).collect(),
    )
}

/// The settings that the environment sets.
pub(super) fn variables(environment: &Environment) -> Layer {
    let set = settings::all().filter_map(|setting| {
        let (name, text) = setting.env.iter().find_map(|name| environment.get_key_value(*name))?;
        Some((setting.key, (to_value(setting, text), format!("environment {name}"))))
    });
    Layer(set.collect())
}

/// The settings that flags set.
pub(super) fn flags(flags: &Flags) -> Layer {
    let mut layer = BTreeMap::new();
    let mut set = |key, flag: &str, text: Option<String>| {
        if let Some(text) = text {
            layer.insert(key, (ValueKind::String(text), format!("flag {flag}")));
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    set("data_dir", "--data-dir", path(&flags.data_dir));
    set("definitions.dir", "--definitions", path(&flags.definitions));
    set("definitions.strict", "--strict", flags.strict.then(|| "true".to_owned()));
    set("policy.dir", "--policy", path(&flags.policy));
    set("user", "--user", flags.user.clone());
    Layer(layer)
}

/// The variables that are set and may concern us; a problem for each of them that is not UTF-8. A name that
/// is not UTF-8 is none of ours.
pub(super) fn read_environment<T: Into<OsString>>(
    variables: impl Iterator<Item = (T, T)>,
    problems: &mut Vec<String>,
) -> Environment {
    let known = known_variables();
    let mut environment = Environment::new();
    for (name, value) in variables {
        let Ok(name) = name.into().into_string() else { continue };
        if !name.starts_with(OUR_PREFIX) && !known.contains(&name.as_str()) {
            continue;
        }
        match value.into().into_string() {
            // A secret that was made from a file ends with the line end of the file, which no setting may have. One that was
            // to be removed may be a space: it is no key.
            Ok(value) => match value.trim_end_matches(['\r', '\n']) {
                value if value.trim().is_empty() => {}
                value => drop(environment.insert(name, value.to_owned())),
            },
            Err(_) if known.contains(&name.as_str()) => {
                problems.push(format!("environment: the value of {name} is not UTF-8"));
            }
            Err(_) => drop(environment.insert(name, String::new())),
        }
    }
    environment
}

/// Every variable that is UTF-8, for the tables of the file that name one.
pub(super) fn all_variables<T: Into<OsString>>(variables: impl Iterator<Item = (T, T)>) -> Environment {
    let text = |text: T| text.into().into_string().ok();
    variables.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

fn known_variables() -> Vec<&'static str> {
    settings::all().flat_map(|setting| setting.env).copied().chain([CONFIG_FILE_VARIABLE]).collect()
}

/// A warning for each variable with our prefix that no setting knows.
pub(super) fn unknown_variables(environment: &Environment) -> Vec<String> {
    let known = known_variables();
    let ours = environment.keys().filter(|name| name.starts_with(OUR_PREFIX) && !known.contains(&name.as_str()));
    let hint = |name| did_you_mean(name, known.iter().copied()).unwrap_or_default();
    ours.map(|name| format!("environment: no setting reads {name}{}", hint(name))).collect()
}

fn to_value(setting: &Setting, text: &str) -> ValueKind {
    match setting.kind {
        SettingKind::Text => ValueKind::String(text.to_owned()),
        SettingKind::Number => text.parse().map_or_else(|_| ValueKind::String(text.to_owned()), ValueKind::I64),
        SettingKind::Paths => ValueKind::Array(text.split(':').map(|path| Value::new(None, path.to_owned())).collect()),
    }
}
