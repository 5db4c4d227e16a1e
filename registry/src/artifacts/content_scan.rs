//! What a put learns from the content that passes through it: its hash, its size, and whether it may reference
//! artifacts.

use greenroom_protocol::{ContentHash, ContentHasher};

use crate::artifacts::hash_scan::{HashScanner, is_json};

/// Scans the content of one artifact, chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct ContentScan {
    hasher: ContentHasher,
    bytes: u64,
    references: ReferenceScan,
}

/// Whether the content may reference artifacts.
#[derive(Debug, Default)]
enum ReferenceScan {
    /// No byte has arrived yet.
    #[default]
    Empty,
    /// It is JSON without a hash so far.
    Json(HashScanner),
    /// It is JSON with a hash.
    Found,
    /// Only JSON can reference artifacts.
    Impossible,
}

/// What is known of the whole content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScannedContent {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    /// True if it is JSON with hashes.
    pub(crate) has_references: bool,
}

impl ContentScan {
    /// Bytes so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Scans the next chunk.
    pub(crate) fn add(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        let Some(first) = chunk.first() else { return };
        if matches!(self.references, ReferenceScan::Empty) {
            self.references = match is_json(*first) {
                true => ReferenceScan::Json(HashScanner::default()),
                false => ReferenceScan::Impossible,
            };
        }
        if let ReferenceScan::Json(scanner) = &mut self.references {
            scanner.scan_chunk(chunk);
            if scanner.has_hashes() {
                self.references = ReferenceScan::Found;
            }
        }
    }

    /// Ends the scan.
    pub(crate) fn finish(self) -> ScannedContent {
        let has_references = match self.references {
            ReferenceScan::Empty | ReferenceScan::Impossible => false,
            ReferenceScan::Json(scanner) => !scanner.into_hashes().is_empty(),
            ReferenceScan::Found => true,
        };
        ScannedContent { hash: self.hasher.finish(), bytes: self.bytes, has_references }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(chunks: &[&[u8]]) -> ScannedContent {
        let mut scan = ContentScan::default();
        for chunk in chunks {
            scan.add(chunk);
        }
        scan.finish()
    }

    #[test]
    fn only_json_with_a_hash_may_reference_artifacts_wherever_its_chunks_end() {
        let hash = ContentHash::from_content(b"x").to_string();
        let json = format!(r#"{{"a":"{hash}"}}"#);
        let whole = scan(&[json.as_bytes()]);
        assert_eq!((whole.hash, whole.bytes), (ContentHash::from_content(json.as_bytes()), json.len() as u64));
        assert!(whole.has_references);
        for at in 0..json.len() {
            let (first, second) = json.as_bytes().split_at(at);
            assert_eq!(scan(&[first, b"", second]), whole, "{at}");
        }
        for other in [format!("id,{hash}\n"), format!(r#"{{"a":"{hash}0"}}"#), "{}".to_owned(), String::new()] {
            assert!(!scan(&[other.as_bytes()]).has_references, "{other}");
        }
        assert!(scan(&[b"[", hash.as_bytes()]).has_references, "the text may end with the hash");
    }
}
