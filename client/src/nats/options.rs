//! How a client connects to NATS, and who it is: to the server by a credentials file, an NKey, a token or a user, and to the
//! pods by its credential.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use async_nats::{ConnectError, ConnectErrorKind};
use greenroom_protocol::subject::DEFAULT_PREFIX;
use greenroom_protocol::{Cause, Credential, ErrorCode, Subjects};

use super::inbox::Inbox;
use crate::error::Error;
use crate::transport::TransportError;

/// The options of a connection. The default is a server without authentication and the prefix `greenroom`.
#[derive(Clone, Default)]
#[must_use = "options do nothing by themselves"]
pub struct ConnectOptions {
    prefix: Option<String>,
    credentials_file: Option<PathBuf>,
    nkey: Option<String>,
    token: Option<String>,
    user: Option<(String, String)>,
    tls_ca_file: Option<PathBuf>,
    tls_client_files: Option<(PathBuf, PathBuf)>,
    inbox_prefix: Option<String>,
    name: Option<String>,
    credential: Option<Credential>,
}

impl ConnectOptions {
    /// Sets the prefix of all subjects, the setting `nats.prefix` of the pods.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Authenticates to the server by a credentials file, with a JWT and the seed of an NKey.
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// Authenticates to the server by the seed of an NKey.
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.nkey = Some(seed.into());
        self
    }

    /// Authenticates to the server by a token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Authenticates to the server by a user and a password.
    pub fn user_and_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), password.into()));
        self
    }

    /// Requires TLS, and trusts the certificates of this PEM file.
    pub fn tls_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_ca_file = Some(path.into());
        self
    }

    /// Requires TLS, with the certificate and the key of these PEM files.
    pub fn tls_client_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls_client_files = Some((certificate.into(), key.into()));
        self
    }

    /// Receives below this subject instead of `_INBOX`, for a user who may read no other inbox. It begins with `_INBOX_`:
    /// pods reply to inboxes only.
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = Some(prefix.into());
        self
    }

    /// Sets the name of the connection, which the server lists.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Authenticates to the pods by this credential, unless a client has its own.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The subjects below the prefix.
    ///
    /// # Errors
    /// [`Error::Refused`] if the prefix cannot begin a subject.
    pub(super) fn subjects(&self) -> Result<Subjects, Error> {
        Subjects::new(self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX)).map_err(Error::Refused)
    }

    /// The credential for the pods.
    pub(super) const fn pod_credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Connects to one of the servers, which commas separate.
    ///
    /// # Errors
    /// [`Error::Refused`] if a file cannot be read ([`ErrorCode::InvalidConfiguration`]), or a server refuses the client or
    /// is not trusted by it ([`ErrorCode::Unauthenticated`]); [`Error::Transport`] if none can be reached.
    pub(super) async fn connect(self, servers: &str) -> Result<Inbox, Error> {
        let addresses: Vec<String> =
            servers.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::to_owned).collect();
        let options = self.server_options().await.map_err(|error| {
            let message = format!("the connection to NATS is not configured: {error}");
            Error::Refused(Cause::new(ErrorCode::InvalidConfiguration, message))
        })?;
        let client = options.connect(addresses).await.map_err(|error| connect_error(servers, &error))?;
        Ok(Inbox::open(client, servers.to_owned()).await?)
    }

    async fn server_options(self) -> std::io::Result<async_nats::ConnectOptions> {
        let mut options = async_nats::ConnectOptions::new().name(self.name.as_deref().unwrap_or("greenroom-client"));
        if let Some(path) = self.credentials_file {
            options = options.credentials_file(path).await?;
        }
        if let Some(seed) = self.nkey {
            options = options.nkey(seed);
        }
        if let Some(token) = self.token {
            options = options.token(token);
        }
        if let Some((user, password)) = self.user {
            options = options.user_and_password(user, password);
        }
        if let Some(path) = self.tls_ca_file {
            options = options.add_root_certificates(path).require_tls(true);
        }
        if let Some((certificate, key)) = self.tls_client_files {
            options = options.add_client_certificate(certificate, key).require_tls(true);
        }
        if let Some(prefix) = self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        Ok(options)
    }
}

/// What a connection that cannot be opened means: a repetition changes nothing if one of both does not trust the other.
fn connect_error(servers: &str, error: &ConnectError) -> Error {
    let refused = |found: &str| {
        let message = format!("{found}: {error}");
        Error::Refused(Cause::new(ErrorCode::Unauthenticated, message))
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            refused("the server of NATS refuses this client")
        }
        ConnectErrorKind::Tls => refused("TLS with the server of NATS is not possible"),
        ConnectErrorKind::Io if is_untrusted(error) => refused("the certificate of the server of NATS is refused"),
        ConnectErrorKind::Io
        | ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::MaxReconnects => {
            let (address, reason) = (servers.to_owned(), error.to_string());
            Error::Transport(TransportError::Unreachable { address, reason })
        }
    }
}

/// True if the handshake of TLS has failed: the library reports what it read as invalid data.
fn is_untrusted(error: &ConnectError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ConnectErrorKind, source: io::Error) -> Error {
        connect_error("nats://h:4222", &ConnectError::with_source(kind, source))
    }

    #[test]
    fn a_server_that_refuses_is_not_one_that_cannot_be_reached() {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate");
        let away = || io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        for (kind, source) in [
            (ConnectErrorKind::AuthorizationViolation, away()),
            (ConnectErrorKind::Authentication, away()),
            (ConnectErrorKind::Tls, away()),
            (ConnectErrorKind::Io, invalid()),
        ] {
            let refused = error(kind, source);
            assert_eq!((refused.code(), refused.is_retryable()), (Some(ErrorCode::Unauthenticated), false), "{kind}");
        }
        let unreachable = error(ConnectErrorKind::Io, away());
        assert!(unreachable.code().is_none() && unreachable.is_retryable(), "{unreachable}");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_a_refusal() {
        let options = ConnectOptions::default().credentials_file("missing.creds");
        let refused = options.connect("nats://127.0.0.1:1").await.err().unwrap();
        assert_eq!(refused.code(), Some(ErrorCode::InvalidConfiguration));
        assert!(refused.to_string().contains("missing.creds"), "{refused}");
    }
}
