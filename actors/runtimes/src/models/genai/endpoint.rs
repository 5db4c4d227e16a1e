//! Where a provider is, what it speaks, and the one HTTP client that reaches all of them.

use std::time::Duration;

use genai::adapter::AdapterKind;
use genai::resolver::{AuthData, Endpoint, ProviderConfig};
use genai::{Client, ModelIden};
use greenroom_protocol::{Cause, ErrorCode};
use reqwest::Url;

use super::{ApiKey, ProviderSettings};

/// Connections to one host that are kept open without work.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long such a connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// Bytes of one answer that a server may send ahead.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What a server of one's own is shown when it needs no key.
const NO_KEY: &str = "none";

/// Makes the client. It has no timeout for a whole request: a stream may be long, and its phases are
/// bounded one by one.
pub(super) fn http(connect: Duration) -> Result<reqwest::Client, Cause> {
    // The process may have chosen its provider already; then that one is taken.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .connect_timeout(connect)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION)
        .tcp_nodelay(true)
        // Of an answer over HTTP/2, no more than this waits for a reader, who takes it in one read.
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        // What is packed may be a thousand times larger unpacked, in one read.
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
    pub(super) wire: AdapterKind,
    pub(super) is_external: bool,
    key: Option<ApiKey>,
    endpoint: Option<String>,
}

impl ProviderEndpoint {
    pub(super) fn of(settings: &ProviderSettings) -> Result<Self, Cause> {
        let wrong =
            |what: String| Cause::new(ErrorCode::InvalidConfiguration, format!("provider {:?}: {what}", settings.name));
        if settings.name.is_empty() || settings.name.contains('.') {
            return Err(wrong("a provider's name has no dot".to_owned()));
        }
        let wire = AdapterKind::from_lower_str(&settings.api)
            .ok_or_else(|| wrong(format!("the wire {:?} is not known", settings.api)))?;
        let url = settings
            .base_url
            .as_deref()
            .map(|text| base(text).ok_or_else(|| wrong("the address is not an http(s) URL".to_owned())));
        let url = url.transpose()?;
        let is_local = url.as_ref().map_or(matches!(wire, AdapterKind::Ollama | AdapterKind::Omlx), is_local);
        Ok(Self {
            name: settings.name.clone(),
            wire,
            is_external: !is_local,
            key: settings.key.clone(),
            endpoint: url.map(String::from),
        })
    }

    /// A client that reaches this provider and no other. It is told the key, so that it looks for none
    /// in the environment.
    pub(super) fn client(&self, http: &reqwest::Client) -> Result<Client, Cause> {
        let key = self.key.as_ref().map_or(NO_KEY, ApiKey::expose);
        let mut config = ProviderConfig::from_auth(AuthData::from_single(key));
        if let Some(url) = &self.endpoint {
            config = config.with_endpoint(Endpoint::from_owned(url.as_str()));
        }
        let client = Client::builder().with_reqwest(http.clone()).with_adapter_kind(self.wire);
        let client = client.append_provider_config(self.wire, config).build();
        client.map_err(|_| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("provider {:?} cannot be opened", self.name))
        })
    }

    /// True if genai hands the schema of an answer on to this wire. Where it does not, nobody would
    /// tell the model.
    pub(super) const fn has_schemas(&self) -> bool {
        !matches!(
            self.wire,
            AdapterKind::Ollama | AdapterKind::OllamaCloud | AdapterKind::Cohere | AdapterKind::BedrockApi
        )
    }

    /// The model as genai names it.
    pub(super) fn model(&self, name: &str) -> ModelIden {
        ModelIden::new(self.wire, name)
    }

    /// What takes this provider's key out of a text.
    pub(super) fn scrub(&self) -> Redactor {
        Redactor(self.key.clone())
    }
}

/// Takes a key out of texts that a provider wrote.
#[derive(Clone)]
pub(super) struct Redactor(Option<ApiKey>);

impl Redactor {
    #[cfg(test)]
    pub(super) fn of(key: &str) -> Self {
        Self(Some(ApiKey::new(key)))
    }

    /// The text without the key, on one line, at most so many characters.
    pub(super) fn redact(&self, text: &str, chars_max: usize) -> String {
        let text = match &self.0 {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "***"),
            Some(_) | None => text.to_owned(),
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect()
    }
}

/// The address with a slash at its end, so that a path can be joined to it.
fn base(text: &str) -> Option<Url> {
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
