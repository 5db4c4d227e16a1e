//! Chunks that are checked while they are read: their number of bytes, and the hash if they are the whole artifact.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use greenroom_protocol::{ContentHash, ContentHasher};

use crate::artifacts::ArtifactError;
use crate::error::StoreError;

struct VerifiedChunks {
    chunks: BoxStream<'static, Result<Bytes, StoreError>>,
    hash: ContentHash,
    /// Bytes that have not arrived yet.
    missing: u64,
    /// `None` if the chunks are a part of the artifact, or were found to be the whole.
    hasher: Option<ContentHasher>,
}

/// The chunks of a range of `length` bytes of an artifact. The last one of a whole artifact arrives only if the hash is
/// right.
pub(super) fn verify_chunks(
    chunks: BoxStream<'static, Result<Bytes, StoreError>>,
    hash: ContentHash,
    length: u64,
    is_whole: bool,
) -> BoxStream<'static, Result<Bytes, ArtifactError>> {
    let hasher = is_whole.then(ContentHasher::default);
    let state = VerifiedChunks { chunks, hash, missing: length, hasher };
    let next = |mut state: VerifiedChunks| async move {
        let next = state.next().await;
        next.map(|chunk| chunk.map(|chunk| (chunk, state)))
    };
    stream::try_unfold(state, next).boxed()
}

impl VerifiedChunks {
    async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        let chunk = self.chunks.next().await.transpose()?;
        if let Some(chunk) = &chunk {
            self.missing = self.missing.checked_sub(chunk.len() as u64).ok_or_else(|| self.damaged())?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(chunk);
            }
        }
        match (&chunk, self.missing) {
            (None, 1..) => return Err(self.damaged()),
            (_, 0) => {
                if self.hasher.take().is_some_and(|hasher| hasher.finish() != self.hash) {
                    return Err(self.damaged());
                }
            }
            (Some(_), 1..) => {}
        }
        Ok(chunk)
    }

    const fn damaged(&self) -> ArtifactError {
        ArtifactError::Damaged { hash: self.hash }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn read(chunks: &[&'static [u8]], length: u64, is_whole: bool) -> Result<Vec<Bytes>, ArtifactError> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        verify_chunks(stream::iter(chunks).boxed(), ContentHash::from_content(b"abcd"), length, is_whole)
            .try_collect()
            .await
    }

    #[tokio::test]
    async fn the_whole_has_its_hash_and_a_part_its_length() {
        let whole: &[&'static [u8]] = &[b"ab", b"", b"cd", b""];
        assert_eq!(read(whole, 4, true).await.unwrap().concat(), b"abcd");
        assert_eq!(read(&[b"cd"], 2, false).await.unwrap().concat(), b"cd");
        assert!(read(&[], 0, false).await.unwrap().is_empty());
        let damaged: [(&[&'static [u8]], u64, bool); 6] = [
            (&[b"ab", b"ce"], 4, true),
            (&[b"ab"], 4, true),
            (&[b"abcd", b"e"], 4, true),
            (&[], 0, true),
            (&[b"c"], 2, false),
            (&[b"cde"], 2, false),
        ];
        for (chunks, length, is_whole) in damaged {
            let error = read(chunks, length, is_whole).await.unwrap_err();
            assert!(matches!(error, ArtifactError::Damaged { .. }), "{chunks:?} of {length}");
        }
    }

    #[tokio::test]
    async fn the_last_chunk_of_a_damaged_artifact_does_not_arrive() {
        let chunks: [Result<Bytes, StoreError>; 2] = [Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"ce"))];
        let chunks = verify_chunks(stream::iter(chunks).boxed(), ContentHash::from_content(b"abcd"), 4, true);
        let arrived: Vec<_> = chunks.collect().await;
        assert!(matches!(arrived.as_slice(), [Ok(first), Err(ArtifactError::Damaged { .. })] if first == "ab"));
    }
}
