//! Vectors of texts. The embedded embedder needs no key and no network: it hashes words and pieces of
//! words, so that texts with words in common have similar vectors. It knows no synonyms. An embedder
//! that uses a model is another implementation of the same trait.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::Cause;

/// Dimensions of the vectors of the embedded embedder.
pub const DIMENSIONS: usize = 256;
/// Characters in a piece of a word.
const PIECE_CHARS: usize = 4;
/// The weight of a whole word; a piece of a word has the weight 1.
const WORD_WEIGHT: f32 = 2.0;

/// Computes the vector of a text. Vectors have the length one, so that their dot product is their
/// similarity. The vector of a text without a word is zero, and similar to nothing.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Computes the vector of a text; the same text always has the same vector.
    ///
    /// # Errors
    /// The errors of the model, if there is one; the embedded embedder never fails.
    async fn embed(&self, text: &str) -> Result<Vec<f32>, Cause>;
}

/// The embedded embedder.
#[must_use]
pub fn hashing_embedder() -> Arc<dyn Embedder> {
    Arc::new(HashingEmbedder)
}

struct HashingEmbedder;

#[async_trait]
impl Embedder for HashingEmbedder {
    async fn embed(&self, text: &str) -> Result<Vec<f32>, Cause> {
        Ok(vector(text))
    }
}

/// Adds each word and its pieces to the dimension that its hash selects, with a sign that the hash
/// selects. The square root dampens repeated words, so that the commonest word does not dominate a long
/// text.
fn vector(text: &str) -> Vec<f32> {
    let mut counts = [0.0_f32; DIMENSIONS];
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        add(&mut counts, word.as_bytes(), b'w', WORD_WEIGHT);
        let ends: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
        for piece in ends.windows(PIECE_CHARS + 1) {
            if let (Some(from), Some(to)) = (piece.first(), piece.last()) {
                add(&mut counts, word.get(*from..*to).unwrap_or_default().as_bytes(), b'p', 1.0);
            }
        }
    }
    let mut vector: Vec<f32> = counts.iter().map(|count| count.signum() * count.abs().sqrt()).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    vector
}

fn add(counts: &mut [f32; DIMENSIONS], bytes: &[u8], kind: u8, weight: f32) {
    let hash = fnv(kind, bytes);
    let dimension = usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0);
    // Words that share a dimension cancel out as often as they add up.
    let signed_weight = if hash >> 63 == 0 { weight } else { -weight };
    if let Some(count) = counts.get_mut(dimension) {
        *count += signed_weight;
    }
}

/// FNV-1a with a final mix. It must not change: stored vectors must remain comparable.
fn fnv(kind: u8, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(step(0xcbf2_9ce4_8422_2325, kind), |hash, byte| step(hash, *byte));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_memory::similarity;

    fn similarity_of(one: &str, other: &str) -> f32 {
        similarity(&vector(one), &vector(other)).unwrap()
    }

    #[test]
    fn texts_with_words_in_common_are_similar_and_others_are_not() {
        let query = "revenue of the northern region in the fourth quarter";
        assert!((similarity_of(query, query) - 1.0).abs() < 1e-5);
        let similar = similarity_of(query, "Northern region: revenue rose in the fourth quarter.");
        let different = similarity_of(query, "a recipe for soup with potatoes and leek");
        assert!(similar > 0.5, "{similar}");
        assert!(different < 0.25, "{different}");
        assert!(similarity_of("quarterly reports", "quarter report") > 0.25, "pieces of words count");
    }

    #[test]
    fn a_text_without_a_word_is_similar_to_nothing() {
        for nothing in ["", "  \n", "…!?"] {
            assert!(similarity_of(nothing, nothing).abs() < 1e-6);
        }
    }

    #[test]
    fn any_text_has_a_vector_of_length_one_and_always_the_same() {
        for text in ["a", "ß", "日本語のテキスト", "x".repeat(100_000).as_str(), "naïve café"] {
            let found = vector(text);
            assert_eq!(found.len(), DIMENSIONS);
            assert!((similarity(&found, &found).unwrap() - 1.0).abs() < 1e-4, "{}", text.len());
            assert_eq!(found, vector(text));
        }
        assert_eq!(fnv(b'w', b"quarter"), fnv(b'w', b"quarter"));
    }

    #[test]
    fn vectors_of_different_lengths_are_not_compared() {
        assert_eq!(similarity(&[1.0], &[1.0, 0.0]), None);
    }
}
