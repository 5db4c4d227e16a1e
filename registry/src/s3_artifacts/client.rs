//! The client of S3: path-style addresses, signed requests, bounded retries.

use std::path::Path;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::fault::reason;
use super::{S3Settings, S3Timeouts};
use crate::authorities::read_authorities;
use crate::error::{S3Fault, StoreError};

/// Attempts of a request after the first one.
const RETRIES_MAX: usize = 4;
/// Delay before the first retry.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest delay before a retry.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(3);
/// Factor between two delays.
const RETRY_DELAY_FACTOR: f64 = 2.0;

/// Provides the HTTP client that was built for the settings.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Builds the client, without a connection.
///
/// # Errors
/// [`StoreError::S3`] if the settings are none of a client.
pub(super) fn build(settings: &S3Settings) -> Result<AmazonS3, StoreError> {
    let S3Settings { endpoint, bucket, region, access_key_id, secret_access_key, timeouts, .. } = settings;
    let invalid = |reason: String| StoreError::S3 { fault: S3Fault::Other, reason };
    let mut http = http_builder(timeouts);
    if let Some(ca_file) = &settings.ca_file {
        http = http.tls_certs_only(read_certificates(ca_file)?);
    }
    let http = http.build().map_err(|error| invalid(error.to_string()))?;
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: RETRY_DELAY, max_backoff: RETRY_DELAY_MAX, base: RETRY_DELAY_FACTOR },
        max_retries: RETRIES_MAX,
        retry_timeout: timeouts.retries,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_access_key_id(access_key_id)
        .with_secret_access_key(secret_access_key)
        .with_http_connector(Connector(http))
        .with_retry(retry);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build().map_err(|error| invalid(reason(&error)))
}

/// The authorities that are trusted instead of those of the system.
fn read_certificates(ca_file: &Path) -> Result<Vec<reqwest::Certificate>, StoreError> {
    let untrusted = |reason: String| StoreError::S3 { fault: S3Fault::Untrusted, reason };
    let authorities = read_authorities(ca_file).map_err(untrusted)?;
    let certificates = authorities.iter().map(|authority| reqwest::Certificate::from_der(authority));
    certificates.collect::<reqwest::Result<_>>().map_err(|error| untrusted(error.to_string()))
}

fn http_builder(timeouts: &S3Timeouts) -> reqwest::ClientBuilder {
    // The process may have installed a crypto provider already, which is used then.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.attempt)
        .tcp_nodelay(true)
        // Parts are as fast over connections of their own.
        .http1_only()
        // The length of a body is that of the object.
        .no_gzip()
        // A redirect would carry the signature to another host.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
}
