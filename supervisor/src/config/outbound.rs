//! The tables `runtimes.http.hosts` and `tools.http` of the file: the hosts of services behind agents, and the APIs whose
//! operations are tools. Secrets are in variables of the environment, which the tables name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reader::{ConfigReader, NamedTable};
use super::secret::Secret;
use super::secret_headers::SecretHeaders;

/// Seconds of one call of a tool.
const CALL_TIMEOUT_SECS: u64 = 30;
/// The most that this may be set to.
const CALL_TIMEOUT_SECS_MAX: u64 = 3_600;

/// The services and APIs outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundConfig {
    /// The hosts of services, each a name or an address, with or without a port.
    pub hosts: BTreeMap<String, HttpHostConfig>,
    /// The APIs, by name.
    pub apis: BTreeMap<String, HttpApiConfig>,
}

/// What is added to each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialsConfig {
    /// Headers, by name.
    pub headers: Vec<(String, Secret)>,
    /// Parameters of the query, by name.
    pub query: Vec<(String, Secret)>,
    /// What the pod lacks, the secret that signs among it: each variable that is not set, with the member that names it.
    pub missing: Vec<String>,
}

/// A host of services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpHostConfig {
    /// The secret that signs the requests.
    pub secret: Option<Secret>,
    /// What is added to each request.
    pub credentials: CredentialsConfig,
    /// True if it may be in a network of the operator, and need not have TLS.
    pub allow_private: bool,
    /// True if requests to it stay within this organization.
    pub internal: bool,
}

/// An API whose operations are tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpApiConfig {
    /// Its OpenAPI document: a path or an address.
    pub document: String,
    /// Where its requests are sent, instead of the first server of the document.
    pub base_url: Option<String>,
    /// The operations that are tools; `None` for all that can be.
    pub operations: Option<Vec<String>>,
    /// What is added to each request.
    pub credentials: CredentialsConfig,
    /// True if it may be in a network of the operator, and need not have TLS.
    pub allow_private: bool,
    /// True if requests to it stay within this organization.
    pub internal: bool,
    /// Seconds of one call.
    pub timeout_s: u64,
}

/// A table of `runtimes.http.hosts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    secret_env: Option<String>,
    bearer_env: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    headers_env: BTreeMap<String, String>,
    #[serde(default)]
    query_env: BTreeMap<String, String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    internal: bool,
}

/// A table of `tools.http`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiTable {
    document: String,
    base_url: Option<String>,
    operations: Option<Vec<String>>,
    bearer_env: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    headers_env: BTreeMap<String, String>,
    #[serde(default)]
    query_env: BTreeMap<String, String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default = "default_timeout")]
    timeout_s: u64,
}

const fn default_timeout() -> u64 {
    CALL_TIMEOUT_SECS
}

/// The services and APIs, with the values of the variables that their tables name.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> OutboundConfig {
    let (hosts, apis) = (reader.tables("runtimes.http.hosts"), reader.tables("tools.http"));
    OutboundConfig {
        hosts: hosts.into_iter().map(|table| read_host(reader, table)).collect(),
        apis: apis.into_iter().map(|table| read_api(reader, table)).collect(),
    }
}

fn read_host(
    reader: &mut ConfigReader<'_>,
    NamedTable { name, key, members }: NamedTable<HostTable>,
) -> (String, HttpHostConfig) {
    let HostTable { secret_env, bearer_env, headers, headers_env, query_env, allow_private, internal } = members;
    let headers = SecretHeaders { headers, bearer_env, headers_env };
    let mut credentials = read_credentials(reader, &key, headers, query_env);
    let (secret_key, missing) = (format!("{key}.secret_env"), &mut credentials.missing);
    let secret = secret_env.and_then(|variable| reader.variable(&secret_key, &variable, missing));
    (name, HttpHostConfig { secret, credentials, allow_private, internal })
}

fn read_api(
    reader: &mut ConfigReader<'_>,
    NamedTable { name, key, members }: NamedTable<ApiTable>,
) -> (String, HttpApiConfig) {
    let ApiTable { document, base_url, operations, timeout_s, allow_private, internal, .. } = members;
    if !(1..=CALL_TIMEOUT_SECS_MAX).contains(&timeout_s) {
        reader.report(format!("{key}.timeout_s: it must be from 1 to {CALL_TIMEOUT_SECS_MAX}"));
    }
    let ApiTable { bearer_env, headers, headers_env, query_env, .. } = members;
    let headers = SecretHeaders { headers, bearer_env, headers_env };
    let credentials = read_credentials(reader, &key, headers, query_env);
    (name, HttpApiConfig { document, base_url, operations, credentials, allow_private, internal, timeout_s })
}

fn read_credentials(
    reader: &mut ConfigReader<'_>,
    key: &str,
    headers: SecretHeaders,
    query_env: BTreeMap<String, String>,
) -> CredentialsConfig {
    let mut missing = Vec::new();
    let headers = headers.read(reader, key, &mut missing);
    let query = reader.named_variables(&format!("{key}.query_env"), query_env, &mut missing);
    CredentialsConfig { headers, query, missing }
}

#[cfg(test)]
mod tests {
    use super::super::source::load;
    use super::super::{Flags, LoadedConfig};

    fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("greenroom.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&flags, environment).map_err(|error| error.to_string())
    }

    const FILE: &str = r#"
[runtimes.http.hosts."api.example"]
secret_env = "SCORES_SECRET"
headers = { "X-Client" = "green-room" }
internal = true

[runtimes.http.hosts."127.0.0.1:8080"]
allow_private = true

[tools.http.crm]
document = "crm.yaml"
base_url = "https://crm.example/v1"
operations = ["list_customers"]
bearer_env = "CRM_TOKEN"
headers_env = { "X-Api-Key" = "CRM_KEY" }
query_env = { key = "CRM_KEY" }
"#;

    const VARIABLES: [(&str, &str); 3] = [("SCORES_SECRET", "s1"), ("CRM_TOKEN", "t1"), ("CRM_KEY", "k1")];

    #[test]
    fn tables_name_the_variables_that_have_their_secrets() {
        let loaded = loaded(FILE, &VARIABLES).unwrap();
        let outbound = &loaded.config.outbound;
        let host = &outbound.hosts["api.example"];
        assert_eq!(host.secret.as_ref().map(|secret| secret.reveal()), Some("s1"));
        assert!(host.internal && !host.allow_private && outbound.hosts["127.0.0.1:8080"].allow_private);
        let api = &outbound.apis["crm"];
        let headers: Vec<_> =
            api.credentials.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(headers, [("authorization", "Bearer t1"), ("X-Api-Key", "k1")]);
        assert_eq!((api.timeout_s, api.operations.as_deref()), (30, Some(&["list_customers".to_owned()][..])));
        let rows: Vec<String> = loaded.resolved.iter().map(|row| format!("{} = {}", row.key, row.value)).collect();
        let all = rows.join("\n");
        assert!(all.contains("runtimes.http.hosts.api.example.headers.X-Client = ***"), "{all}");
        assert!(all.contains("tools.http.crm.bearer_env = CRM_TOKEN") && !all.contains("green-room"), "{all}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_missing_and_an_unknown_member_is_a_problem() {
        let outbound = loaded(FILE, &VARIABLES[1..2]).unwrap().config.outbound;
        let missing = "runtimes.http.hosts.api.example.secret_env: the variable SCORES_SECRET is not set";
        assert_eq!(outbound.hosts["api.example"].credentials.missing, [missing]);
        let of_api = ["headers_env.X-Api-Key", "query_env.key"];
        let of_api = of_api.map(|member| format!("tools.http.crm.{member}: the variable CRM_KEY is not set"));
        assert_eq!(outbound.apis["crm"].credentials.missing, of_api);
        for (text, problem) in [
            ("[runtimes.http.hosts.x]\nbearer_env = \"a secret\"\n", "this is no name of a variable"),
            ("[tools.http.crm]\n", "document"),
            ("[tools.http.crm]\ndocument = \"x\"\ntimeout_s = 0\n", "timeout_s"),
            ("[tools.http.crm]\ndocument = \"x\"\nbase = \"x\"\n", "base"),
            ("[runtimes.http]\nhost = \"x\"\n", "unknown setting runtimes.http.host"),
            ("[runtimes.http.hosts.x]\nsecret = \"x\"\n", "secret"),
        ] {
            let problems = loaded(text, &[]).unwrap_err();
            assert!(problems.contains(problem), "{text}: {problems}");
        }
    }
}
