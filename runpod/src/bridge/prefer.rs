//! The header `Prefer` (RFC 7240). A preference that the bridge does not know, or cannot read, is ignored, as the RFC
//! requires.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

/// The header.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The preferences that the bridge follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Preferences {
    /// The caller requests the acceptance of a run instead of its result.
    pub(super) is_async: bool,
    /// How long the caller waits.
    pub(super) wait: Option<Duration>,
}

impl Preferences {
    /// Reads the preferences of a request.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut preferences = Self::default();
        for preference in texts.flat_map(|text| text.split(',')) {
            // Parameters of a preference follow a semicolon; none of these has any.
            let preference = preference.split(';').next().unwrap_or_default().trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                preferences.is_async = true;
            } else if name.eq_ignore_ascii_case("wait") && preferences.wait.is_none() {
                preferences.wait = value.parse().ok().map(Duration::from_secs);
            }
        }
        preferences
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(texts: &[&'static str]) -> Preferences {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(PREFER, HeaderValue::from_static(text));
        }
        Preferences::read(&headers)
    }

    #[test]
    fn preferences_are_read_from_any_number_of_headers_and_others_are_ignored() {
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(read(&[]), Preferences::default());
        assert_eq!(read(&["respond-async"]), Preferences { is_async: true, wait: None });
        assert_eq!(read(&["Respond-Async, wait=10"]), Preferences { is_async: true, wait: wait(10) });
        assert_eq!(read(&["handling=lenient; x=1", "wait=\"5\"; y"]), Preferences { is_async: false, wait: wait(5) });
        assert_eq!(read(&["wait=3, wait=9"]).wait, wait(3));
        for unreadable in ["wait=-1", "wait=soon", "wait", "wait=99999999999999999999"] {
            assert_eq!(read(&[unreadable]), Preferences::default(), "{unreadable}");
        }
    }
}
