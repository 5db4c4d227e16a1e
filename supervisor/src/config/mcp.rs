//! The tables `mcp.servers` of the file: servers whose tools agents may use, by their names.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_definitions::agent::{is_server_tool_name, is_tool_server_name};
use serde::Deserialize;
use url::Url;

use super::reader::{ConfigReader, NamedTable};
use super::secret::Secret;
use super::secret_headers::SecretHeaders;

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
    /// What it needs and the pod lacks: each variable that is not set, with the member that names it.
    pub missing: Vec<String>,
    /// Longest time of one call.
    pub timeout: Duration,
    /// Longest time until it is connected.
    pub start_timeout: Duration,
    /// The tools that agents may use; `None` for all.
    pub tools: Option<Vec<String>>,
    /// True if calls of it stay within this organization.
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
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// The variable of the pod with the value of each header.
    #[serde(default)]
    headers_env: BTreeMap<String, String>,
    /// The variable of the pod with the token of the header `Authorization`.
    bearer_env: Option<String>,
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

/// The servers, with the values of the variables that their tables name; a problem for each table that could not be used.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> McpConfig {
    let mut servers = Vec::new();
    for table in reader.tables(TABLE) {
        let problems = problems(&table);
        if problems.is_empty() {
            servers.push(server(reader, table));
        }
        for problem in problems {
            reader.report(problem);
        }
    }
    McpConfig { servers }
}

fn problems(NamedTable { name, key, members: table }: &NamedTable<ServerTable>) -> Vec<String> {
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
        (
            is_local && (!table.headers.is_empty() || !table.headers_env.is_empty() || table.bearer_env.is_some()),
            "`headers`, `headers_env` and `bearer_env` belong to `url`",
        ),
        (!is_time(table.timeout_s), "`timeout_s` is between 1 and 3600"),
        (!is_time(table.start_timeout_s), "`start_timeout_s` is between 1 and 3600"),
        (
            table.tools.iter().flatten().any(|tool| !is_server_tool_name(tool)),
            "`tools` has a text that is no name of a tool; write it without `mcp:` and without the server",
        ),
    ];
    let wrong = found.into_iter().filter(|(is_wrong, _)| *is_wrong);
    wrong.map(|(_, problem)| format!("{key}: {problem}")).collect()
}

fn server(
    reader: &mut ConfigReader<'_>,
    NamedTable { name, key, members: table }: NamedTable<ServerTable>,
) -> McpServerConfig {
    let mut missing = Vec::new();
    let address = match table.command {
        Some(command) => McpAddress::Process {
            command,
            args: table.args,
            env: environment(reader, &key, (table.env, table.pass_env), &mut missing),
        },
        None => {
            let ServerTable { headers, bearer_env, headers_env, .. } = table;
            let headers = SecretHeaders { headers, bearer_env, headers_env }.read(reader, &key, &mut missing);
            McpAddress::Http { url: table.url.unwrap_or_default(), headers: headers.into_iter().collect() }
        }
    };
    McpServerConfig {
        name,
        address,
        missing,
        timeout: Duration::from_secs(table.timeout_s),
        start_timeout: Duration::from_secs(table.start_timeout_s),
        tools: table.tools,
        internal: table.internal,
    }
}

/// The environment of a process: its own variables, those of the pod that are named, and those that every process has.
fn environment(
    reader: &mut ConfigReader<'_>,
    key: &str,
    (mut env, pass_env): (BTreeMap<String, Secret>, Vec<String>),
    missing: &mut Vec<String>,
) -> BTreeMap<String, Secret> {
    for variable in pass_env {
        if let Some(value) = reader.variable(&format!("{key}.pass_env"), &variable, missing) {
            env.insert(variable, value);
        }
    }
    for variable in INHERITED {
        if let Some(value) = reader.find_variable(variable) {
            env.entry(variable.to_owned()).or_insert(value);
        }
    }
    env
}

#[cfg(test)]
mod tests;
