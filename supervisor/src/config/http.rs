//! The section `http`: where the bridge listens, which pages may use it, and how much it takes.

use std::net::SocketAddr;

use url::Url;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "http.addr",
        &["GREENROOM_HTTP_ADDR"],
        "address at which `up` and `bridge` serve HTTP; `off` serves none; other than loopback only if callers have an \
         identity",
    )
    .or("127.0.0.1:8000"),
    Setting::text(
        "http.development_user",
        &["GREENROOM_HTTP_DEVELOPMENT_USER"],
        "`auto`: while no user has a key and there is no issuer, requests from this machine without a credential are \
         those of `user`; `off`: every request needs a credential",
    )
    .or("auto"),
    Setting::text(
        "http.cors_origins",
        &["GREENROOM_HTTP_CORS_ORIGINS"],
        "origins whose pages may use the bridge, such as `https://app.example`, separated by commas; default none",
    ),
    Setting::number(
        "http.connections_max",
        &["GREENROOM_HTTP_CONNECTIONS_MAX"],
        "connections that are open at one moment; further ones are closed at once",
    )
    .or("16384"),
    Setting::number(
        "http.upload_bytes_max",
        &["GREENROOM_HTTP_UPLOAD_BYTES_MAX"],
        "bytes of an artifact that is uploaded over HTTP",
    )
    .or("67108864"),
];

/// The words of `http.development_user`.
const USER_WORDS: [(&str, bool); 2] = [("auto", true), ("off", false)];
/// The most that an upload may be set to: the bridge has it in memory.
const UPLOAD_BYTES_LIMIT: usize = 256 * 1024 * 1024;

/// The bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// True if requests from this machine may need no credential.
    pub allows_development_user: bool,
    /// The origins whose pages may use the bridge.
    pub cors_origins: Vec<String>,
    /// Connections that are open at one moment.
    pub connections_max: usize,
    /// Bytes of an artifact that is uploaded.
    pub upload_bytes_max: usize,
}

/// The configured bridge; `None` if HTTP is off.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<HttpConfig> {
    let cors_origins = read_origins(reader);
    let connections_max = reader.get::<usize>("http.connections_max").unwrap_or(1);
    if connections_max == 0 {
        reader.report("http.connections_max: it must be at least 1".to_owned());
    }
    let upload_bytes_max = reader.get::<usize>("http.upload_bytes_max").unwrap_or_default();
    if upload_bytes_max > UPLOAD_BYTES_LIMIT {
        reader.report(format!("http.upload_bytes_max: at most {UPLOAD_BYTES_LIMIT} bytes are possible"));
    }
    let allows_development_user = reader.word("http.development_user", &USER_WORDS).unwrap_or_default();
    let addr = match reader.get::<String>("http.addr").as_deref() {
        None | Some("off") => return None,
        Some(_) => reader.parse("http.addr", "`off` or an address such as `127.0.0.1:8000`")?,
    };
    Some(HttpConfig { addr, allows_development_user, cors_origins, connections_max, upload_bytes_max })
}

fn read_origins(reader: &mut ConfigReader<'_>) -> Vec<String> {
    let text = reader.get::<String>("http.cors_origins").unwrap_or_default();
    let origins: Vec<String> =
        text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
    for origin in origins.iter().filter(|origin| !is_origin(origin)) {
        reader.report(format!("http.cors_origins: {origin:?} is no origin such as `https://app.example`"));
    }
    origins
}

/// True for a scheme, a host and perhaps a port, as a browser writes them.
fn is_origin(text: &str) -> bool {
    Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::super::source::load;
    use super::super::{ConfigError, Flags, LoadedConfig};

    fn loaded(pairs: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&Flags::default(), environment)
    }

    #[test]
    fn the_bridge_is_on_loopback_unless_it_is_off_or_elsewhere() {
        let http = |pairs: &[(&str, &str)]| loaded(pairs).unwrap().config.http;
        let default = http(&[]).unwrap();
        assert_eq!((default.addr.to_string().as_str(), default.connections_max), ("127.0.0.1:8000", 16_384));
        assert!(default.cors_origins.is_empty());
        assert_eq!(http(&[("GREENROOM_HTTP_ADDR", "off")]), None);
        let origins = [("GREENROOM_HTTP_CORS_ORIGINS", "https://app.example, http://localhost:5173")];
        assert_eq!(http(&origins).unwrap().cors_origins, ["https://app.example", "http://localhost:5173"]);
    }

    #[test]
    fn what_cannot_be_followed_is_a_problem_that_names_the_setting() {
        for (name, value, problem) in [
            ("GREENROOM_HTTP_ADDR", "here", "http.addr"),
            ("GREENROOM_HTTP_DEVELOPMENT_USER", "root", "http.development_user"),
            ("GREENROOM_HTTP_CONNECTIONS_MAX", "0", "http.connections_max"),
            ("GREENROOM_HTTP_UPLOAD_BYTES_MAX", "999999999999", "http.upload_bytes_max"),
            ("GREENROOM_HTTP_CORS_ORIGINS", "*", "http.cors_origins"),
            ("GREENROOM_HTTP_CORS_ORIGINS", "https://app.example/path", "http.cors_origins"),
        ] {
            let text = loaded(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(problem), "{name}={value}: {text}");
        }
    }
}
