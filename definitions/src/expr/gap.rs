//! Why an expression has no value, in the words of an error: the reference, and the part of it that does not exist.

use greenroom_protocol::Json;

use super::{Expr, Reference, Segment};
use crate::scope::Scope;

impl Expr {
    /// Describes the reference because of which the expression has no value. `None` if each of its references has one
    /// that is not null.
    #[must_use]
    pub fn describe_gap(&self, scope: &Scope<'_>) -> Option<String> {
        let references = self.references();
        // A skipped step leaves the whole expression out, any other gap only its own part.
        let is_skipped = |reference: &&&Reference| reference.step().is_some_and(|step| !scope.steps.contains_key(step));
        let skipped = references.iter().find(is_skipped);
        skipped.into_iter().chain(&references).find_map(|reference| {
            let reason = reference.describe_gap(scope)?;
            Some(format!("`${{{reference}}}` has no value, because {reason}"))
        })
    }
}

impl Reference {
    /// Describes why the reference has no value; `None` if it has one that is not null.
    fn describe_gap(&self, scope: &Scope<'_>) -> Option<String> {
        if self.resolve(scope).is_some_and(|value| !value.is_null()) {
            return None;
        }
        if let Some(step) = self.step().filter(|step| !scope.steps.contains_key(*step)) {
            return Some(format!("step `{step}` has no outputs"));
        }
        // The longest beginning that has a value lacks what follows.
        let beginnings = (0..=self.path.len()).rev().filter_map(|length| self.path.split_at_checked(length));
        let mut described = beginnings.filter_map(|(path, rest)| {
            let beginning = Self { root: self.root.clone(), path: path.to_vec() };
            let value = beginning.resolve(scope)?;
            Some(format!("`{beginning}` {}", describe_end(&value, rest.first())))
        });
        Some(described.next().unwrap_or_else(|| format!("there is no `{self}`")))
    }
}

/// Describes a value without such a member or item.
fn describe_end(value: &Json, next: Option<&Segment>) -> String {
    match (value, next) {
        (Json::Null, _) => "is null".to_owned(),
        (Json::Array(items), _) if items.is_empty() => "is an empty list".to_owned(),
        (Json::Array(items), Some(Segment::Index(_))) => {
            let noun = if items.len() == 1 { "item" } else { "items" };
            format!("has {} {noun}, counted from 0", items.len())
        }
        (Json::Array(_), _) => "is a list".to_owned(),
        (Json::Object(_), Some(Segment::Name(name))) => format!("has no `{name}`"),
        (Json::Object(_), _) => "is an object".to_owned(),
        (Json::String(_), _) => "is a text".to_owned(),
        (Json::Number(_), _) => "is a number".to_owned(),
        (Json::Bool(_), _) => "is true or false".to_owned(),
    }
}
