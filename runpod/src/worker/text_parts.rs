//! Tokens become parts: a request for each token would cost more than the token. A part is sent when it is old or large enough.

use std::time::Duration;

use tokio::time::Instant;

/// How long a token waits for others.
const PART_AGE_MAX: Duration = Duration::from_millis(75);
/// Bytes of a part; RunPod's limit is 1 MB.
const PART_BYTES_MAX: usize = 256 * 1024;

/// The text that is not sent yet.
#[derive(Debug, Default)]
pub(super) struct TextParts {
    text: String,
    due_at: Option<Instant>,
}

impl TextParts {
    /// Adds text; returns a part if there is enough for one.
    pub(super) fn push(&mut self, text: &str) -> Option<String> {
        if self.text.is_empty() {
            self.due_at = Some(Instant::now() + PART_AGE_MAX);
        }
        self.text.push_str(text);
        if self.text.len() >= PART_BYTES_MAX { self.take() } else { None }
    }

    /// The moment at which the text is due; `None` without text.
    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Takes the text.
    pub(super) fn take(&mut self) -> Option<String> {
        self.due_at = None;
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{PART_BYTES_MAX, TextParts};

    #[test]
    fn tokens_become_one_part_until_it_is_large() {
        let mut parts = TextParts::default();
        assert_eq!((parts.push("The "), parts.push("quarter")), (None, None));
        assert!(parts.due_at().is_some());
        assert_eq!(parts.take().as_deref(), Some("The quarter"));
        assert_eq!((parts.due_at(), parts.take()), (None, None));
        let large = "x".repeat(PART_BYTES_MAX);
        assert_eq!(parts.push(&large).map(|part| part.len()), Some(PART_BYTES_MAX));
    }
}
