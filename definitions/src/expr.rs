//! `${…}`: values that refer to a run's inputs, its context and the outputs of other steps.
//!
//! A reference that is the whole text keeps the JSON type of its value; inside a longer text it is
//! rendered. `$${` escapes `${`. Expressions are parsed when the workflow is loaded.
//!
//! A value of a skipped step is *absent*. So is a text with such a value in it, because a text with a hole is no text,
//! and a list or object all of whose steps were skipped. What is absent leaves an input out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use greenroom_protocol::{Json, StepId, Values};

use crate::bounds::{NESTING_MAX, TEMPLATE_BYTES_MAX};
use crate::scope::Scope;

mod gap;
mod parse;

/// The root of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceRoot {
    /// `${inputs…}`: the run's inputs.
    Inputs,
    /// `${context…}`: the run's context, with the run's inputs as fallback.
    Context,
    /// `${steps.ID.outputs…}`: the outputs of a step.
    Step(StepId),
    /// `${item…}`: the item of a `for_each`.
    Item,
    /// `${index}`: the index of the item, from 0.
    Index,
}

/// One segment of a reference after its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// `.name`
    Name(String),
    /// `[3]`
    Index(usize),
}

/// A parsed `${…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Its root.
    pub root: ReferenceRoot,
    /// The segments after the root.
    pub path: Vec<Segment>,
}

impl Reference {
    /// Resolves the reference in a scope; `None` if the value does not exist. A value is copied only if it is not in
    /// the scope as such.
    #[must_use]
    pub fn resolve<'s>(&self, scope: &Scope<'s>) -> Option<Cow<'s, Json>> {
        let rest = self.path.get(1..).unwrap_or_default();
        let whole =
            |values: &Values| Cow::Owned(values.iter().map(|(key, value)| (key.clone(), value.clone())).collect());
        let found = match (&self.root, self.name()) {
            (ReferenceRoot::Inputs, Some(name)) => value_at(scope.inputs.get(name)?, rest)?,
            (ReferenceRoot::Context, Some(name)) => {
                value_at(scope.context.get(name).or_else(|| scope.inputs.get(name))?, rest)?
            }
            (ReferenceRoot::Step(step), Some(name)) => value_at(scope.steps.get(step)?.get(name)?, rest)?,
            (ReferenceRoot::Inputs, None) => return Some(whole(scope.inputs)),
            (ReferenceRoot::Context, None) => return Some(whole(scope.context)),
            (ReferenceRoot::Step(step), None) => return scope.steps.get(step).map(whole),
            (ReferenceRoot::Item, _) => value_at(scope.item?, &self.path)?,
            (ReferenceRoot::Index, _) => return scope.index.map(|index| Cow::Owned(Json::from(index))),
        };
        Some(Cow::Borrowed(found))
    }

    /// The step to whose outputs it refers.
    #[must_use]
    pub const fn step(&self) -> Option<&StepId> {
        match &self.root {
            ReferenceRoot::Step(step) => Some(step),
            ReferenceRoot::Inputs | ReferenceRoot::Context | ReferenceRoot::Item | ReferenceRoot::Index => None,
        }
    }

    /// The first name after the root: the input, the context key or the step's output.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self.path.first()? {
            Segment::Name(name) => Some(name),
            Segment::Index(_) => None,
        }
    }
}

fn value_at<'a>(value: &'a Json, path: &[Segment]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Name(name) => value.get(name),
        Segment::Index(index) => value.get(index),
    })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            ReferenceRoot::Inputs => f.write_str("inputs")?,
            ReferenceRoot::Context => f.write_str("context")?,
            ReferenceRoot::Step(step) => write!(f, "steps.{step}.outputs")?,
            ReferenceRoot::Item => f.write_str("item")?,
            ReferenceRoot::Index => f.write_str("index")?,
        }
        for segment in &self.path {
            match segment {
                Segment::Name(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A part of a text with references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPart {
    /// Literal text.
    Text(String),
    /// A reference, which is rendered.
    Reference(Reference),
}

/// A parsed value with references.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A value without a reference.
    Literal(Json),
    /// A reference that is the whole text.
    Reference(Reference),
    /// A text with references.
    Text(Vec<TextPart>),
    /// A list.
    Array(Vec<Self>),
    /// Named values.
    Object(BTreeMap<String, Self>),
}

impl Expr {
    /// Parses a value as it is written.
    ///
    /// # Errors
    /// The message of the problem.
    pub fn parse(value: &Json) -> Result<Self, String> {
        Self::parse_at(value, 0)
    }

    fn parse_at(value: &Json, depth: usize) -> Result<Self, String> {
        if depth > NESTING_MAX {
            return Err(format!("the value is nested deeper than {NESTING_MAX}"));
        }
        match value {
            Json::String(text) if text.len() > TEMPLATE_BYTES_MAX && text.contains("${") => {
                Err(format!("the text has {} bytes, {TEMPLATE_BYTES_MAX} are allowed", text.len()))
            }
            Json::String(text) => parse::text(text),
            Json::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| Self::parse_at(item, depth + 1)).collect();
                items.map(Self::Array)
            }
            Json::Object(members) => {
                let parse = |(name, member): (&String, &Json)| Ok((name.clone(), Self::parse_at(member, depth + 1)?));
                members.iter().map(parse).collect::<Result<_, String>>().map(Self::Object)
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => Ok(Self::Literal(value.clone())),
        }
    }

    /// Evaluates the expression in a scope. `None` if it is absent, or a single reference without a value: such an
    /// input counts as missing. Inside a list such a reference is null, inside a text it is empty.
    #[must_use]
    pub fn evaluate(&self, scope: &Scope<'_>) -> Option<Json> {
        if self.is_absent(scope) {
            return None;
        }
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Reference(reference) => reference.resolve(scope).map(Cow::into_owned),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Text(plain) => text.push_str(plain),
                        TextPart::Reference(reference) => {
                            text.push_str(&reference.resolve(scope).map(|value| render(&value)).unwrap_or_default());
                        }
                    }
                }
                Some(Json::String(text))
            }
            Self::Array(items) => Some(items.iter().map(|item| item.evaluate(scope).unwrap_or(Json::Null)).collect()),
            Self::Object(members) => Some(
                members.iter().filter_map(|(name, member)| Some((name.clone(), member.evaluate(scope)?))).collect(),
            ),
        }
    }

    /// True if the expression is absent, because steps to which it refers were skipped: one of them, for a reference
    /// and a text; all of them, for a list and an object.
    #[must_use]
    pub fn is_absent(&self, scope: &Scope<'_>) -> bool {
        let is_skipped = |step: &StepId| !scope.steps.contains_key(step);
        match self {
            Self::Literal(_) => false,
            Self::Reference(reference) => reference.step().is_some_and(is_skipped),
            Self::Text(_) => self.references().into_iter().filter_map(Reference::step).any(is_skipped),
            Self::Array(_) | Self::Object(_) => {
                let references = self.references();
                let mut steps = references.into_iter().filter_map(Reference::step).peekable();
                steps.peek().is_some() && steps.all(is_skipped)
            }
        }
    }

    /// Every reference in the expression.
    pub fn references(&self) -> Vec<&Reference> {
        let mut references = Vec::new();
        let mut queue = vec![self];
        while let Some(next) = queue.pop() {
            match next {
                Self::Literal(_) => {}
                Self::Reference(reference) => references.push(reference),
                Self::Text(parts) => references.extend(parts.iter().filter_map(|part| match part {
                    TextPart::Text(_) => None,
                    TextPart::Reference(reference) => Some(reference),
                })),
                Self::Array(items) => queue.extend(items),
                Self::Object(members) => queue.extend(members.values()),
            }
        }
        references
    }
}

/// Renders a value inside a text: a text unchanged, null as nothing, any other value as compact JSON.
fn render(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
