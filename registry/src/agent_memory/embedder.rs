//! Vectors of texts. The embedded way needs no key and no network: it counts words and pieces of
//! words, so that texts with words in common lie near each other. It knows no synonyms, and never
//! pretends to. A model's vectors come from an implementation elsewhere, behind the same trait.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::Cause;

/// Numbers of a vector of the embedded embedder.
pub const DIMENSIONS: usize = 256;
/// Letters of a piece of a word.
const PIECE_CHARS: usize = 4;
/// How much a whole word counts, where a piece of one counts 1.
const WORD_WEIGHT: f32 = 2.0;

/// Makes a vector of a text. Vectors have the length one, so that their product is their likeness;
/// that of a text without a word is all zero, and like nothing.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The vector of a text; the same for the same text.
    ///
    /// # Errors
    /// What a model behind it says; the embedded one never fails.
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

/// Words and their pieces, each added to or taken from the place that its hash names; a word that is
/// repeated counts less each time, so that a long text is not all about its commonest word.
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
    let place = usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0);
    // Words that share a place cancel out as often as they add up.
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    if let Some(count) = counts.get_mut(place) {
        *count += sign;
    }
}

/// FNV-1a, mixed at its end: kept vectors must mean the same in every release.
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

    fn alike(one: &str, other: &str) -> f32 {
        similarity(&vector(one), &vector(other)).unwrap()
    }

    #[test]
    fn texts_with_words_in_common_are_alike_and_others_are_not() {
        let asked = "revenue of the northern region in the fourth quarter";
        assert!((alike(asked, asked) - 1.0).abs() < 1e-5);
        let near = alike(asked, "Northern region: revenue rose in the fourth quarter.");
        let far = alike(asked, "a recipe for soup with potatoes and leek");
        assert!(near > 0.5, "{near}");
        assert!(far < 0.25, "{far}");
        assert!(alike("quarterly reports", "quarter report") > 0.25, "pieces of words count");
    }

    #[test]
    fn a_text_without_a_word_is_like_nothing() {
        for nothing in ["", "  \n", "…!?"] {
            assert!(alike(nothing, nothing).abs() < 1e-6);
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
