//! The version that the author of a definition gives it: a semantic version.

use super::{Decoder, text};
use crate::problem::ProblemKind;
use crate::yaml::{Node, NodeValue};

pub(super) fn version(decoder: &mut Decoder, node: &Node) -> Option<String> {
    if let NodeValue::Number(number) = &node.value {
        let expected = format!("a semantic version is a text: put it in quotes, {}", example(&number.text));
        decoder.error(node.at, ProblemKind::WrongType, format!("found the number {}", number.text), expected);
        return None;
    }
    let text = text(decoder, node)?;
    match semver::Version::parse(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            let found = format!("{text:?} is not a semantic version: {error}");
            let expected = format!("a version is MAJOR.MINOR.PATCH, {}", example(&text));
            decoder.error(node.at, ProblemKind::InvalidValue, found, expected);
            None
        }
    }
}

/// Completes a version of one or two numbers: `such as "1.10.0"`.
fn example(text: &str) -> String {
    let padded = match text.trim_start_matches(['v', 'V']) {
        short if semver::Version::parse(short).is_ok() => short.to_owned(),
        short if semver::Version::parse(&format!("{short}.0")).is_ok() => format!("{short}.0"),
        short if semver::Version::parse(&format!("{short}.0.0")).is_ok() => format!("{short}.0.0"),
        _ => "1.0.0".to_owned(),
    };
    format!("such as \"{padded}\"")
}
