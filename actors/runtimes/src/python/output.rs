//! What a process prints: its last bytes, whatever it prints.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are read at a time.
const READ_BYTES: usize = 8 * 1024;

/// The last bytes of an output.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// Bytes that are retained.
    pub(super) const BYTES_MAX: usize = 8 * 1024;

    /// Adds bytes, and removes the oldest ones above the bound.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(Self::BYTES_MAX);
        if surplus > 0 {
            self.is_cut = true;
            self.bytes.drain(..surplus);
        }
    }

    /// True if nothing was printed.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes as they are.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text; bytes that are none are replaced.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let cut = if self.is_cut { "… " } else { "" };
        format!("{cut}{}", text.trim_end())
    }
}

/// Reads an output to its end.
pub(super) async fn read_all<R: AsyncRead + Unpin>(reader: Option<R>) -> Tail {
    let mut tail = Tail::default();
    let Some(mut reader) = reader else { return tail };
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while read_some(&mut reader, &mut buffer, &mut tail).await {}
    tail
}

/// Reads what is there, or waits for it. False at the end of the output.
pub(super) async fn read_some<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut Vec<u8>, tail: &mut Tail) -> bool {
    buffer.clear();
    buffer.reserve(READ_BYTES);
    match reader.read_buf(buffer).await {
        Ok(0) | Err(_) => false,
        Ok(_) => {
            tail.push(buffer);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_bytes_of_an_output_are_retained_whatever_they_are() {
        let mut printed = vec![b'a'; 3 * Tail::BYTES_MAX];
        printed.extend_from_slice(&[0xff, 0x00, b'z', b'\n']);
        let tail = read_all(Some(printed.as_slice())).await;
        assert_eq!(tail.as_bytes().len(), Tail::BYTES_MAX);
        assert!(tail.text().starts_with("… a") && tail.text().ends_with("a\u{fffd}\0z"), "{:?}", tail.text());
        assert!(read_all(None::<&[u8]>).await.is_empty());
    }
}
