//! The buffer in which the chunks of an upload become a part of it: one allocation for all parts of the upload.

use bytes::{Bytes, BytesMut};

/// Bytes of each part but the last. S3 requires five MiB, and permits 10,000 parts; the largest artifact has 52.
pub(super) const PART_BYTES: usize = 5 * 1024 * 1024;

/// The part that is being filled. Retained chunks would be as many allocations for each part, made by one thread and
/// freed by that of the connection, and the allocator would keep several times their size.
#[derive(Default)]
pub(super) struct PartBuffer {
    bytes: BytesMut,
    /// True once a part was taken, so that the next one is a part of its size too.
    has_parts: bool,
}

impl PartBuffer {
    /// True if the part takes no more bytes.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= PART_BYTES
    }

    /// True if the part has no bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Moves the first bytes of a chunk to the part, as many as it takes.
    pub(super) fn fill(&mut self, chunk: &mut Bytes) {
        let space = PART_BYTES.saturating_sub(self.bytes.len());
        let length = chunk.len().min(space);
        // Content of one chunk needs its own size. The second chunk makes room for a whole part at once: a buffer that
        // grows would be copied, and need up to three times its size. Bytes that are not written take no memory.
        let is_first = self.bytes.is_empty() && !self.has_parts;
        self.bytes.reserve(if is_first { length } else { space });
        self.bytes.extend_from_slice(&chunk.split_to(length));
    }

    /// The bytes of the part. Once they are dropped, the next part reuses their memory.
    pub(super) fn take(&mut self) -> Bytes {
        self.has_parts = true;
        self.bytes.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut PartBuffer, content: Vec<u8>) -> Bytes {
        let mut chunk = Bytes::from(content);
        buffer.fill(&mut chunk);
        chunk
    }

    #[test]
    fn all_parts_use_the_memory_of_the_first_one() {
        let mut buffer = PartBuffer::default();
        let mut addresses = Vec::new();
        for number in 1..=3_u8 {
            while !buffer.is_full() {
                assert!(fill(&mut buffer, vec![number; 256 * 1024]).is_empty());
            }
            let part = buffer.take();
            assert!(buffer.is_empty() && part.len() == PART_BYTES);
            assert!(part.iter().all(|byte| *byte == number));
            addresses.push(part.as_ptr());
        }
        assert_eq!(addresses, [addresses[0]; 3]);
    }

    #[test]
    fn a_part_that_is_still_sent_is_not_overwritten() {
        let mut buffer = PartBuffer::default();
        fill(&mut buffer, vec![1; PART_BYTES]);
        let sent = buffer.take();
        fill(&mut buffer, vec![2; PART_BYTES]);
        assert!(sent.iter().all(|byte| *byte == 1));
        assert!(buffer.take().iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_part_ends_within_a_chunk() {
        let mut buffer = PartBuffer::default();
        let rest = fill(&mut buffer, vec![7; PART_BYTES + 3]);
        assert!(buffer.is_full());
        assert_eq!((buffer.take().len(), rest.len()), (PART_BYTES, 3));
    }

    #[test]
    fn small_content_needs_no_memory_for_a_part() {
        let mut buffer = PartBuffer::default();
        fill(&mut buffer, vec![7; 1000]);
        assert!(buffer.bytes.capacity() < 2000, "{}", buffer.bytes.capacity());
    }
}
