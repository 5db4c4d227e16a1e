//! Reads typed values out of the merged layers and collects their problems.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::secret::{Secret, mask_credentials};

/// The variables of the environment that are set.
pub(super) type Environment = BTreeMap<String, String>;

/// A reader over the merged layers. It collects problems instead of failing at the first one.
pub(super) struct ConfigReader<'a> {
    merged: &'a config::Config,
    /// The variables of the process, which tables of the file name; `None` if their values do not matter.
    environment: Option<&'a Environment>,
    problems: Vec<String>,
}

/// One of the tables below a key, such as `tools.http.NAME`.
pub(super) struct NamedTable<T> {
    /// Its name.
    pub(super) name: String,
    /// Its own key, for problems.
    pub(super) key: String,
    /// What it has.
    pub(super) members: T,
}

impl<'a> ConfigReader<'a> {
    /// A reader without problems.
    pub(super) const fn new(merged: &'a config::Config) -> Self {
        Self { merged, environment: None, problems: Vec::new() }
    }

    /// The same reader, with the variables that tables of the file may name.
    pub(super) fn with_environment(mut self, environment: &'a Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// The value of a variable that the member `key` of a table names. One that is not set is no problem of the file, which
    /// a command may read that needs none of it: it is added to `missing`, for whoever uses the table.
    pub(super) fn variable(&mut self, key: &str, name: &str, missing: &mut Vec<String>) -> Option<Secret> {
        // The text may be the secret itself, which no message repeats.
        if !is_variable_name(name) {
            self.report(format!("{key}: this is no name of a variable; write the name of the one that has the value"));
            return None;
        }
        let value = self.find_variable(name);
        if value.is_none() {
            missing.push(format!("{key}: the variable {name} is not set"));
        }
        value
    }

    /// As [`ConfigReader::variable`], for a member that names a variable for each of several names.
    pub(super) fn named_variables(
        &mut self,
        key: &str,
        variables: BTreeMap<String, String>,
        missing: &mut Vec<String>,
    ) -> Vec<(String, Secret)> {
        let value = |(name, variable): (String, String)| {
            let value = self.variable(&format!("{key}.{name}"), &variable, missing)?;
            Some((name, value))
        };
        variables.into_iter().filter_map(value).collect()
    }

    /// The value of a variable of the process; `None` if it is not set, or empty.
    pub(super) fn find_variable(&self, name: &str) -> Option<Secret> {
        self.environment?.get(name).filter(|value| !value.is_empty()).map(Secret::new)
    }

    /// The value of a key; `None` if it is not set or has the wrong type, which is a problem.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        match self.merged.get::<T>(key) {
            Ok(value) => Some(value),
            Err(config::ConfigError::NotFound(_)) => None,
            Err(error) => {
                self.report(describe(&error));
                None
            }
        }
    }

    /// The tables below a key, in the order of their names.
    pub(super) fn tables<T: DeserializeOwned>(&mut self, key: &str) -> Vec<NamedTable<T>> {
        let tables: BTreeMap<String, T> = self.get(key).unwrap_or_default();
        let named = |(name, members): (String, T)| NamedTable { key: format!("{key}.{name}"), name, members };
        tables.into_iter().map(named).collect()
    }

    /// The text of a key, parsed; `None` if it is not set or cannot be parsed, which is a problem that says
    /// what is allowed.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, key: &str, allowed: &str) -> Option<T> {
        let text: String = self.get(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(format!("{key}: {:?} is not {allowed}: {error}", mask_credentials(&text)));
                None
            }
        }
    }

    /// One of a few words; `None` if the key is not set or has another word, which is a problem that names all.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text: String = self.get(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.report(format!("{key}: {text:?} is not {}", allowed.join(" or ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The layer that sets a key, in words.
    pub(super) fn origin(&self, key: &str) -> String {
        let value = key.split('.').try_fold(&self.merged.cache, |value, name| match &value.kind {
            config::ValueKind::Table(members) => members.get(name),
            _ => None,
        });
        value.and_then(config::Value::origin).unwrap_or("default").to_owned()
    }

    /// Adds a problem.
    pub(super) fn report(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The problems so far.
    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }
}

/// True for a name that a shell can set.
fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Describes an error of the `config` crate. It never has the value, which may be a secret.
pub(super) fn describe(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type { origin, expected, key, .. } => {
            let origin = origin.as_deref().map(|origin| format!(" ({origin})")).unwrap_or_default();
            format!("{}{origin}: this is not {expected}", key.as_deref().unwrap_or("a value"))
        }
        config::ConfigError::At { error, origin, key } => {
            let location = [key.as_deref(), origin.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
            format!("{location}: {}", describe(error))
        }
        other => other.to_string(),
    }
}
