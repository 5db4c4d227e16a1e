//! Vectors of texts. The embedded embedder needs no key and no network: it hashes words and pieces of
//! words, so that texts with words in common have similar vectors. It knows no synonyms. Embedders
//! that use a model are other implementations of the same trait.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::Cause;

use super::vector::UnitVector;
use crate::ledger::Reservation;

/// Dimensions of the vectors of the embedded embedder.
pub const DIMENSIONS: usize = 256;
/// Texts that the embedded embedder takes at once.
const BATCH_MAX: usize = 256;
/// Bytes of the id of an embedder.
const ID_BYTES_MAX: usize = 200;
/// The id of the embedded embedder. Rows of releases before this one have it too: the migrations name it.
const HASHED: &str = "hashed:1:256";
/// Characters in a piece of a word.
const PIECE_CHARS: usize = 4;
/// The weight of a whole word; a piece of a word has the weight 1.
const WORD_WEIGHT: f32 = 2.0;

/// Names what has computed a vector: the kind of the embedder, its model and the dimensions, such as
/// `openai:text-embedding-3-small:1536`. Vectors of different ids are never compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmbedderId(String);

impl EmbedderId {
    /// Creates the id of an embedder that uses a model.
    ///
    /// # Errors
    /// The problem, if the name of the model is empty or too long, or has characters that no model has.
    pub fn new(kind: &str, model: &str, dimensions: usize) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@' | '+');
        let id = format!("{kind}:{model}:{dimensions}");
        if model.is_empty() || !model.chars().all(is_plain) || id.len() > ID_BYTES_MAX {
            return Err(format!(
                "the name of a model has letters, digits and `.-_/:@+`, and at most about {ID_BYTES_MAX} of them"
            ));
        }
        Ok(Self(id))
    }

    /// The id of the embedded embedder.
    #[must_use]
    pub fn hashed() -> Self {
        Self(HASHED.to_owned())
    }

    /// The id as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmbedderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The vectors of several texts, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The vectors.
    pub vectors: Vec<UnitVector>,
    /// The tokens that the provider has counted; `None` if it has not.
    pub tokens: Option<u64>,
}

/// Computes the vectors of texts. The vector of a text without a word may be zero, and similar to nothing.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Its id, which is stored with each vector.
    fn id(&self) -> &EmbedderId;

    /// The dimensions of its vectors.
    fn dimensions(&self) -> usize;

    /// The texts of one call.
    fn batch_max(&self) -> usize;

    /// The model that a call is charged for, as `PROVIDER.NAME`; `None` if calls cost nothing. A call that is charged for
    /// needs a reservation.
    fn charged_model(&self) -> Option<&str>;

    /// True if texts leave this organization.
    fn is_external(&self) -> bool;

    /// Computes the vectors of texts, at most [`Embedder::batch_max`]; the same text has the same vector.
    ///
    /// # Errors
    /// The errors of the model, if there is one; the embedded embedder never fails.
    async fn embed(&self, texts: &[String], reservation: Option<&Reservation>) -> Result<Embeddings, Cause>;
}

/// The embedded embedder.
#[must_use]
pub fn hashing_embedder() -> Arc<dyn Embedder> {
    Arc::new(HashingEmbedder(EmbedderId::hashed()))
}

struct HashingEmbedder(EmbedderId);

#[async_trait]
impl Embedder for HashingEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.0
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn charged_model(&self) -> Option<&str> {
        None
    }

    fn is_external(&self) -> bool {
        false
    }

    async fn embed(&self, texts: &[String], _reservation: Option<&Reservation>) -> Result<Embeddings, Cause> {
        Ok(Embeddings { vectors: texts.iter().map(|text| hashed_vector(text)).collect(), tokens: None })
    }
}

/// Computes the vector of a text by hashing. It adds each word and its pieces to the dimension that its hash selects, with
/// a sign that the hash selects. The square root dampens repeated words, so that the commonest word does not dominate a
/// long text.
#[must_use]
pub fn hashed_vector(text: &str) -> UnitVector {
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
    let dampened = counts.iter().map(|count| count.signum() * count.abs().sqrt()).collect();
    // The counts are finite, so there always is a vector.
    UnitVector::normalized(dampened).unwrap_or_else(UnitVector::zero)
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
    use crate::agent_memory::vector::similarity;

    fn similarity_of(one: &str, other: &str) -> f32 {
        similarity(hashed_vector(one).as_slice(), hashed_vector(other).as_slice()).unwrap()
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
            let found = hashed_vector(text);
            assert_eq!(found.dimensions(), DIMENSIONS);
            assert!((similarity_of(text, text) - 1.0).abs() < 1e-4, "{}", text.len());
            assert_eq!(found, hashed_vector(text));
        }
        assert_eq!(fnv(b'w', b"quarter"), fnv(b'w', b"quarter"));
    }

    #[test]
    fn an_id_has_the_model_and_the_dimensions() {
        assert_eq!(
            EmbedderId::new("openai", "text-embedding-3-small", 1536).unwrap().as_str(),
            "openai:text-embedding-3-small:1536"
        );
        assert!(EmbedderId::new("ollama", "library/nomic-embed-text:v1.5", 768).is_ok());
        for wrong in ["", "a b", "é", "x".repeat(300).as_str()] {
            assert!(EmbedderId::new("openai", wrong, 8).unwrap_err().contains("name of a model"), "{wrong}");
        }
    }
}
