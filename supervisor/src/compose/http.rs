//! From the configuration to the bridge within a pod: who its callers are, what it shows of the pod, and its service.

use std::sync::Arc;

use futures::FutureExt;
use greenroom_actors::supervision::ChildKind;
use greenroom_client::Client;
use greenroom_protocol::Cause;
use greenroom_runpod::bridge::{BridgeConfig, BridgeServer, Health, Host, TokenKey};

use super::parts::PodParts;
use crate::config::{ClusterConfig, Config, HttpConfig};
use crate::ingress::http::HttpTransport;
use crate::ingress::local::LocalIngress;
use crate::services::{Phase, RunService, Service};

/// Binds the bridge of a pod, if the configuration has one.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if the address is in use, or is reached from other machines
/// while callers have no identity.
pub(crate) fn bind(parts: &PodParts, ingress: &LocalIngress) -> Result<Option<BridgeServer>, Cause> {
    let Config { http, users, issuers, user, cluster, .. } = &parts.config;
    let Some(http) = http else { return Ok(None) };
    let has_identity =
        users.users.iter().any(|user| user.api_key.is_some()) || !issuers.is_empty() || !http.allows_development_user;
    let development_user = if has_identity { None } else { Some(user.clone()) };
    let transport = HttpTransport::new(ingress.clone(), development_user);
    let (admission, readiness) = (parts.admission.clone(), Arc::clone(&parts.readiness));
    let health = move || match readiness.unready_cause() {
        _ if admission.is_closed() => Health::Draining,
        Some(cause) => Health::Unready(cause),
        None => Health::Ready,
    };
    let metrics = Arc::clone(&parts.metrics);
    let render: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(move || metrics.render());
    let host = Host {
        client: Client::new(Arc::new(transport)),
        clock: Arc::clone(&parts.clock),
        health: Arc::new(health),
        // Other machines see what the bridge counts itself.
        metrics: http.addr.ip().is_loopback().then_some(render),
    };
    let server = BridgeServer::bind(bridge_config(http, has_identity, cluster)?, host)?;
    if !has_identity {
        tracing::warn!(
            http.addr = %server.local_addr(), user.name = %user,
            "DEVELOPMENT: no user has a key and there is no issuer, so every program of this machine sends requests \
             over HTTP as this user; GREENROOM_HTTP_DEVELOPMENT_USER=off ends that"
        );
    }
    Ok(Some(server))
}

/// The settings of a bridge. All bridges of a cluster open each other's tokens.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::Internal`] if there is no key for tokens.
pub(crate) fn bridge_config(
    http: &HttpConfig,
    has_identity: bool,
    cluster: &ClusterConfig,
) -> Result<BridgeConfig, Cause> {
    let tokens = match &cluster.secret {
        Some(secret) => TokenKey::derive(secret.reveal())?,
        None => TokenKey::generate()?,
    };
    let HttpConfig { addr, cors_origins, connections_max, upload_bytes_max, allows_development_user: _ } = http.clone();
    Ok(BridgeConfig { addr, has_identity, cors_origins, connections_max, upload_bytes_max, tokens })
}

/// Serves until the pod stops its ingresses; it is drained by then.
pub(crate) fn service(server: BridgeServer) -> Service {
    let server = Arc::new(server);
    let run: RunService = Arc::new(move |stop| {
        let server = Arc::clone(&server);
        async move { server.serve(stop.stopped()).await }.boxed()
    });
    Service { name: "http", phase: Phase::Ingress, restart: ChildKind::Ingress, run }
}
