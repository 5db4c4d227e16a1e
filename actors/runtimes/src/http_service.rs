//! The runtime `http`: an agent that is a service elsewhere. Each execution is one signed `POST` with the inputs, whose
//! response has the outputs. `docs/runtimes.md` describes both for the authors of services.
//!
//! ```text
//! host        what the configuration says about the host of a service
//! request     the body and the headers
//! signature   the headers of Standard Webhooks
//! response    the outputs
//! ```
//!
//! Nothing here retries: the definition's `retry` decides, and each attempt has the same idempotency key.

mod host;
mod request;
mod response;
mod signature;

use std::collections::BTreeMap;

use async_trait::async_trait;
use greenroom_actors::execution::runtime::{ExecutionContext, Runtime};
use greenroom_definitions::Agent;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, ErrorCode, Values};
use reqwest::Method;
use url::Url;

use crate::outbound::client::{Outbound, OutboundRequest};
use crate::outbound::{CallKind, CredentialSettings, Secret};

use host::Host;

/// Maximum bytes of the body of a response.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the configuration says about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// The secret that signs the requests, as text or as `whsec_` with Base64.
    pub secret: Option<Secret>,
    /// Headers and parameters of each request.
    pub credentials: CredentialSettings,
    /// True if it may be in a network of the operator, and need not have TLS.
    pub allows_private: bool,
    /// True if requests to it stay within the organization.
    pub is_internal: bool,
}

/// Executes agents by services.
pub struct HttpService {
    outbound: Outbound,
    hosts: BTreeMap<String, Host>,
    /// A host that the configuration does not name.
    other: Host,
}

impl HttpService {
    /// Services at these hosts, each a name or an address, with a port if the settings are for this port only.
    ///
    /// # Errors
    /// `invalid_configuration` with the host.
    pub fn new(outbound: Outbound, hosts: &BTreeMap<String, HostSettings>) -> Result<Self, Cause> {
        let open = |(name, settings): (&String, &HostSettings)| match Host::new(name, settings) {
            Ok(host) => Ok((name.to_ascii_lowercase(), host)),
            Err(problem) => {
                let message = format!("runtimes.http.hosts.{name:?}: {problem}");
                Err(Cause::new(ErrorCode::InvalidConfiguration, message))
            }
        };
        Ok(Self { outbound, hosts: hosts.iter().map(open).collect::<Result<_, _>>()?, other: Host::default() })
    }

    /// The settings for a URL: those of its port, else those of its host.
    fn host(&self, url: &Url) -> &Host {
        let name = url.host_str().unwrap_or_default();
        let with_port = url.port_or_known_default().and_then(|port| self.hosts.get(&format!("{name}:{port}")));
        with_port.or_else(|| self.hosts.get(name)).unwrap_or(&self.other)
    }
}

#[async_trait]
impl Runtime for HttpService {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Http
    }

    /// The operator decides: the address of a service does not show where it passes a request on.
    fn is_external(&self, agent: &Agent) -> bool {
        !service_url(agent).is_ok_and(|url| self.host(&url).is_internal)
    }

    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let invocation = ctx.invocation();
        let agent = &invocation.agent;
        let url = service_url(agent)?;
        let (host, server) = (self.host(&url), server_name(&url));
        let timeout = ctx.time_left();
        let body = request::body(invocation, timeout)?;
        ctx.wait_lease().await?;
        let headers = request::headers(invocation, host, ctx.now(), &body);
        let sent = OutboundRequest {
            kind: CallKind::Service,
            method: Method::POST,
            url: host.with_query(url),
            headers,
            body: Some(body),
            allows_private: host.allows_private,
            timeout,
            bytes_max: RESPONSE_BYTES_MAX,
        };
        let received = self.outbound.send(sent).await.map_err(|error| error.cause(&server))?;
        let outputs = response::read_outputs(received, &server, &host.credentials).await?;
        agent.validate_outputs(&invocation.invoke.inputs, outputs)
    }
}

/// The address that a definition names.
///
/// # Errors
/// [`ErrorCode::AddressNotAllowed`]; the checks of definitions find it before.
fn service_url(agent: &Agent) -> Result<Url, Cause> {
    let handler = agent.spec().implementation.handler.as_deref().unwrap_or_default();
    Url::parse(handler).map_err(|error| {
        Cause::new(ErrorCode::AddressNotAllowed, format!("the handler of {} is no address: {error}", agent.id()))
    })
}

/// The host and the port of a service, for messages: the rest of its address may be a secret.
fn server_name(url: &Url) -> String {
    match url.port() {
        Some(port) => format!("the service {}:{port}", url.host_str().unwrap_or_default()),
        None => format!("the service {}", url.host_str().unwrap_or_default()),
    }
}
