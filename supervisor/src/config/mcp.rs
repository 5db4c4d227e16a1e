//! The tables `mcp.servers` of the file: servers whose tools agents may use, by their names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use greenroom_definitions::agent::{is_server_tool_name, is_tool_server_name};
use serde::Deserialize;
use url::Url;

use super::reader::ConfigReader;
use super::secret::Secret;

/// The key of the tables.
pub(super) const TABLE: &str = "mcp.servers";
/// Seconds that a call, and a start, may be set to at most.
const TIMEOUT_SECS_MAX: u64 = 3_600;
/// Variables of the pod that the process of a server has without being configured.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// The servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// The servers, in the order of their names.
    pub servers: Vec<McpServerConfig>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerConfig {
    /// Its name, which is the one in `mcp:NAME/TOOL`.
    pub name: String,
    /// How it is reached.
    pub address: McpAddress,
    /// Variables of the pod that are not set, and that it needs.
    pub missing: Vec<String>,
    /// Longest time of one call.
    pub timeout: Duration,
    /// Longest time until it is connected.
    pub start_timeout: Duration,
    /// The tools that agents may use; `None` for all.
    pub tools: Option<Vec<String>>,
    /// True if calls of it stay within this organisation.
    pub internal: bool,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpAddress {
    /// A process of the pod.
    Process {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment.
        env: BTreeMap<String, Secret>,
    },
    /// A server at a URL.
    Http {
        /// The URL.
        url: String,
        /// Headers of each request, by their names.
        headers: BTreeMap<String, Secret>,
    },
}

/// One table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    /// Variables of the pod that the process has too.
    #[serde(default)]
    pass_env: Vec<String>,
    #[serde(default)]
    url: Option<String>,
    /// The variable of the pod with the value of each header.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "default_timeout")]
    timeout_s: u64,
    #[serde(default = "default_start_timeout")]
    start_timeout_s: u64,
    #[serde(default)]
    tools: Option<Vec<String>>,
    #[serde(default)]
    internal: bool,
}

const fn default_timeout() -> u64 {
    60
}

const fn default_start_timeout() -> u64 {
    30
}

/// The variables of the process.
pub(super) struct Variables<'v>(pub(super) &'v [(OsString, OsString)]);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == OsStr::new(name));
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    }
}

/// The servers, with the values of the variables that their tables name; a problem for each table that could not be used.
///
/// A variable that is not set is none: a command may be executed by a pod that has it.
pub(super) fn read(reader: &mut ConfigReader<'_>, variables: &Variables<'_>) -> McpConfig {
    let tables: BTreeMap<String, ServerTable> = reader.get(TABLE).unwrap_or_default();
    let mut servers = Vec::new();
    for (name, table) in tables {
        let problems = problems(&name, &table);
        if problems.is_empty() {
            servers.push(server(name, table, variables));
        }
        for problem in problems {
            reader.report(problem);
        }
    }
    McpConfig { servers }
}

fn problems(name: &str, table: &ServerTable) -> Vec<String> {
    let is_url = |url: &String| {
        let url = Url::parse(url);
        url.is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
    };
    let is_time = |seconds: u64| (1..=TIMEOUT_SECS_MAX).contains(&seconds);
    let is_local = table.command.is_some();
    let found = [
        (!is_tool_server_name(name), "a name has lower-case letters, digits, `_` and `-`, and at most 64 of them"),
        (table.command.is_some() == table.url.is_some(), "set either `command` or `url`"),
        (table.command.as_deref().is_some_and(str::is_empty), "`command` is empty"),
        (
            table.url.as_ref().is_some_and(|url| !is_url(url)),
            "`url` is no address such as `https://tools.example/mcp`, without a user and a password",
        ),
        (
            !is_local && (!table.args.is_empty() || !table.env.is_empty() || !table.pass_env.is_empty()),
            "`args`, `env` and `pass_env` belong to `command`",
        ),
        (is_local && !table.headers.is_empty(), "`headers` belong to `url`"),
        (!is_time(table.timeout_s), "`timeout_s` is between 1 and 3600"),
        (!is_time(table.start_timeout_s), "`start_timeout_s` is between 1 and 3600"),
        (
            table.tools.iter().flatten().any(|tool| !is_server_tool_name(tool)),
            "`tools` has a text that is no name of a tool; write it without `mcp:` and without the server",
        ),
    ];
    let wrong = found.into_iter().filter(|(is_wrong, _)| *is_wrong);
    wrong.map(|(_, problem)| format!("{TABLE}.{name}: {problem}")).collect()
}

fn server(name: String, table: ServerTable, variables: &Variables<'_>) -> McpServerConfig {
    let ServerTable { command, args, mut env, pass_env, url, headers, timeout_s, start_timeout_s, tools, internal } =
        table;
    let mut missing = Vec::new();
    let mut value_of = |variable: &str| match variables.get(variable) {
        Some(value) => Some(Secret::new(value)),
        None => {
            missing.push(variable.to_owned());
            None
        }
    };
    let address = match (command, url) {
        (Some(command), _) => {
            for variable in pass_env {
                if let Some(value) = value_of(&variable) {
                    env.insert(variable, value);
                }
            }
            for variable in INHERITED {
                if let Some(value) = variables.get(variable) {
                    env.entry(variable.to_owned()).or_insert_with(|| Secret::new(value));
                }
            }
            McpAddress::Process { command, args, env }
        }
        (None, url) => {
            let values = headers.into_iter().filter_map(|(header, variable)| Some((header, value_of(&variable)?)));
            McpAddress::Http { headers: values.collect(), url: url.unwrap_or_default() }
        }
    };
    McpServerConfig {
        name,
        address,
        missing,
        timeout: Duration::from_secs(timeout_s),
        start_timeout: Duration::from_secs(start_timeout_s),
        tools,
        internal,
    }
}

#[cfg(test)]
mod tests;
