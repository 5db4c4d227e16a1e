//! `native:find_duplicates`: groups records whose texts are equal or nearly so, by edit distance or by their words.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most, round_to, too_large};

/// Maximum records.
const RECORDS_MAX: usize = 1_000;
/// Maximum characters of the text of a record.
const TEXT_CHARS_MAX: usize = 1_000;
/// Maximum work: the product of the lengths of two texts, added up over all pairs.
const WORK_MAX: u64 = 400_000_000;
/// Maximum pairs of a result.
const PAIRS_MAX: usize = 200;

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[default]
    JaroWinkler,
    EditDistance,
    Words,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The records.
    records: Vec<Record>,
    /// Pairs of at least this similarity are duplicates: from 0 to 1, 0.9 if absent.
    #[serde(default = "usual_threshold")]
    threshold: f64,
    /// `jaro_winkler` for names, `edit_distance` for codes, `words` for sentences in any order of words.
    #[serde(default)]
    method: Method,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Record {
    /// What identifies the record in the result.
    id: String,
    /// What is compared: case, punctuation and white space do not count.
    text: String,
}

const fn usual_threshold() -> f64 {
    0.9
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    records: usize,
    /// Records that are connected by pairs of duplicates, in the order of the records.
    groups: Vec<Vec<String>>,
    /// The duplicates, the most similar first.
    pairs: Vec<Pair>,
    pairs_omitted: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pair {
    first: String,
    second: String,
    similarity: f64,
}

/// The tool.
pub(crate) struct FindDuplicates;

impl Computation for FindDuplicates {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "find_duplicates";
    const DESCRIPTION: &'static str = "Compares every record with every other and groups those whose texts are equal \
                                       or nearly so, with the similarity of each pair.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let Arguments { records, threshold, method } = arguments;
        require_at_most("records", records.len(), RECORDS_MAX)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(invalid("`threshold` is from 0 to 1"));
        }
        let texts: Vec<String> = records.iter().map(|record| normalize(&record.text)).collect();
        check_work(&texts)?;
        let mut groups = Groups { parents: (0..records.len()).collect() };
        let mut pairs = Vec::new();
        for (first, text) in texts.iter().enumerate() {
            for (second, other) in texts.iter().enumerate().skip(first + 1) {
                let similarity = method.compare(text, other);
                if similarity >= threshold {
                    groups.join(first, second);
                    pairs.push((similarity, first, second));
                }
            }
        }
        pairs.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2)));
        let id = |index: usize| records.get(index).map(|record| record.id.clone()).unwrap_or_default();
        let pairs_omitted = pairs.len().saturating_sub(PAIRS_MAX);
        Ok(Output {
            records: records.len(),
            groups: groups.members().iter().map(|group| group.iter().map(|index| id(*index)).collect()).collect(),
            pairs: pairs
                .into_iter()
                .take(PAIRS_MAX)
                .map(|(similarity, first, second)| Pair {
                    first: id(first),
                    second: id(second),
                    similarity: round_to(similarity, 3),
                })
                .collect(),
            pairs_omitted,
        })
    }
}

impl Method {
    fn compare(self, one: &str, other: &str) -> f64 {
        match self {
            Self::JaroWinkler => strsim::jaro_winkler(one, other),
            Self::EditDistance => strsim::normalized_levenshtein(one, other),
            Self::Words => compare_words(one, other),
        }
    }
}

/// The words that both texts have, of the words that one of them has.
fn compare_words(one: &str, other: &str) -> f64 {
    let (one, other): (BTreeSet<&str>, BTreeSet<&str>) = (one.split(' ').collect(), other.split(' ').collect());
    let shared = one.intersection(&other).count();
    let all = one.len() + other.len() - shared;
    shared as f64 / all.max(1) as f64
}

/// Lower case, with one space for each run of what is no letter and no digit.
fn normalize(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn check_work(texts: &[String]) -> Result<(), Cause> {
    let lengths: Vec<u64> = texts.iter().map(|text| text.chars().count() as u64).collect();
    if lengths.iter().any(|length| *length > TEXT_CHARS_MAX as u64) {
        return Err(too_large(format!("a text has at most {TEXT_CHARS_MAX} characters")));
    }
    let sum: u64 = lengths.iter().sum();
    let work = (sum * sum).saturating_sub(lengths.iter().map(|length| length * length).sum()) / 2;
    if work > WORK_MAX {
        return Err(too_large("the records are too many and too long to compare each with each: send fewer"));
    }
    Ok(())
}

/// Connected records: each has a parent, and the first of a group is its own.
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    fn first(&self, mut index: usize) -> usize {
        while let Some(parent) = self.parents.get(index).copied().filter(|parent| *parent != index) {
            index = parent;
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        if let Some(parent) = self.parents.get_mut(one.max(other)) {
            *parent = one.min(other);
        }
    }

    /// The groups of at least two.
    fn members(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); self.parents.len()];
        for index in 0..self.parents.len() {
            if let Some(group) = groups.get_mut(self.first(index)) {
                group.push(index);
            }
        }
        groups.into_iter().filter(|group| group.len() > 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::FindDuplicates;

    fn records(texts: &[&str]) -> Value {
        (1..).zip(texts).map(|(id, text): (u32, _)| json!({ "id": format!("r{id}"), "text": text })).collect()
    }

    #[test]
    fn records_are_grouped_by_similar_texts() {
        let output = compute_json::<FindDuplicates>(json!({
            "records": records(&["Northwind GmbH", "Contoso Ltd", "NORTHWIND  GmbH.", "Northwnd GmbH"])
        }))
        .unwrap();
        assert_eq!(output["groups"], json!([["r1", "r3", "r4"]]), "{output}");
        assert_eq!(output["pairs"][0], json!({ "first": "r1", "second": "r3", "similarity": 1.0 }));
    }

    #[test]
    fn each_method_has_its_measure() {
        let similarity = |method: &str, texts: &[&str]| {
            let arguments = json!({ "records": records(texts), "method": method, "threshold": 0 });
            compute_json::<FindDuplicates>(arguments).unwrap()["pairs"][0]["similarity"].clone()
        };
        assert_eq!(similarity("words", &["printer is broken", "broken printer"]), json!(0.667));
        assert_eq!(similarity("edit_distance", &["INV-100", "INV-101"]), json!(0.857));
        assert_eq!(similarity("jaro_winkler", &["", ""]), json!(1.0));
    }

    #[test]
    fn too_much_work_is_rejected() {
        let long = "a".repeat(900);
        for (arguments, code) in [
            (json!({ "records": records(&["a"]), "threshold": 2 }), ErrorCode::InvalidInput),
            (json!({ "records": records(&vec!["x"; 1_001]) }), ErrorCode::PayloadTooLarge),
            (json!({ "records": records(&vec![long.as_str(); 41]) }), ErrorCode::PayloadTooLarge),
            (json!({ "records": records(&["a".repeat(1_001).as_str()]) }), ErrorCode::PayloadTooLarge),
        ] {
            assert_eq!(compute_json::<FindDuplicates>(arguments).unwrap_err().code, code);
        }
    }
}
