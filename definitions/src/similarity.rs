//! How similar two texts are: the share of their sequences of five words that both have. Two agents whose texts share
//! many do one job, or one of them was copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use greenroom_protocol::AgentId;
use serde::Serialize;

use crate::agent::Agent;
use crate::catalogue::Catalogue;
use crate::snippet::without_includes;

/// Words of one sequence.
pub const SHINGLE_WORDS: usize = 5;
/// The similarity that two system prompts of the shipped catalogue stay below.
pub const PROMPT_SIMILARITY_MAX: f64 = 0.35;
/// The similarity that two descriptions of the shipped catalogue stay below.
pub const DESCRIPTION_SIMILARITY_MAX: f64 = 0.5;
/// Texts in which a sequence occurs before it is no sign of copying, but a phrase of the language. It bounds the work.
const OCCURRENCES_MAX: usize = 200;

/// The part of an agent that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedText {
    /// The system prompt without its snippets.
    SystemPrompt,
    /// The description.
    Description,
}

impl ComparedText {
    /// The similarity that two texts of this kind stay below.
    #[must_use]
    pub const fn limit(self) -> f64 {
        match self {
            Self::SystemPrompt => PROMPT_SIMILARITY_MAX,
            Self::Description => DESCRIPTION_SIMILARITY_MAX,
        }
    }

    fn read(self, agent: &Agent) -> String {
        let spec = agent.spec();
        match self {
            Self::Description => spec.description.clone(),
            Self::SystemPrompt => {
                let system = spec.implementation.prompt.as_ref().and_then(|prompt| prompt.system.as_deref());
                system.and_then(|text| without_includes(text).ok()).unwrap_or_default()
            }
        }
    }
}

/// Two agents with texts in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarPair {
    /// The similarity, from 0 to 1.
    pub similarity: f64,
    /// The agent whose id is first in the alphabet.
    pub one: AgentId,
    /// The other one.
    pub other: AgentId,
}

/// The most similar pairs of agents, at most `limit`, the most similar first. Pairs with nothing in common are left out.
#[must_use]
pub fn most_similar(catalogue: &Catalogue, text: ComparedText, limit: usize) -> Vec<SimilarPair> {
    let agents: Vec<(&AgentId, BTreeSet<Vec<String>>)> =
        catalogue.agents().map(|agent| (agent.id(), shingles(&text.read(agent)))).collect();
    let mut occurrences: HashMap<&[String], Vec<usize>> = HashMap::new();
    for (at, (_, shingles)) in agents.iter().enumerate() {
        for shingle in shingles {
            occurrences.entry(shingle.as_slice()).or_default().push(at);
        }
    }
    let mut common: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for found in occurrences.values().filter(|found| found.len() <= OCCURRENCES_MAX) {
        for (position, one) in found.iter().enumerate() {
            for other in found.iter().skip(position + 1) {
                *common.entry((*one, *other)).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<SimilarPair> = common
        .into_iter()
        .filter_map(|((one, other), shared)| {
            let ((one, of_one), (other, of_other)) = (agents.get(one)?, agents.get(other)?);
            let all = of_one.len() + of_other.len() - shared;
            Some(SimilarPair { similarity: ratio(shared, all), one: (*one).clone(), other: (*other).clone() })
        })
        .collect();
    pairs.sort_by(|left, right| {
        let by_similarity = right.similarity.total_cmp(&left.similarity);
        by_similarity.then_with(|| (&left.one, &left.other).cmp(&(&right.one, &right.other)))
    });
    pairs.truncate(limit);
    pairs
}

fn ratio(part: usize, whole: usize) -> f64 {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { count(part) / count(whole) }
}

/// The sequences of words of a text, in lower case and without marks. A shorter text is one sequence.
fn shingles(text: &str) -> BTreeSet<Vec<String>> {
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    if words.is_empty() {
        return BTreeSet::new();
    }
    words.windows(SHINGLE_WORDS.min(words.len())).map(<[String]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_by_sequences_of_words() {
        let one = shingles("Find the clauses, then quote THEM exactly.");
        assert_eq!(one.len(), 3);
        assert!(one.contains(["find", "the", "clauses", "then", "quote"].map(str::to_owned).as_slice()));
        assert_eq!(shingles("Two words").len(), 1);
        assert!(shingles(" - ").is_empty());
        assert_eq!(shingles("a b c d e a b c d e").len(), 5, "a sequence that occurs twice counts once");
    }
}
