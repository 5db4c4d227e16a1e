//! What is configured of a server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::outbound::Secret;

/// Variables whose values are no secrets.
const USUAL_VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];
/// A value of a variable of fewer bytes, such as `eu-1`, is no secret.
const SECRET_BYTES_MIN: usize = 8;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its name, which is the one before the slash of its tools.
    pub name: String,
    /// How it is reached.
    pub address: ServerAddress,
    /// Longest time of one call.
    pub timeout: Duration,
    /// Longest time until it is connected.
    pub start_timeout: Duration,
    /// The tools that may be used; `None` for all.
    pub tools: Option<Vec<String>>,
    /// True if a call of it is communication with something outside of this organization.
    pub is_external: bool,
}

/// How a server is reached. Its `Debug` shows no value of a variable and of a header.
#[derive(Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A process of this pod, over its standard input and output.
    Process {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its whole environment: it inherits none.
        env: BTreeMap<String, String>,
    },
    /// It cannot be, as the configuration is.
    Unusable {
        /// Why, as one line.
        reason: String,
    },
    /// A server of the streamable HTTP transport.
    Http {
        /// Its URL.
        url: String,
        /// Headers of each request, by their names.
        headers: BTreeMap<String, String>,
    },
}

impl ServerAddress {
    /// The values that are never shown: those of headers, and those of variables that are no usual ones.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Process { env, .. } => {
                let is_secret = |(name, value): &(&String, &String)| {
                    !USUAL_VARIABLES.contains(&name.as_str()) && value.len() >= SECRET_BYTES_MIN
                };
                env.iter().filter(is_secret).map(|(_, value)| Secret::new(value)).collect()
            }
            Self::Http { headers, .. } => headers.values().map(Secret::new).collect(),
            Self::Unusable { .. } => Vec::new(),
        }
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { command, args, env } => f
                .debug_struct("Process")
                .field("command", command)
                .field("args", args)
                .field("env", &env.keys().collect::<Vec<_>>())
                .finish(),
            Self::Unusable { reason } => f.debug_struct("Unusable").field("reason", reason).finish(),
            Self::Http { url: _, headers } => {
                f.debug_struct("Http").field("headers", &headers.keys().collect::<Vec<_>>()).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_and_short_values_of_variables_are_no_secrets() {
        let env = [("HOME", "/srv/ann"), ("MODE", "fast"), ("TOKEN", "planted-secret")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let process = ServerAddress::Process { command: "server".into(), args: Vec::new(), env };
        assert_eq!(process.secrets(), [Secret::new("planted-secret")]);
        let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer x".to_owned())]);
        let http = ServerAddress::Http { url: "https://h/mcp".into(), headers };
        assert_eq!(http.secrets(), [Secret::new("Bearer x")]);
    }

    #[test]
    fn no_value_of_a_variable_or_a_header_is_shown() {
        let values = || BTreeMap::from([("TOKEN".to_owned(), "planted-secret".to_owned())]);
        for address in [
            ServerAddress::Process { command: "server".into(), args: vec!["--stdio".into()], env: values() },
            ServerAddress::Http { url: "https://h/mcp?key=planted-secret".into(), headers: values() },
        ] {
            let text = format!("{address:?}");
            assert!(text.contains("TOKEN") && !text.contains("planted-secret"), "{text}");
        }
    }
}
