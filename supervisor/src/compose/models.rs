//! From the configuration to the model registry. A provider without a key or an address is absent, and
//! agents that name it use their fallback chain; `offline` is always present.

use std::sync::Arc;

use greenroom_actors::execution::ModelRegistry;
use greenroom_actors::model::ModelProvider;
use greenroom_definitions::ModelRef;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runtimes::models::http::{self, ApiKey, ProviderSettings};
use greenroom_runtimes::models::scripted::Script;

use crate::config::{Config, ProviderConfig};

/// Names that definitions may use before the dot of a model, whether the provider is present or not.
const PROVIDERS: [&str; 6] = ["offline", "scripted", "anthropic", "openai", "gemini", "ollama"];
/// The model at the end of every fallback chain.
const OFFLINE_MODEL: &str = "offline.extractive";

/// Opens the providers of this configuration and adds `extra` ones.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] for an invalid address, name or script.
pub fn open(config: &Config, extra: Vec<Arc<dyn ModelProvider>>) -> Result<ModelRegistry, Cause> {
    let http = http::Settings {
        providers: config.models.providers.iter().map(settings).collect(),
        ..http::Settings::default()
    };
    let settings = greenroom_runtimes::Settings { http, script: script(config)? };
    let mut providers = greenroom_runtimes::providers(&settings)?;
    providers.extend(extra);
    let default_model = match &config.models.pod {
        None => None,
        Some(name) => Some(parse_model(&format!("openai.{name}"))?),
    };
    Ok(ModelRegistry::new(providers)
        .with_default_model(default_model)
        .with_offline_model(Some(parse_model(OFFLINE_MODEL)?)))
}

/// The provider names that definitions may use.
pub fn provider_names(config: &Config) -> impl Iterator<Item = &str> {
    PROVIDERS.into_iter().chain(config.models.providers.iter().map(|provider| provider.name.as_str()))
}

fn settings(provider: &ProviderConfig) -> ProviderSettings {
    ProviderSettings {
        name: provider.name.clone(),
        api: provider.api.clone(),
        key: provider.api_key.as_ref().map(|key| ApiKey::new(key.reveal())),
        base_url: provider.base_url.clone(),
        internal: provider.internal,
    }
}

fn script(config: &Config) -> Result<Option<Script>, Cause> {
    let Some(path) = &config.models.script else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Cause::new(ErrorCode::InvalidConfiguration, format!("{}: {error}", path.display())))?;
    Script::from_json(&text).map(Some)
}

fn parse_model(text: &str) -> Result<ModelRef, Cause> {
    text.parse().map_err(|problem: String| Cause::new(ErrorCode::InvalidConfiguration, problem))
}
