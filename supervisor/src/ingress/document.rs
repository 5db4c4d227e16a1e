//! JSON in a buffer of about its size: a reply may have a large text, and a buffer that doubles when one more byte does not
//! fit would take two or three times its memory.

use std::io::{self, Write};

use serde::Serialize;

/// Bytes of a text for which a buffer grows by its size, and not by its own.
const LARGE_BYTES: usize = 64 * 1024;
/// Bytes that are reserved for what follows a large text.
const REST_BYTES: usize = 16 * 1024;

/// Appends the JSON of a document to a buffer.
///
/// # Errors
/// If the document has no JSON form.
pub(super) fn append(buffer: Vec<u8>, document: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut document_buffer = DocumentBuffer(buffer);
    serde_json::to_writer(&mut document_buffer, document)?;
    Ok(document_buffer.0)
}

struct DocumentBuffer(Vec<u8>);

impl Write for DocumentBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= LARGE_BYTES && self.0.capacity().saturating_sub(self.0.len()) < bytes.len() {
            self.0.reserve_exact(bytes.len().saturating_add(REST_BYTES));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_with_a_large_text_takes_little_more_memory_than_its_bytes() {
        let document = json!({ "base64": "A".repeat(2 * 1024 * 1024), "bytes": 7, "next": [1, 2, 3] });
        let written = append(vec![0; 4], &document).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&written[4..]).unwrap(), document);
        assert!(written.capacity() < written.len() + 2 * REST_BYTES, "{} for {}", written.capacity(), written.len());
    }

    #[test]
    fn a_small_document_is_appended_to_what_the_buffer_has() {
        assert_eq!(append(b"length".to_vec(), &json!({ "a": 1 })).unwrap(), br#"length{"a":1}"#);
    }
}
