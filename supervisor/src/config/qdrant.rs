//! The section `qdrant`: where the memories of agents are, instead of the database.

use std::path::PathBuf;

use greenroom_registry::qdrant::check_url;

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "qdrant.url",
        &["QDRANT_URL"],
        "`http://HOST:PORT` of the gRPC of Qdrant, or `https://` for TLS; without it, memories are in the database",
    )
    .masked(),
    Setting::text("qdrant.api_key", &["QDRANT_API_KEY"], "its API key, which must be allowed to write").masked(),
    Setting::text(
        "qdrant.ca_file",
        &["QDRANT_CA_FILE"],
        "certificates (PEM) of the authorities that are trusted for `https://`; default those of the system",
    ),
];

/// Qdrant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QdrantConfig {
    /// The URL of its gRPC.
    pub url: String,
    /// Its API key.
    pub api_key: Option<Secret>,
    /// The certificates of the authorities that are trusted; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The configured Qdrant; `None` if there is none.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<QdrantConfig> {
    let api_key = reader.get::<String>("qdrant.api_key").filter(|key| !key.is_empty()).map(Secret::new);
    let ca_file = reader.get::<PathBuf>("qdrant.ca_file").filter(|path| !path.as_os_str().is_empty());
    let url = reader.get::<String>("qdrant.url").filter(|url| !url.is_empty())?;
    if let Err(problem) = check_url(&url) {
        let origin = reader.origin("qdrant.url");
        reader.report(format!("qdrant.url ({origin}): this is no URL of Qdrant: {problem}"));
    }
    if ca_file.is_some() && !url.starts_with("https://") {
        reader.report("qdrant.ca_file is set, but qdrant.url does not begin with `https://`".to_owned());
    }
    Some(QdrantConfig { url, api_key, ca_file })
}
