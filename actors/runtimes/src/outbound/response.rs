//! A response of a server.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// A response with its whole body.
pub(crate) struct OutboundResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl OutboundResponse {
    /// The media type of the body in lower case, without its parameters; empty if there is none.
    pub(crate) fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// True if the body is JSON, by its media type.
    pub(crate) fn is_json(&self) -> bool {
        is_json(&self.media_type())
    }
}

/// True for a media type of JSON.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
        || media_type == "text/json"
}
