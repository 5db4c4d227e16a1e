//! The address and the API of a provider, and the HTTP client that all providers share.

use std::time::Duration;

use genai::adapter::AdapterKind;
use genai::resolver::{AuthData, Endpoint, ProviderConfig};
use genai::{Client, ModelIden};
use greenroom_protocol::{Cause, ErrorCode};
use reqwest::Url;

use super::{ApiKey, ProviderSettings};

/// Maximum idle connections per host.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Timeout of an idle connection.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one answer that a server may send before they are read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Sent as the key to a server that needs none.
const NO_KEY: &str = "none";

/// Creates the client. It has no timeout for a complete request, since a stream may be long and each of its
/// phases has a timeout.
pub(super) fn http_client(connect: Duration) -> Result<reqwest::Client, Cause> {
    // The process may have installed a crypto provider already, which is used then.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .connect_timeout(connect)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .tcp_nodelay(true)
        // Bounds the unread bytes of an answer over HTTP/2, which the reader takes in one read.
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        // Compressed data may expand a thousandfold in one read.
        .no_gzip()
        // A redirect would carry the key to another host.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("the HTTP client cannot be built: {error}"))
        })
}

/// One provider.
pub(super) struct ProviderEndpoint {
    pub(super) name: String,
    pub(super) api: AdapterKind,
    pub(super) is_external: bool,
    key: Option<ApiKey>,
    endpoint: Option<String>,
}

impl ProviderEndpoint {
    pub(super) fn new(settings: &ProviderSettings) -> Result<Self, Cause> {
        let invalid = |problem: String| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("provider {:?}: {problem}", settings.name))
        };
        if settings.name.is_empty() || settings.name.contains('.') {
            return Err(invalid("a provider's name is not empty and has no dot".to_owned()));
        }
        let api = AdapterKind::from_lower_str(&settings.api)
            .ok_or_else(|| invalid(format!("the API {:?} is not known", settings.api)))?;
        let url = settings
            .base_url
            .as_deref()
            .map(|text| parse_base_url(text).ok_or_else(|| invalid("the address is not an http(s) URL".to_owned())));
        let url = url.transpose()?;
        let is_local = url.as_ref().map_or(matches!(api, AdapterKind::Ollama | AdapterKind::Omlx), is_local);
        Ok(Self {
            name: settings.name.clone(),
            api,
            is_external: !is_local,
            key: settings.key.clone(),
            endpoint: url.map(String::from),
        })
    }

    /// Creates the client of this provider. It is configured with the key, so that genai does not search the
    /// environment for one.
    pub(super) fn client(&self, http: &reqwest::Client) -> Result<Client, Cause> {
        let key = self.key.as_ref().map_or(NO_KEY, ApiKey::expose);
        let mut config = ProviderConfig::from_auth(AuthData::from_single(key));
        if let Some(url) = &self.endpoint {
            config = config.with_endpoint(Endpoint::from_owned(url.as_str()));
        }
        let client = Client::builder().with_reqwest(http.clone()).with_adapter_kind(self.api);
        let client = client.append_provider_config(self.api, config).build();
        client.map_err(|_| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("provider {:?} cannot be opened", self.name))
        })
    }

    /// True if genai sends the schema of an answer to this API. If it does not, the schema must be in the
    /// prompt.
    pub(super) const fn has_schemas(&self) -> bool {
        !matches!(
            self.api,
            AdapterKind::Ollama | AdapterKind::OllamaCloud | AdapterKind::Cohere | AdapterKind::BedrockApi
        )
    }

    /// The model in genai's terms.
    pub(super) fn model(&self, name: &str) -> ModelIden {
        ModelIden::new(self.api, name)
    }

    /// Creates the redactor of this provider's key.
    pub(super) fn redactor(&self) -> Redactor {
        Redactor(self.key.clone())
    }
}

/// Removes a key from texts of a provider.
#[derive(Clone)]
pub(super) struct Redactor(Option<ApiKey>);

impl Redactor {
    #[cfg(test)]
    pub(super) fn for_key(key: &str) -> Self {
        Self(Some(ApiKey::new(key)))
    }

    /// Removes the key, joins the lines and truncates the text.
    pub(super) fn redact(&self, text: &str, chars_max: usize) -> String {
        let text = match &self.0 {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "***"),
            Some(_) | None => text.to_owned(),
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect()
    }
}

/// Parses the address and appends a slash, so that a path can be joined to it.
fn parse_base_url(text: &str) -> Option<Url> {
    let text = text.trim();
    let slashed = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let url = Url::parse(&slashed).ok()?;
    (matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none())
    .then_some(url)
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
