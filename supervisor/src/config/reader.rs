//! Reads typed values out of the merged layers and collects their problems.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;

/// A reader over the merged layers. It collects problems instead of failing at the first one.
pub(super) struct ConfigReader<'a> {
    merged: &'a config::Config,
    problems: Vec<String>,
}

impl<'a> ConfigReader<'a> {
    /// A reader without problems.
    pub(super) const fn new(merged: &'a config::Config) -> Self {
        Self { merged, problems: Vec::new() }
    }

    /// The value of a key; `None` if it is not set or has the wrong type, which is a problem.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        match self.merged.get::<T>(key) {
            Ok(value) => Some(value),
            Err(config::ConfigError::NotFound(_)) => None,
            Err(error) => {
                self.report(error.to_string());
                None
            }
        }
    }

    /// The text of a key, parsed; `None` if it is not set or cannot be parsed, which is a problem.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        let text: String = self.get(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(format!("{key}: {text:?}: {error}"));
                None
            }
        }
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
