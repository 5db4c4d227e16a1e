//! From keys and addresses to model providers. One whose key is missing is not there, and what names
//! it goes down its fallback chain; `offline` is always there.

use std::sync::Arc;

use greenroom_actors::execution::ModelRoster;
use greenroom_actors::model::ModelProvider;
use greenroom_definitions::ModelRef;
use greenroom_protocol::{Cause, Code};
use greenroom_runtimes::offline::Offline;

use crate::config::Config;

/// The names that definitions may use before the dot of a model, whether the provider is there or not.
pub const PROVIDERS: [&str; 6] = ["offline", "scripted", "anthropic", "openai", "gemini", "ollama"];
/// The model that answers where nothing else is there.
const LAST_RESORT: &str = "offline.extractive";

/// Opens the providers of this configuration and those that are handed in.
///
/// # Errors
/// [`Code::InvalidConfiguration`] for an address or a name that is none.
pub fn open(config: &Config, extra: Vec<Arc<dyn ModelProvider>>) -> Result<ModelRoster, Cause> {
    let mut providers: Vec<Arc<dyn ModelProvider>> = vec![Arc::new(Offline)];
    providers.extend(extra);
    let house = match &config.providers.openai_model {
        None => None,
        Some(name) => Some(named(&format!("openai.{name}"))?),
    };
    Ok(ModelRoster::new(providers).with_house_model(house).with_last_resort(Some(named(LAST_RESORT)?)))
}

fn named(text: &str) -> Result<ModelRef, Cause> {
    text.parse().map_err(|why: String| Cause::new(Code::InvalidConfiguration, why))
}
