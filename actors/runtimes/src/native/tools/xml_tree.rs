//! A small document of XML as a tree, with bounds. Prefixes of names are dropped, and a document type is rejected, so
//! that no entity of its own can grow.

use greenroom_protocol::Cause;
use quick_xml::Reader;
use quick_xml::escape;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::computation::{invalid, too_large};

/// Maximum nesting of elements.
const DEPTH_MAX: usize = 32;
/// Maximum elements of a document.
const ELEMENTS_MAX: usize = 50_000;
/// Maximum attributes of an element.
const ATTRIBUTES_MAX: usize = 50;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first element below this one by the names on the way to it.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Self> {
        match path {
            [] => Some(self),
            [name, rest @ ..] => self.all(name).find_map(|child| child.find(rest)),
        }
    }

    /// Each child of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first element by its path; `None` if it is empty.
    pub(super) fn text(&self, path: &[&str]) -> Option<String> {
        let text = self.find(path)?.text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses a document.
///
/// # Errors
/// `invalid_input` with the position if it is no well-formed XML or has a document type; `payload_too_large`.
pub(super) fn parse(text: &str) -> Result<Element, Cause> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    let mut count = 0;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| invalid(format!("the XML cannot be read at byte {}: {error}", reader.error_position())))?;
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() > DEPTH_MAX || count > ELEMENTS_MAX {
                    return Err(too_large(format!("XML has at most {ELEMENTS_MAX} elements, {DEPTH_MAX} deep")));
                }
                open.push(element_of(&start));
            }
            Event::Empty(start) => {
                count += 1;
                if count > ELEMENTS_MAX {
                    return Err(too_large(format!("XML has at most {ELEMENTS_MAX} elements")));
                }
                close(&mut open, element_of(&start));
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(&mut open, element);
                }
            }
            Event::Text(part) => append(&mut open, &part),
            Event::CData(part) => append(&mut open, &part),
            Event::GeneralRef(reference) => append(&mut open, &resolve(&reference)?),
            Event::DocType(_) => return Err(invalid("XML with a document type is not read")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let mut root = match (open.pop(), open.is_empty()) {
        (Some(root), true) => root,
        (Some(_) | None, _) => return Err(invalid("an element of the XML is not closed")),
    };
    if root.children.len() != 1 {
        return Err(invalid("the text is no XML document with one root"));
    }
    root.children.pop().ok_or_else(|| invalid("the XML has no element"))
}

fn element_of(start: &BytesStart<'_>) -> Element {
    let name = start.local_name().as_ref().to_owned();
    let mut raw = start.attributes();
    let attributes = raw.with_checks(false).flatten().take(ATTRIBUTES_MAX).map(|attribute| {
        let value = escape::unescape(&attribute.value).map(std::borrow::Cow::into_owned).unwrap_or_default();
        (attribute.key.local_name().as_ref().to_owned(), value)
    });
    Element { name, attributes: attributes.collect(), ..Element::default() }
}

fn close(open: &mut [Element], element: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(element);
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// The text of a reference: a character, or one of the five entities of XML.
fn resolve(reference: &BytesRef<'_>) -> Result<String, Cause> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| invalid(error.to_string()))? {
        return Ok(character.to_string());
    }
    let name: &str = reference;
    match name {
        "amp" => Ok("&".to_owned()),
        "lt" => Ok("<".to_owned()),
        "gt" => Ok(">".to_owned()),
        "quot" => Ok("\"".to_owned()),
        "apos" => Ok("'".to_owned()),
        other => Err(invalid(format!("the XML has the unknown entity `{other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::parse;

    #[test]
    fn elements_are_found_by_their_local_names() {
        let root =
            parse("<a:r xmlns:a='u'><a:b k='1 &amp; 2'>x &lt; <![CDATA[<y>]]>&#65;</a:b><c/><b>z</b></a:r>").unwrap();
        assert_eq!(root.name, "r");
        let first = root.find(&["b"]).unwrap();
        assert_eq!((root.text(&["b"]).unwrap().as_str(), first.attribute("k")), ("x < <y>A", Some("1 & 2")));
        assert_eq!((root.all("b").count(), root.text(&["c"])), (2, None));
    }

    #[test]
    fn hostile_documents_are_rejected() {
        let deep = "<a>".repeat(10_000);
        let many = format!("<r>{}</r>", "<a/>".repeat(50_001));
        let bomb = "<!DOCTYPE a [<!ENTITY x 'y'><!ENTITY z '&x;&x;'>]><a>&z;</a>";
        for (text, code) in [
            (deep.as_str(), ErrorCode::PayloadTooLarge),
            (many.as_str(), ErrorCode::PayloadTooLarge),
            (bomb, ErrorCode::InvalidInput),
            ("<a>&z;</a>", ErrorCode::InvalidInput),
            ("<a><b></a>", ErrorCode::InvalidInput),
            ("<a>", ErrorCode::InvalidInput),
            ("", ErrorCode::InvalidInput),
            ("text", ErrorCode::InvalidInput),
        ] {
            assert_eq!(parse(text).unwrap_err().code, code, "{:?}", text.get(..40.min(text.len())));
        }
    }
}
