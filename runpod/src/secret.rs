//! A key that is sent and never shown.

use std::fmt;

use reqwest::header::{HeaderValue, InvalidHeaderValue};

/// A secret text. Its `Debug` has no part of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// True if it is the empty text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a header that has the secret after this prefix. The HTTP client does not print it.
    ///
    /// # Errors
    /// If it has a character that no header may have.
    pub fn header(&self, prefix: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Replaces each occurrence of the secret in a text, which another program has written.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::SecretText;

    #[test]
    fn a_secret_is_in_its_header_and_in_no_output() {
        let secret = SecretText::new("rpa_123");
        assert_eq!(secret.header("Bearer ").unwrap(), "Bearer rpa_123");
        let output = format!("{secret:?} {:?}", secret.header("").unwrap());
        assert!(!output.contains("rpa_123"), "{output}");
        assert_eq!(secret.mask("the key rpa_123 is invalid"), "the key *** is invalid");
        assert_eq!(SecretText::default().mask("text"), "text");
    }

    #[test]
    fn a_secret_with_a_line_end_is_no_header() {
        assert!(SecretText::new("a\nb").header("").is_err());
        assert!(SecretText::default().header("").unwrap().is_empty());
    }
}
