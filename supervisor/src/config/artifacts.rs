//! The sections `artifacts` and `s3`: where artifacts are stored.

use std::path::PathBuf;

use greenroom_registry::ArtifactLocation;
use url::Url;

use super::reader::ConfigReader;
use super::secret::{Secret, mask_credentials};
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "artifacts.shared",
        &["GREENROOM_ARTIFACTS_SHARED"],
        "`true` if every pod mounts DATA_DIR/artifacts as the same folder; without meaning for S3",
    )
    .or("false"),
    Setting::text("s3.endpoint", &["S3_ENDPOINT"], "address of the S3 server; default that of AWS in the region"),
    Setting::text(
        "s3.ca_file",
        &["S3_CA_FILE"],
        "certificates (PEM) of the authorities that are trusted for `https://`; default those of the system",
    ),
    Setting::text("s3.bucket", &["S3_BUCKET"], "bucket of the artifacts; without it they are in DATA_DIR/artifacts"),
    Setting::text("s3.region", &["S3_REGION"], "region of the bucket").or("us-east-1"),
    Setting::text("s3.access_key_id", &["S3_ACCESS_KEY_ID"], "id of the access key").masked(),
    Setting::text("s3.secret_access_key", &["S3_SECRET_ACCESS_KEY"], "secret access key").masked(),
];

/// The settings of the keys of a bucket.
const KEYS: [&str; 2] = ["s3.access_key_id", "s3.secret_access_key"];
/// The first part of the keys of all artifacts in the bucket, which may have other objects too.
pub const KEY_PREFIX: &str = "artifacts";

/// Where artifacts are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactsConfig {
    /// The bucket; `None` for a folder of the data directory.
    pub s3: Option<S3Config>,
    /// True if every pod mounts that folder.
    pub shared: bool,
}

impl ArtifactsConfig {
    /// True if each pod of a cluster reads what another one stores.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.location().is_shared()
    }

    /// Where they are, as the other pods of the database see it.
    #[must_use]
    pub fn location(&self) -> ArtifactLocation {
        match (&self.s3, self.shared) {
            (Some(s3), _) => ArtifactLocation::Bucket(s3.address()),
            (None, true) => ArtifactLocation::SharedFolder,
            (None, false) => ArtifactLocation::OwnFolder,
        }
    }
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The address of the server.
    pub endpoint: S3Endpoint,
    /// The certificates of the authorities that are trusted; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name of the bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The id of the access key.
    pub access_key_id: Secret,
    /// The secret access key.
    pub secret_access_key: Secret,
}

impl S3Config {
    /// The address of the artifacts, without the keys. AWS has each name of a bucket once.
    fn address(&self) -> String {
        match &self.endpoint {
            S3Endpoint::Aws => format!("s3://{}/{KEY_PREFIX}", self.bucket),
            S3Endpoint::Url(url) => format!("{url}/{}/{KEY_PREFIX}", self.bucket),
        }
    }
}

/// The address of an S3 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Endpoint {
    /// That of AWS in the region.
    Aws,
    /// The URL of another server, without a path.
    Url(String),
}

/// The configured store of artifacts.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> ArtifactsConfig {
    let shared = reader.get("artifacts.shared").unwrap_or_default();
    ArtifactsConfig { s3: read_s3(reader), shared }
}

/// The bucket, if one is named. Every value is checked here, since the client of S3 relies on it; that both keys are
/// set is checked by [`missing_keys`].
fn read_s3(reader: &mut ConfigReader<'_>) -> Option<S3Config> {
    let bucket = read_word(reader, "s3.bucket")?;
    let (endpoint, region) = (read_endpoint(reader), read_word(reader, "s3.region"));
    let ca_file = read_ca_file(reader, endpoint.as_ref());
    let [access_key_id, secret_access_key] = KEYS.map(|key| read_key(reader, key));
    Some(S3Config {
        endpoint: endpoint?,
        ca_file,
        bucket,
        region: region?,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
    })
}

/// A name of letters, digits, `.`, `-` and `_`; `None` if it is not set or is none, which is a problem.
fn read_word(reader: &mut ConfigReader<'_>, key: &str) -> Option<String> {
    let text = reader.get::<String>(key).filter(|text| !text.is_empty())?;
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !is_word {
        reader.report(format!("{key}: {text:?} is not a name of letters, digits, `.` and `-`"));
    }
    Some(text).filter(|_| is_word)
}

/// The address; `None` if it is none, which is a problem.
fn read_endpoint(reader: &mut ConfigReader<'_>) -> Option<S3Endpoint> {
    let Some(text) = reader.get::<String>("s3.endpoint").filter(|text| !text.is_empty()) else {
        return Some(S3Endpoint::Aws);
    };
    let is_address = |url: &Url| {
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        let has_user = !url.username().is_empty() || url.password().is_some();
        is_http && !has_user && url.path() == "/" && url.query().is_none() && url.fragment().is_none()
    };
    match Url::parse(&text).ok().filter(is_address) {
        Some(url) => Some(S3Endpoint::Url(url.as_str().trim_end_matches('/').to_owned())),
        None => {
            let text = mask_credentials(&text);
            reader.report(format!("s3.endpoint: {text:?} is not an address such as `https://s3.acme.example:9000`"));
            None
        }
    }
}

/// The certificates that are trusted. With an address without TLS they are a problem.
fn read_ca_file(reader: &mut ConfigReader<'_>, endpoint: Option<&S3Endpoint>) -> Option<PathBuf> {
    let ca_file = reader.get::<PathBuf>("s3.ca_file").filter(|path| !path.as_os_str().is_empty())?;
    if matches!(endpoint, Some(S3Endpoint::Url(url)) if url.starts_with("http://")) {
        reader.report("s3.ca_file is set, but s3.endpoint does not begin with `https://`".to_owned());
    }
    Some(ca_file)
}

/// A key, which is empty if it is not set; `None` if it cannot be one, which is a problem.
fn read_key(reader: &mut ConfigReader<'_>, key: &str) -> Option<Secret> {
    let secret = reader.get::<Secret>(key).unwrap_or_else(|| Secret::new(""));
    let is_key = secret.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    if !is_key {
        reader.report(format!("{key}: it contains a space, the end of a line or another character that no key has"));
    }
    Some(secret).filter(|_| is_key)
}

/// A problem for each key of the bucket that no layer sets. A settings file by itself may lack them, because keys are
/// often in the environment.
pub(super) fn missing_keys(config: &ArtifactsConfig) -> Vec<String> {
    let secrets = config.s3.iter().flat_map(|s3| [&s3.access_key_id, &s3.secret_access_key]);
    let missing = KEYS.into_iter().zip(secrets).filter(|(_, secret)| secret.reveal().is_empty());
    missing.map(|(key, _)| format!("s3.bucket is set, but {key} is not")).collect()
}

/// A warning if there are settings of a bucket, and no bucket; `keys` are those of all settings that are set.
pub(super) fn warning<'k>(config: &ArtifactsConfig, keys: impl Iterator<Item = &'k str>) -> Option<String> {
    let keys: Vec<&str> = keys.filter(|key| key.starts_with("s3.")).collect();
    let has_no_effect = config.s3.is_none() && !keys.is_empty();
    has_no_effect.then(|| format!("{} is set without s3.bucket, so artifacts are stored in a folder", keys.join(", ")))
}
