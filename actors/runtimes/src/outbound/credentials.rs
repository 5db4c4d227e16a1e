//! What the configuration adds to each request to a host: headers and parameters of the query, which may be secrets.

use std::fmt;

use greenroom_protocol::value::truncate_utf8;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Headers that the platform or the client writes itself.
const RESERVED: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "webhook-signature",
];
/// A secret of fewer bytes is not replaced in texts, which would have to be changed at random positions.
const REDACTED_BYTES_MIN: usize = 4;

/// A value that is sent and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a text a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What is added to each request, as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSettings {
    /// Headers, by name.
    pub headers: Vec<(String, Secret)>,
    /// Parameters of the query, by name.
    pub query: Vec<(String, Secret)>,
}

/// What is added to each request.
#[derive(Default)]
pub(crate) struct Credentials {
    headers: HeaderMap,
    query: Vec<(String, Secret)>,
    redaction: Redaction,
}

/// Removes secrets from texts.
#[derive(Default)]
pub(crate) struct Redaction {
    secrets: Vec<Secret>,
}

impl Redaction {
    /// Removes these secrets, and the last word of each: `Bearer TOKEN` is one header, and the token is the secret.
    pub(crate) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| secret.0.len() >= REDACTED_BYTES_MIN);
        Self { secrets: secrets.collect() }
    }

    /// The text without the secrets.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for secret in &self.secrets {
            let token = secret.expose().rsplit(' ').next().filter(|token| token.len() >= REDACTED_BYTES_MIN);
            for part in [Some(secret.expose()), token].into_iter().flatten() {
                hidden = hidden.replace(part, "***");
            }
        }
        hidden
    }

    /// Removes the secrets from a text of a server, joins its lines and truncates it. The secrets are removed before it is
    /// truncated, so that none is cut in half.
    pub(crate) fn redact(&self, text: &str, bytes_max: usize) -> String {
        // Bounds the work for a text of megabytes. The last word of the rest may be a half.
        let part = truncate_utf8(text, bytes_max.saturating_mul(16));
        let part = match part.len() < text.len() {
            true => part.rsplit_once(char::is_whitespace).map_or(part, |(whole, _)| whole),
            false => part,
        };
        let mut words = part.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let mut joined = words.next().unwrap_or_default().to_owned();
        for word in words {
            joined.push(' ');
            joined.push_str(word);
        }
        truncate_utf8(&self.hide(&joined), bytes_max).to_owned()
    }
}

impl Credentials {
    /// Checks the headers.
    ///
    /// # Errors
    /// A fragment that names the header, and never its value.
    pub(crate) fn new(settings: &CredentialSettings) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let (header, value) = header(name, value)?;
            headers.append(header, value);
        }
        let secrets = settings.headers.iter().chain(&settings.query).map(|(_, secret)| secret.clone());
        Ok(Self { headers, query: settings.query.clone(), redaction: Redaction::new(secrets) })
    }

    /// The headers.
    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The parameters of the query.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.query.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }

    /// As [`Redaction::redact`].
    pub(crate) fn redact(&self, text: &str, bytes_max: usize) -> String {
        self.redaction.redact(text, bytes_max)
    }
}

fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))?;
    if is_reserved(&header) {
        return Err(format!("the header `{header}` is written by the platform"));
    }
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| format!("the value of the header `{header}` has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// True for a header that neither the configuration nor a caller may set.
pub(crate) fn is_reserved(header: &HeaderName) -> bool {
    RESERVED.contains(&header.as_str())
        || header.as_str().starts_with("webhook-")
        || header.as_str().starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(headers: &[(&str, &str)]) -> Result<Credentials, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        Credentials::new(&CredentialSettings { headers, query: vec![("key".to_owned(), Secret::new("query-secret"))] })
    }

    #[test]
    fn a_secret_is_removed_from_the_text_of_a_server_and_never_printed() {
        let credentials = credentials(&[("authorization", "Bearer token-1234"), ("x-short", "abc")]).unwrap();
        let text = "you sent\n\tBearer token-1234,\u{7} token-1234 and query-secret, abc";
        assert_eq!(credentials.redact(text, 200), "you sent ***, *** and ***, abc");
        assert_eq!(credentials.redact("a long text", 4), "a lo");
        let half = format!("{}token-1234", " ".repeat(20 * 16 - 5));
        assert_eq!(credentials.redact(&half, 20), "", "no secret is cut in half");
        assert_eq!(credentials.redact("", 4), "");
        let settings = format!("{:?}", Secret::new("token-1234"));
        assert!(!settings.contains("1234") && !format!("{:?}", credentials.headers()).contains("1234"), "{settings}");
    }

    #[test]
    fn headers_of_the_platform_and_invalid_ones_are_problems_that_do_not_repeat_the_value() {
        for (name, value, problem) in [
            ("Host", "a-value", "written by the platform"),
            ("webhook-id", "a-value", "written by the platform"),
            ("Content-Length", "a-value", "written by the platform"),
            ("a b", "a-value", "no name of a header"),
            ("x-key", "a-value\r\nx: y", "may have"),
        ] {
            let error = credentials(&[(name, value)]).err().unwrap();
            assert!(error.contains(problem) && !error.contains("a-value"), "{name}: {error}");
        }
    }
}
