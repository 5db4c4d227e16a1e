//! The address and the API of a provider, and the HTTP client that all providers share.

use std::time::Duration;

use genai::adapter::AdapterKind;
use genai::resolver::{AuthData, Endpoint, ProviderConfig};
use genai::{Client, ModelIden};
use greenroom_actors::model::ModelError;
use greenroom_protocol::{Cause, ErrorCode};
use reqwest::Url;

use super::{ApiKey, ProviderSettings};

/// Maximum idle connections per host.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Timeout of an idle connection.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one answer that a server may send before they are read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Sent as the key to a server that needs none, by the APIs of genai.
const NO_KEY: &str = "none";
/// Minimum characters of a key that is removed from texts. A shorter one is a stand-in for a server that needs none,
/// such as `k` or `none`: it is no secret, and words that contain it would be unreadable (`max_completion_to***ens`).
const SECRET_CHARS_MIN: usize = 8;
/// The first version of Gemini that takes tools and a schema of the answer in one request.
const GEMINI_WITH_TOOLS_AND_SCHEMA: u32 = 3;

/// Creates the client. It has no timeout for a complete request, since a stream may be long and each of its
/// phases has a timeout.
pub(crate) fn http_client(connect: Duration) -> Result<reqwest::Client, Cause> {
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
    url: Option<Url>,
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
        Ok(Self { name: settings.name.clone(), api, is_external: !settings.internal, key: settings.key.clone(), url })
    }

    /// Creates the client of this provider. It is configured with the key, so that genai does not search the
    /// environment for one.
    pub(super) fn client(&self, http: &reqwest::Client) -> Result<Client, Cause> {
        let key = self.key.as_ref().map_or(NO_KEY, ApiKey::expose);
        let mut config = ProviderConfig::from_auth(AuthData::from_single(key));
        if let Some(url) = &self.url {
            config = config.with_endpoint(Endpoint::from_owned(url.as_str()));
        }
        let client = Client::builder().with_reqwest(http.clone()).with_adapter_kind(self.api);
        let client = client.append_provider_config(self.api, config).build();
        client.map_err(|_| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("provider {:?} cannot be opened", self.name))
        })
    }

    /// True if this provider has OpenAI's API of chat completions.
    pub(super) const fn is_chat_completions(&self) -> bool {
        !matches!(
            self.api,
            AdapterKind::Anthropic
                | AdapterKind::BedrockApi
                | AdapterKind::Cohere
                | AdapterKind::Gemini
                | AdapterKind::GeminiIx
                | AdapterKind::MiniMax
                | AdapterKind::Ollama
                | AdapterKind::OllamaCloud
                | AdapterKind::OpenAIResp
                | AdapterKind::OpenCodeGo
                | AdapterKind::Vertex
        )
    }

    /// True if the schema of an answer can be sent to this model by the API, beside tools or without them. If it
    /// cannot, the schema must be in the prompt.
    pub(super) fn takes_schema(&self, model: &str, has_tools: bool) -> bool {
        match self.api {
            // genai does not send it.
            AdapterKind::Ollama | AdapterKind::OllamaCloud | AdapterKind::Cohere | AdapterKind::BedrockApi => false,
            AdapterKind::Gemini | AdapterKind::GeminiIx | AdapterKind::Vertex => {
                !has_tools || gemini_major_version(model).is_some_and(|version| version >= GEMINI_WITH_TOOLS_AND_SCHEMA)
            }
            _ => true,
        }
    }

    /// The address of chat completions: below the configured address, or below the default one of the API.
    ///
    /// # Errors
    /// [`ModelError::Rejected`] if the API has no address.
    pub(super) async fn chat_completions_url(&self, client: &Client, model: &str) -> Result<Url, ModelError> {
        let base = match &self.url {
            Some(url) => Some(url.clone()),
            None => match client.resolve_service_target(self.model(model)).await {
                Ok(target) => parse_base_url(target.endpoint.base_url()),
                Err(_) => None,
            },
        };
        let joined = base.and_then(|base| {
            let mut url = base.join("chat/completions").ok()?;
            url.set_query(base.query());
            Some(url)
        });
        joined.ok_or_else(|| ModelError::Rejected {
            status: 404,
            message: format!("the provider {} has no address of chat completions", self.name),
        })
    }

    /// The key, if one is configured.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(ApiKey::expose).filter(|key| !key.is_empty())
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
#[derive(Debug, Clone)]
pub(crate) struct Redactor(Option<ApiKey>);

impl Redactor {
    /// Creates the redactor of a key.
    pub(crate) const fn new(key: Option<ApiKey>) -> Self {
        Self(key)
    }

    #[cfg(test)]
    pub(super) fn for_key(key: &str) -> Self {
        Self(Some(ApiKey::new(key)))
    }

    /// Removes the key, joins the lines and truncates the text.
    pub(crate) fn redact(&self, text: &str, chars_max: usize) -> String {
        let text = match &self.0 {
            Some(key) if key.expose().chars().count() >= SECRET_CHARS_MIN => text.replace(key.expose(), "***"),
            Some(_) | None => text.to_owned(),
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect()
    }
}

/// Parses the address and ends its path with a slash, so that a path can be joined to it.
pub(crate) fn parse_base_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text.trim()).ok()?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    (matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none())
    .then_some(url)
}

/// The major version in the name of a Gemini model, such as 2 in `gemini-2.5-flash`.
fn gemini_major_version(model: &str) -> Option<u32> {
    let (_, rest) = model.split_once("gemini-")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gemini_from_version_3_takes_tools_and_a_schema() {
        let settings = |api: &str| ProviderSettings {
            name: api.to_owned(),
            api: api.to_owned(),
            key: None,
            base_url: None,
            internal: false,
        };
        let gemini = ProviderEndpoint::new(&settings("gemini")).unwrap();
        for (model, with_tools) in [
            ("gemini-2.5-flash", false),
            ("models/gemini-2.0-pro", false),
            ("gemini-flash-latest", false),
            ("gemini-3-pro-preview", true),
            ("gemini-3.1-flash", true),
            ("gemini-10-pro", true),
        ] {
            assert_eq!((gemini.takes_schema(model, true), gemini.takes_schema(model, false)), (with_tools, true));
        }
        assert!(ProviderEndpoint::new(&settings("openai")).unwrap().takes_schema("gpt-x", true));
        assert!(!ProviderEndpoint::new(&settings("ollama")).unwrap().takes_schema("llama", false));
    }

    #[test]
    fn a_key_is_removed_and_a_stand_in_for_one_is_not() {
        let text = "use 'max_completion_tokens', not none";
        for stand_in in ["k", "none", ""] {
            assert_eq!(Redactor::for_key(stand_in).redact(text, 100), text, "{stand_in}");
        }
        assert_eq!(Redactor::for_key("sk-12345").redact("bad key sk-12345\n", 100), "bad key *** ");
    }

    #[test]
    fn a_base_address_keeps_its_parameters() {
        for (text, joined) in [
            ("http://h/v1", "http://h/v1/chat/completions"),
            ("http://h/v1/", "http://h/v1/chat/completions"),
            ("https://h", "https://h/chat/completions"),
            ("https://h/openai/v1?api-version=preview", "https://h/openai/v1/chat/completions"),
        ] {
            assert_eq!(parse_base_url(text).unwrap().join("chat/completions").unwrap().as_str(), joined);
        }
        assert_eq!(parse_base_url("https://h/v1?a=b").unwrap().query(), Some("a=b"));
        for wrong in ["ftp://x", "http://u:p@x", "nothing"] {
            assert_eq!(parse_base_url(wrong), None, "{wrong}");
        }
    }
}
