//! What the URL of a database says of TLS. The driver reads the certificates at each connection, and has the same error
//! for a file that is missing as for a server that is away.

use std::path::Path;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::authorities::read_authorities;
use crate::error::{ServerFault, StoreError};

/// Checks that the file of trusted authorities that a URL names can be read, if the certificate of the server is checked.
pub(super) fn check_authorities(url: &str, options: &PgConnectOptions) -> Result<(), StoreError> {
    match options.get_ssl_mode() {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => {}
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require => return Ok(()),
    }
    let url = Url::parse(url).map_err(|error| StoreError::Failed(error.to_string()))?;
    for (_, path) in url.query_pairs().filter(|(name, _)| name == "sslrootcert") {
        read_authorities(Path::new(&*path)).map_err(untrusted)?;
    }
    Ok(())
}

/// The error of a server with which no connection can be trusted.
pub(super) fn untrusted(reason: String) -> StoreError {
    StoreError::Refused { fault: ServerFault::Untrusted, reason }
}
