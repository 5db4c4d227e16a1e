//! The section `memory`: what computes the vectors of agent memories, how many there may be, and how long they last.

use std::time::Duration;

use greenroom_registry::agent_memory::{CACHE_BYTES_DEFAULT, OWNER_MAX_DEFAULT};

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "memory.embedder",
        &["GREENROOM_MEMORY_EMBEDDER"],
        "what computes vectors: `hashed` (in this process, knows no synonyms), `openai` (any server with that API) or `ollama`",
    )
    .or("hashed"),
    Setting::text(
        "memory.model",
        &["GREENROOM_MEMORY_MODEL"],
        "the model of `openai` or `ollama`; default `text-embedding-3-small` or `nomic-embed-text`",
    ),
    Setting::number(
        "memory.dimensions",
        &["GREENROOM_MEMORY_DIMENSIONS"],
        "dimensions of the vectors of the model; default those of the default model, 1536 or 768",
    ),
    Setting::text(
        "memory.base_url",
        &["GREENROOM_MEMORY_BASE_URL"],
        "address of its server; default `openai.base_url` or `ollama.base_url`, else that of the provider",
    ),
    Setting::text(
        "memory.api_key",
        &["GREENROOM_MEMORY_API_KEY"],
        "its key; default `openai.api_key` if the address is that of `openai`",
    )
    .masked(),
    Setting::text(
        "memory.internal",
        &["GREENROOM_MEMORY_INTERNAL"],
        "`true` if texts that are sent to it stay within this organization; see `deny_external_models`",
    ),
    Setting::number(
        "memory.owner_max",
        &["GREENROOM_MEMORY_OWNER_MAX"],
        "memories of one agent for one tenant, parts of documents included; the oldest executions are evicted",
    )
    .or("100000"),
    Setting::number(
        "memory.retention_days",
        &["GREENROOM_MEMORY_RETENTION_DAYS"],
        "days after which memories are deleted, parts of documents since they were read; default never",
    ),
    Setting::number(
        "memory.cache_mib",
        &["GREENROOM_MEMORY_CACHE_MIB"],
        "MiB of vectors that a pod has in memory; an agent whose vectors need more is searched in the database",
    )
    .or("512"),
];

/// The address of OpenAI.
const OPENAI_URL: &str = "https://api.openai.com/v1/";
/// The address of an Ollama on this machine.
const OLLAMA_URL: &str = "http://127.0.0.1:11434/";
/// The most dimensions that a vector has.
const DIMENSIONS_MAX: usize = 8_192;
/// The most memories of an owner.
const OWNER_MAX: usize = 10_000_000;
/// Bytes of a MiB.
const MIB: usize = 1024 * 1024;
/// The most MiB of vectors in memory.
const CACHE_MIB_MAX: usize = 1024 * 1024;
/// The words of `memory.embedder`.
const EMBEDDERS: [(&str, EmbedderKind); 3] =
    [("hashed", EmbedderKind::Hashed), ("openai", EmbedderKind::OpenAi), ("ollama", EmbedderKind::Ollama)];

/// What computes vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedderKind {
    /// The embedded embedder.
    Hashed,
    /// A server with OpenAI's API of embeddings.
    OpenAi,
    /// An Ollama server.
    Ollama,
}

/// A model that computes vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingConfig {
    /// Its API.
    pub kind: EmbedderKind,
    /// Its name.
    pub model: String,
    /// The dimensions of its vectors.
    pub dimensions: usize,
    /// True if the request names the dimensions, because the configuration does.
    pub sends_dimensions: bool,
    /// The address of its server.
    pub base_url: String,
    /// The key of its server.
    pub api_key: Option<Secret>,
    /// True if texts that are sent to it stay within this organization.
    pub internal: bool,
}

/// The memories of agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// The model that computes vectors; `None` for the embedded embedder.
    pub embedding: Option<EmbeddingConfig>,
    /// Memories of one agent for one tenant.
    pub owner_max: usize,
    /// How long memories last; `None` for no bound.
    pub retention: Option<Duration>,
    /// Bytes of vectors that a pod has in memory.
    pub cache_bytes: usize,
}

/// The section.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> MemoryConfig {
    let kind = reader.word("memory.embedder", &EMBEDDERS).unwrap_or(EmbedderKind::Hashed);
    let owner_max = reader.get("memory.owner_max").unwrap_or(OWNER_MAX_DEFAULT);
    if !(1..=OWNER_MAX).contains(&owner_max) {
        reader.report(format!("memory.owner_max: {owner_max} is not between 1 and {OWNER_MAX}"));
    }
    let days: Option<u64> = reader.get("memory.retention_days");
    if days == Some(0) {
        reader.report("memory.retention_days: 0 days would delete every memory; unset it to have no bound".to_owned());
    }
    let retention = days.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
    let cache_mib: usize = reader.get("memory.cache_mib").unwrap_or(CACHE_BYTES_DEFAULT / MIB);
    if !(1..=CACHE_MIB_MAX).contains(&cache_mib) {
        reader.report(format!("memory.cache_mib: {cache_mib} is not between 1 and {CACHE_MIB_MAX}"));
    }
    let cache_bytes = cache_mib.saturating_mul(MIB);
    MemoryConfig { embedding: read_embedding(reader, kind), owner_max, retention, cache_bytes }
}

fn read_embedding(reader: &mut ConfigReader<'_>, kind: EmbedderKind) -> Option<EmbeddingConfig> {
    let (section, model, dimensions, url) = match kind {
        EmbedderKind::Hashed => {
            for key in ["memory.model", "memory.dimensions", "memory.base_url", "memory.api_key"] {
                if reader.get::<String>(key).is_some_and(|value| !value.is_empty()) {
                    reader.report(format!("{key} is set, but memory.embedder is `hashed`, which has no model"));
                }
            }
            return None;
        }
        EmbedderKind::OpenAi => ("openai", "text-embedding-3-small", 1_536, OPENAI_URL),
        EmbedderKind::Ollama => ("ollama", "nomic-embed-text", 768, OLLAMA_URL),
    };
    let mut text = |key: &str| reader.get::<String>(key).filter(|value| !value.is_empty());
    let (own_url, own_key) = (text("memory.base_url"), text("memory.api_key"));
    let shared_url = text(&format!("{section}.base_url"));
    // A key is not sent to another address than the one that it is for.
    let shared_key = match (kind, &own_url) {
        (EmbedderKind::OpenAi, None) => text("openai.api_key"),
        (EmbedderKind::OpenAi, Some(_)) | (EmbedderKind::Ollama | EmbedderKind::Hashed, _) => None,
    };
    let named_model = text("memory.model");
    let set_dimensions: Option<usize> = reader.get("memory.dimensions");
    if named_model.is_some() && set_dimensions.is_none() {
        reader.report("memory.dimensions is needed beside memory.model: the dimensions of its vectors".to_owned());
    }
    let dimensions = set_dimensions.unwrap_or(dimensions);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        reader.report(format!("memory.dimensions: {dimensions} is not between 1 and {DIMENSIONS_MAX}"));
    }
    Some(EmbeddingConfig {
        kind,
        model: named_model.unwrap_or_else(|| model.to_owned()),
        dimensions,
        sends_dimensions: set_dimensions.is_some() && kind == EmbedderKind::OpenAi,
        base_url: own_url.or(shared_url).unwrap_or_else(|| url.to_owned()),
        api_key: own_key.or(shared_key).map(Secret::new),
        internal: reader.get("memory.internal").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::source::load;
    use crate::config::{ConfigError, Flags};

    fn read(pairs: &[(&str, &str)]) -> Result<MemoryConfig, ConfigError> {
        let variables = pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Ok(load(&Flags::default(), variables)?.config.memory)
    }

    #[test]
    fn the_embedded_embedder_is_the_default_and_has_no_model() {
        let memory = read(&[]).unwrap();
        let cache_bytes = CACHE_BYTES_DEFAULT;
        let expected = MemoryConfig { embedding: None, owner_max: OWNER_MAX_DEFAULT, retention: None, cache_bytes };
        assert_eq!(memory, expected);
        let text = read(&[("GREENROOM_MEMORY_MODEL", "x")]).unwrap_err().to_string();
        assert!(text.contains("memory.model is set, but memory.embedder is `hashed`"), "{text}");
    }

    #[test]
    fn a_model_has_the_address_and_the_key_of_its_provider_unless_it_has_its_own() {
        let pairs = [("GREENROOM_MEMORY_EMBEDDER", "openai"), ("OPENAI_API_KEY", "sk-1")];
        let embedding = read(&pairs).unwrap().embedding.unwrap();
        assert_eq!((embedding.model.as_str(), embedding.dimensions), ("text-embedding-3-small", 1_536));
        assert_eq!((embedding.base_url.as_str(), embedding.sends_dimensions), (OPENAI_URL, false));
        assert_eq!(embedding.api_key.as_ref().map(Secret::reveal), Some("sk-1"));
        let other = [&pairs[..], &[("GREENROOM_MEMORY_BASE_URL", "http://h/v1")]].concat();
        let embedding = read(&other).unwrap().embedding.unwrap();
        assert_eq!(embedding.api_key, None, "the key is not sent to another server");
        let ollama = [("GREENROOM_MEMORY_EMBEDDER", "ollama"), ("OLLAMA_BASE_URL", "http://h:11434")];
        let embedding = read(&ollama).unwrap().embedding.unwrap();
        assert_eq!((embedding.base_url.as_str(), embedding.api_key), ("http://h:11434", None));
    }

    #[test]
    fn settings_that_cannot_be_are_reported_together() {
        let text = read(&[
            ("GREENROOM_MEMORY_EMBEDDER", "openai"),
            ("GREENROOM_MEMORY_MODEL", "other"),
            ("GREENROOM_MEMORY_OWNER_MAX", "0"),
            ("GREENROOM_MEMORY_RETENTION_DAYS", "0"),
            ("GREENROOM_MEMORY_CACHE_MIB", "0"),
        ])
        .unwrap_err()
        .to_string();
        for part in
            ["memory.dimensions is needed", "memory.owner_max: 0", "memory.retention_days: 0", "memory.cache_mib: 0"]
        {
            assert!(text.contains(part), "{text}");
        }
        let text = read(&[("GREENROOM_MEMORY_EMBEDDER", "magic")]).unwrap_err().to_string();
        assert!(text.contains("`hashed` or `openai` or `ollama`"), "{text}");
    }
}
