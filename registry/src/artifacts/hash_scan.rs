//! Finds the hashes of artifacts in stored text. Every run of exactly 64 hex digits counts as a hash, so
//! that the scanner needs no schema and may find too many references, but never too few.

use std::collections::HashSet;

use greenroom_protocol::ContentHash;

/// Hex digits of a hash.
const DIGITS: usize = 64;

/// Collects the hashes in texts that are scanned chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct HashScanner {
    hashes: HashSet<ContentHash>,
    digits: String,
    /// True if the run of digits is longer than a hash.
    is_longer: bool,
}

impl HashScanner {
    /// Scans one complete text.
    pub(crate) fn scan(&mut self, text: &[u8]) {
        self.scan_chunk(text);
        self.finish_run();
    }

    /// Ends the last text, and returns all hashes that were not taken.
    pub(crate) fn into_hashes(mut self) -> HashSet<ContentHash> {
        self.finish_run();
        self.hashes
    }

    /// Returns the hashes so far, so that they need not be in memory together.
    pub(crate) fn take_hashes(&mut self) -> HashSet<ContentHash> {
        std::mem::take(&mut self.hashes)
    }

    /// True if a hash was found that was not taken.
    pub(crate) fn has_hashes(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// Scans the next chunk of a text, which may end within a hash.
    pub(crate) fn scan_chunk(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'f') {
                self.finish_run();
            } else if self.digits.len() < DIGITS {
                self.digits.push(char::from(*byte));
            } else {
                self.is_longer = true;
            }
        }
    }

    fn finish_run(&mut self) {
        if self.digits.len() == DIGITS
            && !self.is_longer
            && let Ok(hash) = self.digits.parse()
        {
            self.hashes.insert(hash);
        }
        self.digits.clear();
        self.is_longer = false;
    }
}

/// True if an artifact with this first byte is JSON. Only JSON can reference artifacts; in another file, digits are
/// only digits.
pub(crate) const fn is_json(first: u8) -> bool {
    matches!(first, b'{' | b'[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_found_anywhere_in_json_wherever_its_chunks_end() {
        let (one, two) = (ContentHash::from_content(b"one"), ContentHash::from_content(b"two"));
        let text =
            format!(r#"{{"a":{{"$artifact":{{"hash":"{one}"}}}},"b":"say \"{two}\"","c":"{one}{two}","d":"abc"}}"#);
        let both = HashSet::from([one, two]);
        let mut whole = HashScanner::default();
        whole.scan(text.as_bytes());
        assert_eq!(whole.into_hashes(), both);
        let (mut by_byte, mut taken) = (HashScanner::default(), HashSet::new());
        for byte in text.as_bytes() {
            by_byte.scan_chunk(&[*byte]);
            taken.extend(by_byte.take_hashes());
        }
        taken.extend(by_byte.into_hashes());
        assert_eq!(taken, both);
        let mut scanner = HashScanner::default();
        scanner.scan(&text.as_bytes()[..text.len() / 2]);
        scanner.scan(one.to_string().as_bytes());
        scanner.scan(b"");
        assert!(scanner.into_hashes().contains(&one), "a run of digits does not continue in the next text");
    }
}
