//! Model providers: a section for each known provider, tables `[[providers]]` for others, and `models`.

use std::path::PathBuf;

use serde::Deserialize;

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;

/// What `PROVIDER.internal` is.
const INTERNAL: &str = "`true` if requests to it stay within this organization; see `deny_external_models`";

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text("anthropic.api_key", &["ANTHROPIC_API_KEY"], "key of the provider anthropic").masked(),
    Setting::text("anthropic.base_url", &["ANTHROPIC_BASE_URL"], "another address of the provider anthropic"),
    Setting::text("anthropic.internal", &["GREENROOM_ANTHROPIC_INTERNAL"], INTERNAL),
    Setting::text("openai.api_key", &["OPENAI_API_KEY"], "key of the provider openai").masked(),
    Setting::text("openai.base_url", &["OPENAI_BASE_URL"], "address of any server with an OpenAI-compatible API"),
    Setting::text("openai.internal", &["GREENROOM_OPENAI_INTERNAL"], INTERNAL),
    Setting::text("openai.model", &["OPENAI_MODEL"], "the model that every tier uses"),
    Setting::text("gemini.api_key", &["GEMINI_API_KEY"], "key of the provider gemini").masked(),
    Setting::text("gemini.internal", &["GREENROOM_GEMINI_INTERNAL"], INTERNAL),
    Setting::text("ollama.base_url", &["OLLAMA_BASE_URL"], "address of an Ollama server"),
    Setting::text("ollama.internal", &["GREENROOM_OLLAMA_INTERNAL"], INTERNAL),
    Setting::text("models.script", &["GREENROOM_SCRIPT"], "script of the provider `scripted`; for tests"),
];

/// The providers that have a section of their own; their API has the same name.
const KNOWN_PROVIDERS: [&str; 4] = ["anthropic", "openai", "gemini", "ollama"];

/// The configuration of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The name before the dot of its models' names.
    pub name: String,
    /// Its API, by genai's name: `openai`, `gemini`, `groq`, …
    pub api: String,
    /// Its key; a self-hosted server may need none.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Its address instead of the API's default.
    #[serde(default)]
    pub base_url: Option<String>,
    /// True if requests to it stay within this organization. A provider is external unless its configuration says so:
    /// the address of a server does not show where it passes a request on.
    #[serde(default)]
    pub internal: bool,
}

/// The models that may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The providers that have a key or an address.
    pub providers: Vec<ProviderConfig>,
    /// `OPENAI_MODEL`: the model that every tier uses.
    pub pod: Option<String>,
    /// The script of the provider `scripted`; for tests.
    pub script: Option<PathBuf>,
}

/// The providers that have a key or an address; a problem if two have one name.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> ModelsConfig {
    let mut providers: Vec<ProviderConfig> = reader.get("providers").unwrap_or_default();
    for name in KNOWN_PROVIDERS {
        let api_key = reader.get::<Secret>(&format!("{name}.api_key"));
        let base_url = reader.get::<String>(&format!("{name}.base_url"));
        if api_key.is_some() || base_url.is_some() {
            let internal = reader.get(&format!("{name}.internal")).unwrap_or_default();
            providers.push(ProviderConfig { name: name.to_owned(), api: name.to_owned(), api_key, base_url, internal });
        }
    }
    for (index, provider) in providers.iter().enumerate() {
        if providers.iter().take(index).any(|other| other.name == provider.name) {
            reader.report(format!("providers: {} is configured twice", provider.name));
        }
    }
    ModelsConfig { providers, pod: reader.get("openai.model"), script: reader.get("models.script") }
}
