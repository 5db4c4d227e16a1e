//! Values in each location, and values that would be more than values.

use serde_json::json;

use super::super::operation;
use super::*;

const BASE: &str = "https://api.example/v1/";

/// An operation with these parameters, each of them a part of the path if it is in the path.
fn operation(parameters: Json, path: &str, body: Option<Json>) -> Operation {
    let mut declared = json!({ "operationId": "op", "parameters": parameters });
    if let Some(body) = body {
        declared["requestBody"] = body;
    }
    let root = json!({ "openapi": "3.0.0", "paths": { path: { "post": declared } } });
    operation::find(&root, Some(&["op".to_owned()])).unwrap().operations.remove("op").unwrap()
}

fn path_operation() -> Operation {
    let parameter = |name: &str| json!({ "name": name, "in": "path", "required": true });
    operation(json!([parameter("id"), parameter("part")]), "/orders/{id}/x-{part}", None)
}

fn encode_with(operation: &Operation, arguments: Json) -> Result<EncodedRequest, Cause> {
    encode(operation, &Url::parse(BASE).unwrap(), &serde_json::from_value(arguments).unwrap())
}

fn url_of(operation: &Operation, arguments: Json) -> String {
    encode_with(operation, arguments).unwrap().url.to_string()
}

#[test]
fn a_value_of_a_path_is_one_segment_whatever_it_has() {
    let operation = path_operation();
    let id = |id: &str| url_of(&operation, json!({ "id": id, "part": 1 }));
    let at = |segment: &str| format!("https://api.example/v1/orders/{segment}/x-1");
    assert_eq!(id("17"), at("17"));
    assert_eq!(id("a b"), at("a%20b"));
    assert_eq!(id("a..b/..c"), at("a..b%2F..c"));
    assert_eq!(id("./a\\b"), at(".%2Fa%5Cb"));
    assert_eq!(id("a/b?c=d#e"), at("a%2Fb%3Fc%3Dd%23e"));
    assert_eq!(id("%2e%2e"), at("%252e%252e"));
    assert_eq!(id("a\tb\nc"), at("a%09b%0Ac"));
    assert_eq!(id("\u{e4}"), at("%C3%A4"));
    assert_eq!(id("@evil.example:80"), at("%40evil.example%3A80"));
    assert_eq!(
        url_of(&operation, json!({ "id": ["a,b", 2], "part": true })),
        "https://api.example/v1/orders/a%2Cb,2/x-true"
    );
}

#[test]
fn a_value_that_leads_to_another_path_is_rejected() {
    let operation = path_operation();
    let up = ["../admin", "..\\admin", "a/../../b", "a/..", "/..", "..;x/admin", "%2e%2e%2fadmin", "%252e%252e/a"];
    for id in up.map(|id| json!(id)).into_iter().chain([json!(".."), json!("."), json!(""), json!([]), json!(null)]) {
        let cause = encode_with(&operation, json!({ "id": id, "part": "x" })).unwrap_err();
        let code = if id.is_null() { ErrorCode::MissingInput } else { ErrorCode::InvalidInput };
        assert!(cause.code == code && cause.message.contains("`id`"), "{id}: {cause}");
    }
    // A part of a segment leads nowhere.
    assert!(encode_with(&operation, json!({ "id": "1", "part": ".." })).is_ok());
    let half = operation_of_halves();
    assert_eq!(encode_with(&half, json!({ "a": ".", "b": "." })).unwrap_err().code, ErrorCode::InvalidInput);
}

fn operation_of_halves() -> Operation {
    let parameter = |name: &str| json!({ "name": name, "in": "path", "required": true });
    operation(json!([parameter("a"), parameter("b")]), "/{a}{b}", None)
}

#[test]
fn a_query_is_written_in_the_style_of_its_parameter() {
    let query = |parameter: Json, value: Json| {
        let mut declared = json!({ "name": "q", "in": "query" });
        declared.as_object_mut().unwrap().extend(parameter.as_object().unwrap().clone());
        let operation = operation(json!([declared]), "/x", None);
        let url = encode_with(&operation, json!({ "q": value })).unwrap().url;
        url.query().unwrap_or_default().to_owned()
    };
    let (list, object) = (json!(["a,b", "c d", 3]), json!({ "k": "a&b", "n": [1] }));
    assert_eq!(query(json!({}), json!("a=b&c#d")), "q=a%3Db%26c%23d");
    assert_eq!(query(json!({}), json!(false)), "q=false");
    assert_eq!(query(json!({}), list.clone()), "q=a%2Cb&q=c%20d&q=3");
    assert_eq!(query(json!({ "explode": false }), list.clone()), "q=a%2Cb,c%20d,3");
    assert_eq!(query(json!({ "style": "spaceDelimited", "explode": false }), list.clone()), "q=a%2Cb%20c%20d%203");
    assert_eq!(query(json!({ "style": "pipeDelimited", "explode": false }), list), "q=a%2Cb%7Cc%20d%7C3");
    assert_eq!(query(json!({}), object.clone()), "k=a%26b&n=%5B1%5D");
    assert_eq!(query(json!({ "explode": false }), object.clone()), "q=k,a%26b,n,%5B1%5D");
    assert_eq!(query(json!({ "style": "deepObject" }), object), "q%5Bk%5D=a%26b&q%5Bn%5D=%5B1%5D");
    let content = json!({ "content": { "application/json": {} } });
    assert_eq!(query(content, json!({ "a": 1 })), "q=%7B%22a%22%3A1%7D");
    assert_eq!(query(json!({}), json!([])), "");
}

#[test]
fn a_parameter_of_the_configuration_replaces_that_of_an_argument() {
    let operation =
        operation(json!([{ "name": "filter", "in": "query" }, { "name": "tenant", "in": "query" }]), "/x", None);
    let url = |arguments: Json| {
        let mut url = encode_with(&operation, arguments).unwrap().url;
        add_query(&mut url, [("tenant", "t 1"), ("key", "a&b")].into_iter());
        url.query().unwrap_or_default().to_owned()
    };
    assert_eq!(url(json!({})), "tenant=t+1&key=a%26b");
    assert_eq!(url(json!({ "tenant": "other", "filter": "a,b" })), "filter=a%2Cb&tenant=t+1&key=a%26b");
    assert_eq!(url(json!({ "filter": { "Tenant": "other", "tenant[]": 1, "x": 2 } })), "x=2&tenant=t+1&key=a%26b");
    let mut plain = Url::parse("https://h/x").unwrap();
    add_query(&mut plain, std::iter::empty());
    assert_eq!(plain.as_str(), "https://h/x");
}

#[test]
fn a_header_has_one_line() {
    let operation = operation(json!([{ "name": "X-Tag", "in": "header" }]), "/x", None);
    let header = |value: Json| {
        encode_with(&operation, json!({ "X-Tag": value })).map(|request| request.headers["x-tag"].clone())
    };
    assert_eq!(header(json!("a b")).unwrap(), "a b");
    assert_eq!(header(json!(["a", 2])).unwrap(), "a,2");
    for value in ["a\r\nHost: evil", "a\nb", "a\0b"] {
        assert_eq!(header(json!(value)).unwrap_err().code, ErrorCode::InvalidInput, "{value:?}");
    }
}

#[test]
fn a_body_is_json_a_form_or_a_text() {
    let with =
        |media_type: &str| operation(json!([]), "/x", Some(json!({ "required": true, "content": { media_type: {} } })));
    let body = |operation: &Operation, value: Json| {
        let request = encode_with(operation, json!({ "body": value })).unwrap();
        (
            request.headers[CONTENT_TYPE].to_str().unwrap().to_owned(),
            String::from_utf8(request.body.unwrap().to_vec()).unwrap(),
        )
    };
    let json_type = with("application/json; charset=utf-8");
    assert_eq!(body(&json_type, json!({ "a": [1] })), ("application/json".to_owned(), "{\"a\":[1]}".to_owned()));
    let form = with("application/x-www-form-urlencoded");
    let members = json!({ "a": "x&y=z", "b": [1, 2], "c": null });
    assert_eq!(body(&form, members).1, "a=x%26y%3Dz&b=1&b=2");
    assert_eq!(body(&with("text/plain"), json!("x")).1, "x");
    for (operation, value) in [(&form, json!("x")), (&with("text/plain"), json!(1))] {
        assert_eq!(encode_with(operation, json!({ "body": value })).unwrap_err().code, ErrorCode::InvalidInput);
    }
    assert_eq!(encode_with(&form, json!({})).unwrap_err().code, ErrorCode::MissingInput);
}

#[test]
fn unknown_arguments_and_too_long_addresses_are_rejected() {
    let operation = operation(json!([{ "name": "q", "in": "query" }]), "/x", None);
    let cause = encode_with(&operation, json!({ "qq": 1 })).unwrap_err();
    assert!(cause.code == ErrorCode::InvalidInput && cause.message.ends_with("the arguments are: q"), "{cause}");
    let cause = encode_with(&operation, json!({ "q": "x".repeat(20_000) })).unwrap_err();
    assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
    assert_eq!(url_of(&operation, json!({})), "https://api.example/v1/x");
}
