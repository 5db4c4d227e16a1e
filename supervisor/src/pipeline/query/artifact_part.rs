//! A part of an artifact as Base64, encoded chunk by chunk, so that its bytes and its text are not in memory together.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use greenroom_registry::artifacts::{ArtifactContent, ArtifactError};

/// Bytes that Base64 encodes together.
const GROUP_BYTES: usize = 3;

/// Reads all chunks of a range whose length the caller has bounded, as Base64 with padding.
///
/// # Errors
/// Those of the chunks.
pub(super) async fn read_base64(mut content: ArtifactContent) -> Result<String, ArtifactError> {
    let bytes = usize::try_from(content.range.end.saturating_sub(content.range.start)).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(base64::encoded_len(bytes, true).unwrap_or_default());
    // The bytes of a group whose others are in the next chunk.
    let mut group = Vec::with_capacity(GROUP_BYTES);
    while let Some(chunk) = content.chunks.next().await.transpose()? {
        let missing = if group.is_empty() { 0 } else { GROUP_BYTES.saturating_sub(group.len()) };
        let (first, chunk) = chunk.split_at(missing.min(chunk.len()));
        group.extend_from_slice(first);
        if group.len() == GROUP_BYTES {
            STANDARD.encode_string(&group, &mut text);
            group.clear();
        }
        let (whole_groups, rest) = chunk.split_at(chunk.len().saturating_sub(chunk.len() % GROUP_BYTES));
        STANDARD.encode_string(whole_groups, &mut text);
        group.extend_from_slice(rest);
    }
    STANDARD.encode_string(&group, &mut text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    fn content_of(chunks: Vec<Result<Bytes, ArtifactError>>) -> ArtifactContent {
        let bytes = chunks.iter().flatten().map(|chunk| chunk.len() as u64).sum();
        ArtifactContent { bytes, range: 0..bytes, chunks: stream::iter(chunks).boxed() }
    }

    #[tokio::test]
    async fn the_text_is_the_same_wherever_the_chunks_end() {
        let content: Vec<u8> = (0..=40).collect();
        for length in 0..content.len() {
            for chunk_length in 1..=8 {
                let content = &content[..length];
                let chunks = content.chunks(chunk_length).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
                let text = read_base64(content_of(chunks)).await.unwrap();
                assert_eq!(text, STANDARD.encode(content), "{length} bytes in chunks of {chunk_length}");
            }
        }
    }

    #[tokio::test]
    async fn an_error_of_a_chunk_is_that_of_the_part() {
        let chunks = vec![Ok(Bytes::from_static(b"ab")), Err(ArtifactError::Label)];
        let error = read_base64(content_of(chunks)).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Label), "{error:?}");
    }
}
