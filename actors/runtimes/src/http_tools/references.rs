//! Follows the references within a document. A reference to another document has no target: nothing is fetched for it.

use greenroom_protocol::Json;

/// References that lead from one to the next.
const HOPS_MAX: usize = 8;

/// The value itself, or what its `$ref` leads to; `None` for a reference that leads nowhere or in a circle.
pub(super) fn resolve<'a>(root: &'a Json, value: &'a Json) -> Option<&'a Json> {
    let mut value = value;
    for _ in 0..=HOPS_MAX {
        let Some(reference) = value.get("$ref").and_then(Json::as_str) else { return Some(value) };
        value = target(root, reference)?;
    }
    None
}

/// What a reference names: a JSON pointer after `#`, whose parts may be percent-encoded.
pub(super) fn target<'a>(root: &'a Json, reference: &str) -> Option<&'a Json> {
    let pointer = reference.strip_prefix('#')?;
    let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
    root.pointer(&pointer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_followed_within_the_document_only() {
        let root = json!({
            "a": { "$ref": "#/b" }, "b": { "$ref": "#/c~1d/%7Bx%7D" }, "c/d": { "{x}": { "type": "string" } },
            "circle": { "$ref": "#/circle" }, "one": { "$ref": "#/two" }, "two": { "$ref": "#/one" },
        });
        let found = |reference: &str| resolve(&root, &json!({ "$ref": reference })).cloned();
        assert_eq!(found("#/a"), Some(json!({ "type": "string" })));
        for reference in
            ["#/none", "#/circle", "#/one", "other.yaml#/a", "https://example.com/x.json", "/etc/passwd", "#a", "#/%ff"]
        {
            assert_eq!(found(reference), None, "{reference}");
        }
        assert_eq!(resolve(&root, &json!(1)), Some(&json!(1)));
    }
}
