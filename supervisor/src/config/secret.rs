//! Values that are used and never printed: secrets, and the credentials in a URL.

use std::fmt;

use serde::Deserialize;

/// Printed instead of a secret.
pub const MASK: &str = "***";

/// A key or password. Neither its `Debug` nor its `Display` prints it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Makes a text a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the code that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Replaces the user and password of every URL in a text by [`MASK`].
#[must_use]
pub fn mask_credentials(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let authority_end = after.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority_end);
        match authority.rsplit_once('@') {
            Some((_, host)) => masked.push_str(&format!("{MASK}@{host}")),
            None => masked.push_str(authority),
        }
        rest = tail;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_of_a_url_are_masked_and_the_rest_is_shown() {
        let text = r#"cannot reach "https://user:p@ss@host:8080/v1?q=a@b" or http://host/x@y, nats://t0ken@n"#;
        let masked = r#"cannot reach "https://***@host:8080/v1?q=a@b" or http://host/x@y, nats://***@n"#;
        assert_eq!(mask_credentials(text), masked);
        assert_eq!(mask_credentials("no url: a@b"), "no url: a@b");
    }
}
