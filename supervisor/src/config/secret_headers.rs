//! The headers of the requests to a service, an API or a tool server, as a table of the file has them: with their values, or
//! with the names of the variables of the environment that have these.

use std::collections::BTreeMap;

use super::reader::ConfigReader;
use super::secret::Secret;

/// The members of a table that state headers.
pub(super) struct SecretHeaders {
    /// Headers with their values, by name.
    pub(super) headers: BTreeMap<String, Secret>,
    /// The variable with the token of the header `Authorization`.
    pub(super) bearer_env: Option<String>,
    /// The variable with the value of each header.
    pub(super) headers_env: BTreeMap<String, String>,
}

impl SecretHeaders {
    /// The headers of the table with this key; each variable that is not set is added to `missing`.
    pub(super) fn read(
        self,
        reader: &mut ConfigReader<'_>,
        key: &str,
        missing: &mut Vec<String>,
    ) -> Vec<(String, Secret)> {
        let mut all: Vec<(String, Secret)> = self.headers.into_iter().collect();
        if let Some(variable) = self.bearer_env
            && let Some(token) = reader.variable(&format!("{key}.bearer_env"), &variable, missing)
        {
            all.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", token.reveal()))));
        }
        all.extend(reader.named_variables(&format!("{key}.headers_env"), self.headers_env, missing));
        all
    }
}
