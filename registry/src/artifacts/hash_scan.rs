//! Finds the hashes of artifacts in stored text. Every run of exactly 64 hex digits counts as a hash, so
//! that the scanner needs no schema and may find too many references, but never too few.

use std::collections::HashSet;
use std::io::{self, Read};

use greenroom_protocol::ContentHash;

/// Hex digits of a hash.
const DIGITS: usize = 64;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1_024;

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

    /// Returns all hashes.
    pub(crate) fn into_hashes(self) -> HashSet<ContentHash> {
        self.hashes
    }

    fn scan_chunk(&mut self, bytes: &[u8]) {
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

/// Returns the hashes in an artifact. Only JSON can reference artifacts; in another file, digits are
/// only digits.
///
/// # Errors
/// The errors of the reader.
pub(crate) fn hashes_in(mut artifact: impl Read) -> io::Result<HashSet<ContentHash>> {
    let mut scanner = HashScanner::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut is_first = true;
    loop {
        let length = artifact.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        if is_first && !matches!(bytes.first(), Some(b'{' | b'[')) {
            break;
        }
        is_first = false;
        scanner.scan_chunk(bytes);
    }
    scanner.finish_run();
    Ok(scanner.into_hashes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one byte at a time.
    struct ByteReader<'a>(&'a [u8]);

    impl Read for ByteReader<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn a_hash_is_found_anywhere_in_json_and_nothing_else_is() {
        let (one, two) = (ContentHash::from_content(b"one"), ContentHash::from_content(b"two"));
        let text =
            format!(r#"{{"a":{{"$artifact":{{"hash":"{one}"}}}},"b":"say \"{two}\"","c":"{one}{two}","d":"abc"}}"#);
        let both = HashSet::from([one, two]);
        assert_eq!(hashes_in(text.as_bytes()).unwrap(), both);
        assert_eq!(hashes_in(ByteReader(text.as_bytes())).unwrap(), both);
        assert_eq!(
            hashes_in(format!("id,{one}\n").as_bytes()).unwrap(),
            HashSet::new(),
            "a CSV file references nothing"
        );
        let mut scanner = HashScanner::default();
        scanner.scan(&text.as_bytes()[..text.len() / 2]);
        scanner.scan(one.to_string().as_bytes());
        scanner.scan(b"");
        assert!(scanner.into_hashes().contains(&one), "a run of digits does not continue in the next text");
    }
}
