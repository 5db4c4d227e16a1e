//! TLS to a server whose certificate is signed by an authority that the operator names.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::TlsConfig;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};

use super::error::RedisError;
use crate::authorities::read_authorities;

/// Trusts the authorities of a file (PEM), and no others.
///
/// # Errors
/// [`RedisError::Untrusted`] if the file cannot be read, or has a certificate that is none.
pub(super) fn trust_authorities(ca_file: &Path) -> Result<TlsConfig, RedisError> {
    let mut roots = RootCertStore::empty();
    for authority in read_authorities(ca_file).map_err(RedisError::Untrusted)? {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth().into())
}

fn unusable(error: &rustls::Error) -> RedisError {
    RedisError::Untrusted(error.to_string())
}
