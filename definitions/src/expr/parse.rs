//! Text → [`Expr`]: the grammar of `${…}`.

use greenroom_protocol::{Json, StepId};

use super::{Expr, Reference, ReferenceRoot, Segment, TextPart};
use crate::problem::did_you_mean;

/// The roots of references.
const ROOTS: &[&str] = &["inputs", "context", "steps", "item", "index"];
/// Segments of one reference.
const SEGMENTS_MAX: usize = 32;

pub(super) fn text(text: &str) -> Result<Expr, String> {
    let mut parts: Vec<TextPart> = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = rest.get(..at).unwrap_or_default();
        let after_brace = rest.get(at + 2..).unwrap_or_default();
        if let Some(escaped) = before.strip_suffix('$') {
            plain.push_str(escaped);
            plain.push_str("${");
            rest = after_brace;
            continue;
        }
        plain.push_str(before);
        if !plain.is_empty() {
            parts.push(TextPart::Text(std::mem::take(&mut plain)));
        }
        let (inside, after) = after_brace
            .split_once('}')
            .ok_or_else(|| format!("the reference `${{{after_brace}` has no closing brace"))?;
        parts.push(TextPart::Reference(reference(inside.trim())?));
        rest = after;
    }
    plain.push_str(rest);
    if parts.is_empty() {
        return Ok(Expr::Literal(Json::String(plain)));
    }
    if !plain.is_empty() {
        parts.push(TextPart::Text(plain));
    }
    match parts.pop() {
        Some(TextPart::Reference(reference)) if parts.is_empty() => Ok(Expr::Reference(reference)),
        Some(last) => {
            parts.push(last);
            Ok(Expr::Text(parts))
        }
        None => Ok(Expr::Text(parts)),
    }
}

pub(super) fn reference(text: &str) -> Result<Reference, String> {
    let invalid = |message: String| format!("the reference `${{{text}}}` {message}");
    let segments = segments(text).map_err(&invalid)?;
    let mut path = segments.into_iter();
    let root = match path.next() {
        Some(Segment::Name(name)) => name,
        Some(Segment::Index(_)) | None => return Err(invalid("is empty".into())),
    };
    let root = match root.as_str() {
        "inputs" => ReferenceRoot::Inputs,
        "context" => ReferenceRoot::Context,
        "item" => ReferenceRoot::Item,
        "index" => ReferenceRoot::Index,
        "steps" => step(&mut path).map_err(&invalid)?,
        other => {
            let hint = did_you_mean(other, ROOTS.iter().copied()).unwrap_or_default();
            return Err(invalid(format!("begins with `{other}`{hint}; it may begin with {}", ROOTS.join(", "))));
        }
    };
    let path: Vec<Segment> = path.collect();
    match (&root, path.first()) {
        (ReferenceRoot::Inputs | ReferenceRoot::Context | ReferenceRoot::Step(_), Some(Segment::Index(_))) => {
            Err(invalid("has a number where a name is required".into()))
        }
        (ReferenceRoot::Index, Some(_)) => Err(invalid("accesses a member of a number".into())),
        (
            ReferenceRoot::Inputs
            | ReferenceRoot::Context
            | ReferenceRoot::Step(_)
            | ReferenceRoot::Item
            | ReferenceRoot::Index,
            _,
        ) => Ok(Reference { root, path }),
    }
}

fn step(path: &mut impl Iterator<Item = Segment>) -> Result<ReferenceRoot, String> {
    let Some(Segment::Name(id)) = path.next() else {
        return Err("names no step; write `steps.STEP.outputs.NAME`".into());
    };
    match path.next() {
        Some(Segment::Name(outputs)) if outputs == "outputs" => {}
        Some(Segment::Name(_) | Segment::Index(_)) | None => {
            return Err(format!("must continue with `outputs` after `steps.{id}`"));
        }
    }
    StepId::new(&id).map(ReferenceRoot::Step).map_err(|error| error.to_string())
}

/// Splits `a.b[3].c`.
fn segments(text: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if segments.len() == SEGMENTS_MAX {
            return Err(format!("has more than {SEGMENTS_MAX} parts"));
        }
        rest = if let Some(inside) = rest.strip_prefix('[') {
            let (number, after_brace) = inside.split_once(']').ok_or("has a `[` without a `]`")?;
            let index = number.trim().parse().map_err(|_| format!("has `{number}` where a number is required"))?;
            segments.push(Segment::Index(index));
            after_brace
        } else {
            let name_at = if segments.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
            let from = name_at.ok_or_else(|| format!("cannot be parsed at `{rest}`"))?;
            let end = from.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(from.len());
            let (name, after_brace) = from.split_at_checked(end).unwrap_or((from, ""));
            if name.is_empty() {
                return Err(if from.is_empty() {
                    "ends with a dot".into()
                } else {
                    format!("cannot be parsed at `{from}`")
                });
            }
            segments.push(Segment::Name(name.to_owned()));
            after_brace
        };
    }
    Ok(segments)
}
