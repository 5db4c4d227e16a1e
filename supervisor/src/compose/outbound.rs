//! From the configuration to the services and the APIs outside. What is elsewhere may be away: a pod starts without the
//! tools of an API whose document cannot be fetched, and definitions that name them are quarantined. A service fetches the
//! document again until it is there; then they are in service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use greenroom_actors::supervision::{Backoff, ChildKind};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runtimes::http_service::{HostSettings, HttpService};
use greenroom_runtimes::http_tools::{ApiSettings, HttpTools, OpenError};
use greenroom_runtimes::outbound::{CredentialSettings, Outbound, OutboundObserver, Secret, Unobserved};

use crate::config::{Config, HttpApiConfig, HttpHostConfig, outbound::CredentialsConfig};
use crate::services::Service;

/// Operations that are no tools and are named in the log.
const LOGGED_MAX: usize = 20;
/// Documents that are read at the same time.
const CONCURRENT_READS_MAX: usize = 4;
/// The delay before a document is fetched again.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// The services and APIs of a pod.
pub(crate) struct OutboundParts {
    /// Executes the agents that are services.
    pub service: HttpService,
    /// The operations that are tools.
    pub tools: Arc<HttpTools>,
    /// The APIs whose documents could not be fetched.
    pub unavailable: Vec<ApiSettings>,
}

/// Opens the services and APIs of a pod. A document that cannot be fetched is logged.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`], also for a variable that is not set: what it protects is not sent without it.
pub(crate) async fn open(config: &Config, observer: Arc<dyn OutboundObserver>) -> Result<OutboundParts, Cause> {
    require_variables(config)?;
    let outbound = Outbound::new(observer);
    let hosts: BTreeMap<String, HostSettings> =
        config.outbound.hosts.iter().map(|(name, host)| (name.clone(), host_settings(host))).collect();
    let service = HttpService::new(outbound.clone(), &hosts)?;
    let (tools, mut unavailable) = (HttpTools::new(outbound), Vec::new());
    let apis: Vec<ApiSettings> = config.outbound.apis.iter().map(|(name, api)| api_settings(name, api)).collect();
    let reads: Vec<_> = apis.iter().map(|api| Box::pin(tools.open_api(api))).collect();
    let opened: Vec<_> = stream::iter(reads).buffered(CONCURRENT_READS_MAX).collect().await;
    for (api, opened) in apis.into_iter().zip(opened) {
        match opened {
            Ok(skipped) => log_skipped(&api.name, &skipped),
            Err(OpenError::Unavailable(cause)) => {
                log_unavailable(&api.name, &cause);
                unavailable.push(api);
            }
            Err(OpenError::Invalid(cause)) => return Err(cause),
        }
    }
    Ok(OutboundParts { service, tools: Arc::new(tools), unavailable })
}

/// Fetches the documents that were not available, until they are.
pub(crate) fn documents(tools: Arc<HttpTools>, unavailable: Vec<ApiSettings>) -> Service {
    let unavailable = Arc::new(unavailable);
    Service::droppable("documents of APIs", ChildKind::Periodic, move || {
        let (tools, unavailable) = (Arc::clone(&tools), Arc::clone(&unavailable));
        async move {
            fetch(&tools, &unavailable).await;
            Ok(())
        }
    })
}

async fn fetch(tools: &HttpTools, unavailable: &[ApiSettings]) {
    for round in 1.. {
        let missing: Vec<&ApiSettings> = unavailable.iter().filter(|api| !tools.has_api(&api.name)).collect();
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(BACKOFF.delay_before(round)).await;
        for api in missing {
            match tools.open_api(api).await {
                Ok(skipped) => {
                    log_skipped(&api.name, &skipped);
                    tracing::info!(tool.source = api.name, "the tools of an API are available now");
                }
                Err(OpenError::Unavailable(cause) | OpenError::Invalid(cause)) => log_unavailable(&api.name, &cause),
            }
        }
    }
}

fn log_skipped(api: &str, skipped: &[String]) {
    for problem in skipped.iter().take(LOGGED_MAX) {
        tracing::info!(tool.source = api, tool.problem = problem, "an operation is no tool");
    }
}

fn log_unavailable(api: &str, cause: &Cause) {
    tracing::error!(
        tool.source = api,
        error.code = cause.code.as_str(),
        error.message = cause.message,
        "the tools of an API are not available"
    );
}

/// Checks that the pod has every variable that the tables name.
fn require_variables(config: &Config) -> Result<(), Cause> {
    let hosts = config.outbound.hosts.values().map(|host| &host.credentials);
    let mut all = hosts.chain(config.outbound.apis.values().map(|api| &api.credentials));
    match all.find_map(|credentials| credentials.missing.first()) {
        Some(missing) => Err(Cause::new(ErrorCode::InvalidConfiguration, missing.clone())),
        None => Ok(()),
    }
}

/// The names of the tools of all APIs, for commands that only check.
///
/// # Errors
/// That of the first API whose tools cannot be opened, wherever its document is.
pub(crate) async fn tool_names(config: &Config) -> Result<Vec<String>, Cause> {
    let tools = HttpTools::new(Outbound::new(Arc::new(Unobserved)));
    for (name, api) in &config.outbound.apis {
        tools.open_api(&api_settings(name, api)).await.map_err(OpenError::into_cause)?;
    }
    Ok(tools.names())
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
