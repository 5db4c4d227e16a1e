//! From the configuration to the services and the APIs outside. What is elsewhere may be away: a pod starts without the
//! tools of an API whose document cannot be fetched, and definitions that name them are quarantined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::Cause;
use greenroom_runtimes::http_service::{HostSettings, HttpService};
use greenroom_runtimes::http_tools::{ApiSettings, HttpTools, OpenError};
use greenroom_runtimes::outbound::{CredentialSettings, Outbound, OutboundObserver, Secret, Unobserved};

use crate::config::{Config, HttpApiConfig, HttpHostConfig, outbound::CredentialsConfig};

/// Operations that are no tools and are named in the log.
const LOGGED_MAX: usize = 20;

/// The services and APIs of a pod.
pub(crate) struct OutboundParts {
    /// Executes the agents that are services.
    pub service: HttpService,
    /// The operations that are tools.
    pub tools: HttpTools,
}

/// Opens the services and APIs of a pod. A document that cannot be fetched is logged.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`]
pub(crate) async fn open(config: &Config, observer: Arc<dyn OutboundObserver>) -> Result<OutboundParts, Cause> {
    let outbound = Outbound::new(observer);
    let hosts: BTreeMap<String, HostSettings> =
        config.outbound.hosts.iter().map(|(name, host)| (name.clone(), host_settings(host))).collect();
    let service = HttpService::new(outbound.clone(), &hosts)?;
    let mut tools = HttpTools::new(outbound);
    for (name, api) in &config.outbound.apis {
        match tools.open_api(&api_settings(name, api)).await {
            Ok(skipped) => {
                for problem in skipped.iter().take(LOGGED_MAX) {
                    tracing::info!(tool.source = name, tool.problem = problem, "an operation is no tool");
                }
            }
            Err(OpenError::Unavailable(cause)) => tracing::error!(
                tool.source = name,
                error.code = cause.code.as_str(),
                error.message = cause.message,
                "the tools of an API are not available"
            ),
            Err(OpenError::Invalid(cause)) => return Err(cause),
        }
    }
    Ok(OutboundParts { service, tools })
}

/// The names of the tools of all APIs, for commands that only check.
///
/// # Errors
/// That of the first API whose tools cannot be opened, wherever its document is.
pub(crate) async fn tool_names(config: &Config) -> Result<Vec<String>, Cause> {
    let mut tools = HttpTools::new(Outbound::new(Arc::new(Unobserved)));
    for (name, api) in &config.outbound.apis {
        tools.open_api(&api_settings(name, api)).await.map_err(OpenError::into_cause)?;
    }
    Ok(tools.names().collect())
}

fn host_settings(host: &HttpHostConfig) -> HostSettings {
    HostSettings {
        secret: host.secret.as_ref().map(|secret| Secret::new(secret.reveal())),
        credentials: credential_settings(&host.credentials),
        allows_private: host.allow_private,
        is_internal: host.internal,
    }
}

fn api_settings(name: &str, api: &HttpApiConfig) -> ApiSettings {
    ApiSettings {
        name: name.to_owned(),
        document: api.document.clone(),
        base_url: api.base_url.clone(),
        operations: api.operations.clone(),
        credentials: credential_settings(&api.credentials),
        allows_private: api.allow_private,
        is_internal: api.internal,
        timeout: Duration::from_secs(api.timeout_s),
    }
}

fn credential_settings(credentials: &CredentialsConfig) -> CredentialSettings {
    let settings = |all: &[(String, crate::config::Secret)]| {
        all.iter().map(|(name, value)| (name.clone(), Secret::new(value.reveal()))).collect()
    };
    CredentialSettings { headers: settings(&credentials.headers), query: settings(&credentials.query) }
}
