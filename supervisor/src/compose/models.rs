//! From keys and addresses to model providers. One whose key is missing is not there, and what names
//! it goes down its fallback chain; `offline` is always there.

use std::sync::Arc;

use greenroom_actors::execution::ModelRoster;
use greenroom_actors::model::ModelProvider;
use greenroom_definitions::ModelRef;
use greenroom_protocol::{Cause, Code};
use greenroom_runtimes::genai::{self, Key, ProviderSettings};

use crate::config::{Config, Providers, Secret};

/// The names that definitions may use before the dot of a model, whether the provider is there or not.
pub const PROVIDERS: [&str; 6] = ["offline", "scripted", "anthropic", "openai", "gemini", "ollama"];
/// The model that answers where nothing else is there.
const LAST_RESORT: &str = "offline.extractive";

/// Opens the providers of this configuration and those that are handed in.
///
/// # Errors
/// [`Code::InvalidConfiguration`] for an address or a name that is none.
pub fn open(config: &Config, extra: Vec<Arc<dyn ModelProvider>>) -> Result<ModelRoster, Cause> {
    let settings = greenroom_runtimes::Settings { real: real(&config.providers), script: None };
    let mut providers = greenroom_runtimes::providers(&settings)?;
    providers.extend(extra);
    let house = match &config.providers.openai_model {
        None => None,
        Some(name) => Some(named(&format!("openai.{name}"))?),
    };
    Ok(ModelRoster::new(providers).with_house_model(house).with_last_resort(Some(named(LAST_RESORT)?)))
}

/// The providers that can be reached: one with a key, or with an address of one's own.
fn real(providers: &Providers) -> genai::Settings {
    let Providers { anthropic_key, anthropic_url, openai_key, openai_url, openai_model: _, gemini_key, ollama_url } =
        providers;
    let all = [
        ("anthropic", anthropic_key, anthropic_url),
        ("openai", openai_key, openai_url),
        ("gemini", gemini_key, &None),
        ("ollama", &None, ollama_url),
    ];
    let is_there = |key: &Option<Secret>, url: &Option<String>| key.is_some() || url.is_some();
    let there = all.into_iter().filter(|(_, key, url)| is_there(key, url));
    let providers = there.map(|(name, key, url)| ProviderSettings {
        name: name.to_owned(),
        wire: name.to_owned(),
        key: key.as_ref().map(|secret| Key::new(secret.reveal())),
        base_url: url.clone(),
    });
    genai::Settings { providers: providers.collect(), ..genai::Settings::default() }
}

fn named(text: &str) -> Result<ModelRef, Cause> {
    text.parse().map_err(|why: String| Cause::new(Code::InvalidConfiguration, why))
}

#[cfg(test)]
mod tests {
    use super::{Providers, Secret, real};

    #[test]
    fn a_provider_is_there_with_a_key_or_an_address() {
        assert!(real(&Providers::default()).providers.is_empty());
        let configured = Providers {
            anthropic_key: Some(Secret::new("k")),
            openai_url: Some("http://127.0.0.1:8000/v1".to_owned()),
            ..Providers::default()
        };
        let names: Vec<_> = real(&configured).providers.iter().map(|provider| provider.name.clone()).collect();
        assert_eq!(names, ["anthropic", "openai"]);
    }
}
