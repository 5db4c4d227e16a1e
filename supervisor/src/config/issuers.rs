//! The tables `issuers` of the file: the identity providers whose tokens are accepted, their keys, and what they may vouch
//! for.

use std::fmt;
use std::path::PathBuf;

use greenroom_protocol::{Issuer, TenantId};
use serde::Deserialize;
use url::{Host, Url};

use super::reader::ConfigReader;
use super::users::{DEFAULT_QUERY_LIMIT, DEFAULT_RATE_LIMIT, LimitsConfig};
use crate::identity::narrow::KEY_ISSUER;

/// Seconds by which the clock of an issuer may differ.
const SKEW_SECS: u32 = 30;
/// The most that this may be set to.
const SKEW_SECS_MAX: u32 = 300;
/// The roles that an issuer may give, unless its table names others. It does not make administrators.
const ROLES: [&str; 4] = ["agent_operator", "approver", "auditor", "internal"];

/// An algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256, and a secret that the issuer shares with the pods.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl TokenAlgorithm {
    /// Its name in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key in a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerKeyConfig {
    /// Its name in the headers of tokens; without one, the key is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
    /// The one algorithm that it is for.
    pub algorithm: TokenAlgorithm,
    /// A public key as PEM, or the shared secret of `HS256`.
    pub file: PathBuf,
}

/// The names of the claims that are read. A name with dots is a path, if no claim has the whole name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimNames {
    /// The user.
    pub user: String,
    /// The tenant; without it, every token is of the `tenant` of the issuer.
    pub tenant: Option<String>,
    /// The roles: a list, or one text with spaces.
    pub roles: String,
    /// The categories whose agents the user may call.
    pub allowed_categories: String,
    /// `true` if the user may process personal data.
    pub pii_access: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            user: "sub".to_owned(),
            tenant: None,
            roles: "roles".to_owned(),
            allowed_categories: "allowed_categories".to_owned(),
            pii_access: "pii_access".to_owned(),
        }
    }
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer in the names of its principals.
    pub name: Issuer,
    /// The claim `iss` of its tokens.
    pub iss: String,
    /// The claims `aud` that are accepted.
    pub audience: Vec<String>,
    /// The keys in files.
    #[serde(default)]
    pub keys: Vec<IssuerKeyConfig>,
    /// Where it publishes its keys.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Seconds by which its clock may differ.
    #[serde(default = "default_skew")]
    pub skew_secs: u32,
    /// The tenant of all its users, unless a claim has the tenant.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// The tenants that the claim may have.
    #[serde(default)]
    pub tenants: Vec<TenantId>,
    /// The roles that it may give.
    #[serde(default = "default_roles")]
    pub roles: Vec<String>,
    /// The names of the claims.
    #[serde(default)]
    pub claims: ClaimNames,
    /// Requests an hour of each of its users that execute or change something.
    #[serde(default = "default_rate_limit")]
    pub rate_limit: u64,
    /// Queries an hour of each of its users.
    #[serde(default = "default_query_limit")]
    pub query_limit: u64,
    /// The limits of each of its users.
    #[serde(default)]
    pub limits: LimitsConfig,
}

const fn default_skew() -> u32 {
    SKEW_SECS
}

const fn default_rate_limit() -> u64 {
    DEFAULT_RATE_LIMIT
}

const fn default_query_limit() -> u64 {
    DEFAULT_QUERY_LIMIT
}

fn default_roles() -> Vec<String> {
    ROLES.map(str::to_owned).to_vec()
}

/// The issuers; a problem for each that could not be used, or that vouches for more than its table shows.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Vec<IssuerConfig> {
    let issuers: Vec<IssuerConfig> = reader.get("issuers").unwrap_or_default();
    for (index, issuer) in issuers.iter().enumerate() {
        let mut report = |problem: &str| reader.report(format!("issuers[{index}]: {problem}"));
        let mut others = issuers.iter().take(index);
        if others.any(|other| other.name == issuer.name || other.iss == issuer.iss) {
            report("there is another issuer with this `name` or `iss`");
        }
        problems(issuer).for_each(report);
    }
    issuers
}

fn problems(issuer: &IssuerConfig) -> impl Iterator<Item = &'static str> {
    let is_reserved = issuer.name == Issuer::default() || issuer.name.as_str() == KEY_ISSUER;
    let has_claim = issuer.claims.tenant.is_some();
    let found = [
        (is_reserved, "the names `local` and `key` belong to users of this file and to API keys"),
        (issuer.iss.is_empty(), "`iss` is empty"),
        (issuer.audience.is_empty(), "`audience` is empty: a token for another service would be accepted"),
        (issuer.keys.is_empty() && issuer.jwks_url.is_none(), "it has neither `keys` nor `jwks_url`"),
        (
            issuer.jwks_url.as_deref().is_some_and(|url| !is_private(url)),
            "`jwks_url` is no address that begins with `https://`",
        ),
        (issuer.skew_secs > SKEW_SECS_MAX, "`skew_secs` is more than 300"),
        (has_claim == issuer.tenant.is_some(), "set either `tenant`, or `claims.tenant` with `tenants`"),
        (has_claim == issuer.tenants.is_empty(), "`claims.tenant` needs `tenants`, which nothing else does"),
    ];
    found.into_iter().filter_map(|(is_wrong, problem)| is_wrong.then_some(problem))
}

/// True for an address whose content no one on the way can replace.
fn is_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::load;
    use super::super::{Config, Flags};

    const ISSUER: &str = "[[issuers]]\nname = \"login\"\niss = \"https://login.example\"\naudience = [\"greenroom\"]\n";

    fn loaded(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("greenroom.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
        load(&flags, environment).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_has_defaults_that_give_no_administrators() {
        let url = "tenant = \"acme\"\njwks_url = \"https://login.example/keys\"\n";
        let config = loaded(&format!("{ISSUER}{url}")).unwrap();
        let issuer = &config.issuers[0];
        assert_eq!((issuer.name.as_str(), issuer.skew_secs, issuer.claims.user.as_str()), ("login", 30, "sub"));
        assert!(!issuer.roles.iter().any(|role| role == "admin"));
    }

    #[test]
    fn what_would_accept_too_much_is_a_problem() {
        let url = "jwks_url = \"https://login.example/keys\"\n";
        for (rest, problem) in [
            ("tenant = \"acme\"\n", "neither `keys` nor `jwks_url`"),
            (url, "set either `tenant`"),
            ("tenant = \"acme\"\njwks_url = \"http://login.example/keys\"\n", "https://"),
            (format!("{url}claims.tenant = \"org\"\n").as_str(), "needs `tenants`"),
            (format!("{url}tenant = \"acme\"\nskew_secs = 301\n").as_str(), "skew_secs"),
            (format!("{url}tenant = \"acme\"\nalgorithms = [\"none\"]\n").as_str(), "algorithms"),
        ] {
            let problems = loaded(&format!("{ISSUER}{rest}")).unwrap_err();
            assert!(problems.contains(problem), "{rest}: {problems}");
        }
        let twice = format!("{ISSUER}{url}tenant = \"acme\"\n{ISSUER}{url}tenant = \"acme\"\n");
        assert!(loaded(&twice).unwrap_err().contains("another issuer"));
        let reserved = format!("{ISSUER}{url}tenant = \"acme\"\n").replace("\"login\"", "\"key\"");
        assert!(loaded(&reserved).unwrap_err().contains("belong to"));
    }
}
