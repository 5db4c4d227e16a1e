//! Compares values as assertions do.

use greenroom_protocol::Json;

/// True if two values are equal; 1 and 1.0 are.
#[must_use]
pub fn is_equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_equal(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| is_equal(value, other)))
        }
        _ => left == right,
    }
}

/// The texts, numbers and truth values in a value, each as text.
pub(super) fn texts_in(value: &Json) -> Vec<String> {
    let mut texts = Vec::new();
    let mut queue = vec![value];
    while let Some(next) = queue.pop() {
        match next {
            Json::String(text) => texts.push(text.clone()),
            Json::Number(number) => texts.push(number.to_string()),
            Json::Bool(truth) => texts.push(truth.to_string()),
            Json::Array(items) => queue.extend(items),
            Json::Object(members) => queue.extend(members.values()),
            Json::Null => {}
        }
    }
    texts
}

/// A text in lower case, in which each run of white space is one space.
pub(super) fn folded(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
