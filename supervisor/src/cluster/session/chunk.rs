//! Chunks: numbered and authenticated messages of one direction of a session.
//!
//! ```text
//! kind (1 byte) | number (8 bytes, big-endian) | content | HMAC-SHA256 of all of that (32 bytes)
//! ```
//!
//! Each direction has a key of its own, so a chunk that is sent back is forged. Chunks are authenticated and not
//! encrypted: the connection to NATS is, if it uses TLS, as for everything else that crosses it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cluster::keys::{ClusterKey, TAG_BYTES};

/// Bytes of a chunk that are not content.
pub const OVERHEAD_BYTES: usize = 1 + 8 + TAG_BYTES;

/// What a chunk contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes of the stream.
    Data(Bytes),
    /// The receiver of the other direction grants so many more bytes.
    Credit(u32),
    /// The sender has ended the session.
    Close,
}

/// Why a chunk is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It is no chunk of this session: dropped.
    #[error("the chunk is forged")]
    Forged,
    /// It was received before: dropped.
    #[error("the chunk {0} was received before")]
    Replayed(u64),
    /// It follows chunks that are missing, which ends the session.
    #[error("the chunk {expected} is missing before {found}")]
    Gap {
        /// The number of the missing chunk.
        expected: u64,
        /// The number of this one.
        found: u64,
    },
    /// It is authentic and has no known content, which ends the session.
    #[error("the chunk cannot be read")]
    Unreadable,
}

const DATA: u8 = 1;
const CREDIT: u8 = 2;
const CLOSE: u8 = 3;

/// Numbers and authenticates the chunks that this pod sends.
#[derive(Debug)]
pub struct ChunkSealer {
    key: ClusterKey,
    next: u64,
}

impl ChunkSealer {
    /// A sealer with the key of this direction.
    #[must_use]
    pub const fn new(key: ClusterKey) -> Self {
        Self { key, next: 0 }
    }

    /// The next chunk, with these bytes of the stream.
    #[must_use]
    pub fn data(&mut self, content: &[u8]) -> Bytes {
        self.seal(DATA, content)
    }

    /// The next chunk, which grants bytes.
    #[must_use]
    pub fn credit(&mut self, granted: u32) -> Bytes {
        self.seal(CREDIT, &granted.to_be_bytes())
    }

    /// The next chunk, which ends the session.
    #[must_use]
    pub fn close(&mut self) -> Bytes {
        self.seal(CLOSE, &[])
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Bytes {
        let mut chunk = BytesMut::with_capacity(OVERHEAD_BYTES + content.len());
        chunk.put_u8(kind);
        chunk.put_u64(self.next);
        chunk.put_slice(content);
        let tag = self.key.tag(&chunk);
        chunk.put_slice(&tag);
        // A session does not live for 2^64 chunks.
        self.next = self.next.wrapping_add(1);
        chunk.freeze()
    }
}

/// Verifies the chunks that this pod receives.
#[derive(Debug)]
pub struct ChunkOpener {
    key: ClusterKey,
    next: u64,
}

impl ChunkOpener {
    /// An opener with the key of this direction.
    #[must_use]
    pub const fn new(key: ClusterKey) -> Self {
        Self { key, next: 0 }
    }

    /// Verifies the next chunk.
    ///
    /// # Errors
    /// [`ChunkError`]; the number of the expected chunk is unchanged then.
    pub fn open(&mut self, message: &Bytes) -> Result<Chunk, ChunkError> {
        let end = message.len().checked_sub(TAG_BYTES).ok_or(ChunkError::Forged)?;
        let (sealed, tag) = message.split_at(end);
        if !self.key.is_tag(sealed, tag) {
            return Err(ChunkError::Forged);
        }
        let (head, content) = sealed.split_at_checked(9).ok_or(ChunkError::Unreadable)?;
        let [kind, number @ ..] = head else { return Err(ChunkError::Unreadable) };
        let found = u64::from_be_bytes(number.try_into().map_err(|_| ChunkError::Unreadable)?);
        if found < self.next {
            return Err(ChunkError::Replayed(found));
        }
        if found > self.next {
            return Err(ChunkError::Gap { expected: self.next, found });
        }
        let chunk = match (*kind, content) {
            (DATA, _) => Chunk::Data(message.slice(9..end)),
            (CREDIT, granted) => {
                Chunk::Credit(u32::from_be_bytes(granted.try_into().map_err(|_| ChunkError::Unreadable)?))
            }
            (CLOSE, []) => Chunk::Close,
            (_, _) => return Err(ChunkError::Unreadable),
        };
        self.next = self.next.wrapping_add(1);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::keys::{ClusterSecret, KeyLabel};

    fn key(context: &[u8]) -> ClusterKey {
        let secret = ClusterSecret::new("a secret of sixteen bytes or more", "green").unwrap();
        secret.key(KeyLabel::Chunks, context).unwrap()
    }

    fn ends() -> (ChunkSealer, ChunkOpener) {
        (ChunkSealer::new(key(b"one")), ChunkOpener::new(key(b"one")))
    }

    #[test]
    fn chunks_are_opened_in_the_order_in_which_they_were_sealed() {
        let (mut sealer, mut opener) = ends();
        for message in [sealer.data(b"abc"), sealer.data(b""), sealer.credit(7), sealer.close()] {
            let chunk = opener.open(&message).unwrap();
            assert!(
                [Chunk::Data("abc".into()), Chunk::Data("".into()), Chunk::Credit(7), Chunk::Close].contains(&chunk)
            );
        }
    }

    #[test]
    fn a_forged_chunk_is_refused_and_the_next_one_is_taken() {
        let (mut sealer, mut opener) = ends();
        let authentic = sealer.data(b"abc");
        for at in 0..authentic.len() {
            let mut forged = authentic.to_vec();
            forged[at] ^= 1;
            assert_eq!(opener.open(&forged.into()), Err(ChunkError::Forged), "byte {at}");
        }
        for short in [Bytes::new(), authentic.slice(..31), authentic.slice(..32), authentic.slice(1..)] {
            assert_eq!(opener.open(&short), Err(ChunkError::Forged));
        }
        assert_eq!(opener.open(&authentic), Ok(Chunk::Data("abc".into())));
    }

    #[test]
    fn a_chunk_of_the_other_direction_is_forged() {
        let (_, mut opener) = ends();
        assert_eq!(opener.open(&ChunkSealer::new(key(b"two")).data(b"abc")), Err(ChunkError::Forged));
    }

    #[test]
    fn a_replayed_chunk_and_a_missing_one_are_distinguished() {
        let (mut sealer, mut opener) = ends();
        let (first, _second, third) = (sealer.data(b"1"), sealer.data(b"2"), sealer.data(b"3"));
        assert_eq!(opener.open(&first), Ok(Chunk::Data("1".into())));
        assert_eq!(opener.open(&first), Err(ChunkError::Replayed(0)));
        assert_eq!(opener.open(&third), Err(ChunkError::Gap { expected: 1, found: 2 }));
    }

    #[test]
    fn an_authentic_chunk_without_a_known_content_is_unreadable() {
        let (mut sealer, mut opener) = ends();
        assert_eq!(opener.open(&sealer.seal(9, b"")), Err(ChunkError::Unreadable));
        let (mut sealer, mut opener) = ends();
        assert_eq!(opener.open(&sealer.seal(CREDIT, b"abc")), Err(ChunkError::Unreadable));
    }
}
