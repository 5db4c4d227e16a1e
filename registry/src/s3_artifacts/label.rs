//! What other programs see of an object: its media type, so that a browser shows it as what it is, and its name. The
//! store reads neither; the record that references an artifact has them.

use std::fmt::Write;

use object_store::{Attribute, Attributes};

use crate::artifacts::objects::Label;

/// The media type of content whose own one is no header.
const OCTETS: &str = "application/octet-stream";
/// The name of the metadata with the name of the artifact.
const NAME: &str = "name";

/// The attributes of an object. A header has visible ASCII characters only, so others are escaped.
pub(super) fn attributes(label: &Label) -> Attributes {
    let media_type = if is_header(&label.media_type) { label.media_type.clone() } else { OCTETS.to_owned() };
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, media_type.into());
    attributes.insert(Attribute::Metadata(NAME.into()), escape(&label.name).into());
    attributes
}

/// True for words of visible ASCII characters with one space between two of them: a signature covers no other spaces.
fn is_header(text: &str) -> bool {
    text.split(' ').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// The text with every other byte, and `%` itself, as `%` and two digits.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_valid_header_whatever_it_contains() {
        for (media_type, name, header, escaped) in [
            ("text/csv", "sales.csv", "text/csv", "sales.csv"),
            (
                "text/plain; charset=utf-8",
                "Übersicht 100%.txt",
                "text/plain; charset=utf-8",
                "%C3%9Cbersicht%20100%25.txt",
            ),
            ("text/ümlaut", " x", OCTETS, "%20x"),
            ("text/plain;  a", "x ", OCTETS, "x%20"),
        ] {
            let label = Label { media_type: media_type.to_owned(), name: name.to_owned() };
            let attributes = attributes(&label);
            assert_eq!(attributes.get(&Attribute::ContentType).map(AsRef::as_ref), Some(header));
            assert_eq!(attributes.get(&Attribute::Metadata(NAME.into())).map(AsRef::as_ref), Some(escaped));
        }
    }
}
