//! The section `nats`: the servers over which requests arrive, how this pod authenticates to them, and how much it takes.

use std::path::PathBuf;

use greenroom_protocol::Subjects;

use super::reader::ConfigReader;
use super::secret::{Secret, mask_credentials};
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "nats.url",
        &["NATS_URL"],
        "`nats://[USER:PASSWORD@]HOST[:PORT]`, or `tls://` for TLS; several are separated by commas; without it, no \
         request arrives over NATS",
    )
    .masked(),
    Setting::text(
        "nats.prefix",
        &["GREENROOM_NATS_PREFIX"],
        "what every subject begins with, and every stream and bucket",
    )
    .or("greenroom"),
    Setting::text(
        "nats.credentials_file",
        &["GREENROOM_NATS_CREDENTIALS_FILE"],
        "file with a JWT and its key (`.creds`)",
    ),
    Setting::text("nats.nkey_file", &["GREENROOM_NATS_NKEY_FILE"], "file with the seed of an NKey"),
    Setting::text("nats.token", &["GREENROOM_NATS_TOKEN"], "token of the servers").masked(),
    Setting::text("nats.user", &["GREENROOM_NATS_USER"], "user of the servers"),
    Setting::text("nats.password", &["GREENROOM_NATS_PASSWORD"], "password of `nats.user`").masked(),
    Setting::text(
        "nats.tls.ca_file",
        &["GREENROOM_NATS_TLS_CA_FILE"],
        "certificates (PEM) that sign those of the servers; default those of the system",
    ),
    Setting::text("nats.tls.cert_file", &["GREENROOM_NATS_TLS_CERT_FILE"], "certificate (PEM) of this pod"),
    Setting::text("nats.tls.key_file", &["GREENROOM_NATS_TLS_KEY_FILE"], "key (PEM) of the certificate of this pod"),
    Setting::number(
        "nats.requests_max",
        &["GREENROOM_NATS_REQUESTS_MAX"],
        "messages under way on this pod; further ones are rejected as overloaded",
    )
    .or("16384"),
    Setting::number(
        "nats.stream_bytes_max",
        &["GREENROOM_NATS_STREAM_BYTES_MAX"],
        "bytes of the texts of models that a stream of JetStream stores for an hour, for watchers that begin later; 0 for \
         none",
    )
    .or("0"),
    Setting::number(
        "nats.audit_replicas",
        &["GREENROOM_NATS_AUDIT_REPLICAS"],
        "replicas of the stream of JetStream with a copy of the audit's root chain, for a PostgreSQL database; 0 for no \
         copy",
    )
    .or("0"),
];

/// Replicas of a stream.
const REPLICAS_MAX: usize = 5;
/// Schemes of a server.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// The URLs of the servers, which may contain passwords, separated by commas.
    pub url: Secret,
    /// What every subject begins with.
    pub prefix: String,
    /// How the pod authenticates, if not by the URL.
    pub auth: NatsAuth,
    /// Files for TLS.
    pub tls: NatsTls,
    /// Messages under way.
    pub requests_max: usize,
    /// Bytes of the stream of texts; zero for none.
    pub stream_bytes_max: u64,
    /// Replicas of the copy of the audit's root chain; zero for none.
    pub audit_replicas: usize,
}

/// How a pod authenticates to the servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NatsAuth {
    /// By the URL, by its certificate, or not at all.
    #[default]
    None,
    /// By a file with a JWT and its key.
    Credentials(PathBuf),
    /// By a file with the seed of an NKey.
    Nkey(PathBuf),
    /// By a token.
    Token(Secret),
    /// By a user and a password.
    User {
        /// The user.
        name: String,
        /// The password.
        password: Secret,
    },
}

/// Files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatsTls {
    /// Certificates that sign those of the servers, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate of this pod and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl NatsTls {
    /// True if a server without TLS must not be used.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }
}

impl NatsConfig {
    /// A server of this URL without anything else, for tests and benchmarks.
    #[must_use]
    pub fn for_url(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            prefix: "greenroom".to_owned(),
            auth: NatsAuth::None,
            tls: NatsTls::default(),
            requests_max: 16_384,
            stream_bytes_max: 0,
            audit_replicas: 0,
        }
    }
}

/// The configured NATS; `None` if there is none.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<NatsConfig> {
    let prefix = reader.get::<String>("nats.prefix").unwrap_or_default();
    let requests_max = reader.get::<usize>("nats.requests_max").unwrap_or(1);
    let stream_bytes_max = reader.get::<u64>("nats.stream_bytes_max").unwrap_or(0);
    let audit_replicas = reader.get::<usize>("nats.audit_replicas").unwrap_or(0);
    let (auth, tls) = (read_auth(reader), read_tls(reader));
    let url = reader.get::<String>("nats.url").filter(|url| !url.is_empty())?;
    for problem in url.split(',').filter_map(|server| check_server(server.trim())) {
        let origin = reader.origin("nats.url");
        reader.report(format!("nats.url ({origin}): {problem}"));
    }
    if let Err(cause) = Subjects::new(&prefix) {
        reader.report(format!("nats.prefix: {}", cause.message));
    }
    if audit_replicas > REPLICAS_MAX {
        reader.report(format!("nats.audit_replicas: JetStream has at most {REPLICAS_MAX}"));
    }
    if requests_max == 0 {
        reader.report("nats.requests_max: it must be at least 1".to_owned());
    }
    Some(NatsConfig { url: Secret::new(url), prefix, auth, tls, requests_max, stream_bytes_max, audit_replicas })
}

/// A problem of the URL of one server, without its secrets.
fn check_server(server: &str) -> Option<String> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("nats://{server}") };
    let parsed = match url::Url::parse(&with_scheme) {
        Ok(parsed) => parsed,
        Err(error) => return Some(format!("this is no URL of a server: {error}")),
    };
    if !SCHEMES.contains(&parsed.scheme()) {
        return Some(format!("this version supports `nats://` and `tls://`, not {}", parsed.scheme()));
    }
    parsed.host_str().is_none_or(str::is_empty).then(|| format!("{} names no host", mask_credentials(&with_scheme)))
}

fn path(reader: &mut ConfigReader<'_>, key: &str) -> Option<PathBuf> {
    reader.get::<String>(key).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// At most one way to authenticate; a problem if there are several.
fn read_auth(reader: &mut ConfigReader<'_>) -> NatsAuth {
    let text = |reader: &mut ConfigReader<'_>, key| reader.get::<String>(key).filter(|text| !text.is_empty());
    let credentials = path(reader, "nats.credentials_file").map(NatsAuth::Credentials);
    let nkey = path(reader, "nats.nkey_file").map(NatsAuth::Nkey);
    let token = text(reader, "nats.token").map(|token| NatsAuth::Token(Secret::new(token)));
    let user = match (text(reader, "nats.user"), text(reader, "nats.password")) {
        (Some(name), Some(password)) => Some(NatsAuth::User { name, password: Secret::new(password) }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            reader.report("nats.user and nats.password: set both or none".to_owned());
            None
        }
    };
    let mut ways = [credentials, nkey, token, user].into_iter().flatten();
    let first = ways.next().unwrap_or_default();
    if ways.next().is_some() {
        reader.report(
            "set one of nats.credentials_file, nats.nkey_file, nats.token, and nats.user with nats.password".to_owned(),
        );
    }
    first
}

fn read_tls(reader: &mut ConfigReader<'_>) -> NatsTls {
    let ca_file = path(reader, "nats.tls.ca_file");
    let identity = match (path(reader, "nats.tls.cert_file"), path(reader, "nats.tls.key_file")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            reader.report("nats.tls.cert_file and nats.tls.key_file: set both or none".to_owned());
            None
        }
    };
    NatsTls { ca_file, identity }
}

#[cfg(test)]
mod tests;
