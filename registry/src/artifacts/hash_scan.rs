//! Finds the names of artifacts in whatever text was kept. It takes every run of 64 hex digits for a
//! name, so it knows no shape of a record, and errs on the side of keeping.

use std::collections::HashSet;
use std::io::{self, Read};

use greenroom_protocol::ContentHash;

/// Hex digits of a name.
const DIGITS: usize = 64;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1_024;

/// Collects names from text that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct HashScanner {
    into_hashes: HashSet<ContentHash>,
    digits: String,
    /// The run of digits is longer than a name.
    is_longer: bool,
}

impl HashScanner {
    /// Reads one text to its end.
    pub(crate) fn scan(&mut self, text: &[u8]) {
        self.piece(text);
        self.end_of_run();
    }

    /// Every name that was found.
    pub(crate) fn into_hashes(self) -> HashSet<ContentHash> {
        self.into_hashes
    }

    fn piece(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'f') {
                self.end_of_run();
            } else if self.digits.len() < DIGITS {
                self.digits.push(char::from(*byte));
            } else {
                self.is_longer = true;
            }
        }
    }

    fn end_of_run(&mut self) {
        if self.digits.len() == DIGITS
            && !self.is_longer
            && let Ok(hash) = self.digits.parse()
        {
            self.into_hashes.insert(hash);
        }
        self.digits.clear();
        self.is_longer = false;
    }
}

/// The names in an artifact. Only JSON names others: in another file, digits are digits.
///
/// # Errors
/// What the reader says.
pub(crate) fn hashes_in(mut artifact: impl Read) -> io::Result<HashSet<ContentHash>> {
    let mut names = HashScanner::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut is_first = true;
    loop {
        let length = artifact.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        if is_first && !matches!(bytes.first(), Some(b'{' | b'[')) {
            break;
        }
        is_first = false;
        names.piece(bytes);
    }
    names.end_of_run();
    Ok(names.into_hashes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drop<'a>(&'a [u8]);

    impl Read for Drop<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn a_name_is_found_wherever_it_stands_and_nothing_else_is() {
        let (one, two) = (ContentHash::of(b"one"), ContentHash::of(b"two"));
        let text =
            format!(r#"{{"a":{{"$artifact":{{"hash":"{one}"}}}},"b":"say \"{two}\"","c":"{one}{two}","d":"abc"}}"#);
        let both = HashSet::from([one, two]);
        assert_eq!(hashes_in(text.as_bytes()).unwrap(), both);
        assert_eq!(hashes_in(Drop(text.as_bytes())).unwrap(), both);
        assert_eq!(hashes_in(format!("id,{one}\n").as_bytes()).unwrap(), HashSet::new(), "a CSV names nothing");
        let mut names = HashScanner::default();
        names.scan(&text.as_bytes()[..text.len() / 2]);
        names.scan(one.to_string().as_bytes());
        names.scan(b"");
        assert!(names.into_hashes().contains(&one), "a text ends where it ends");
    }
}
