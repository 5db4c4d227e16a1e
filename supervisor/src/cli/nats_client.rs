//! The client of a command that sends requests over NATS to the pods: it connects as their configuration says.

use std::path::Path;

use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential, Error, TransportError};
use greenroom_protocol::{Cause, ErrorCode};

use crate::config::{NatsAuth, NatsConfig};

/// Connects. The servers show the name for the connection; requests without a credential have this one.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] if a file cannot be read; [`ErrorCode::ShuttingDown`] if no server can be reached.
pub(super) async fn connect(nats: &NatsConfig, name: &str, credential: Option<Credential>) -> Result<Client, Cause> {
    let mut options = ConnectOptions::default().prefix(&nats.prefix).name(name);
    if let Some(credential) = credential {
        options = options.credential(credential);
    }
    options = match &nats.auth {
        NatsAuth::None => options,
        NatsAuth::Credentials(path) => options.credentials_file(path),
        NatsAuth::Nkey(path) => options.nkey(read_seed(path)?),
        NatsAuth::Token(token) => options.token(token.reveal()),
        NatsAuth::User { name, password } => options.user_and_password(name, password.reveal()),
    };
    if let Some(path) = &nats.tls.ca_file {
        options = options.tls_ca_file(path);
    }
    if let Some((certificate, key)) = &nats.tls.identity {
        options = options.tls_client_files(certificate, key);
    }
    Client::connect_with(nats.url.reveal(), options).await.map_err(cause_of)
}

fn read_seed(path: &Path) -> Result<String, Cause> {
    let seed = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("nats.nkey_file: {} cannot be read: {error}", path.display());
        Cause::new(ErrorCode::InvalidConfiguration, message)
    })?;
    Ok(seed.trim().to_owned())
}

fn cause_of(error: Error) -> Cause {
    match error {
        Error::Refused(cause) => cause,
        // The error quotes the address, which may have a password.
        Error::Transport(TransportError::Unreachable { reason, .. }) => {
            Cause::new(ErrorCode::ShuttingDown, format!("no server of NATS can be reached: {reason}"))
        }
        Error::Transport(error) => error.into(),
        Error::Decode(error) => Cause::new(ErrorCode::Internal, error.to_string()),
    }
}
