//! Documents that are no documents, or too much of one.

use serde_json::json;

use super::*;

#[test]
fn json_and_yaml_are_the_same_document() {
    let json = parse(br#"{"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {"200": {}}}}}}"#).unwrap();
    let yaml = parse(b"openapi: 3.0.3\npaths:\n  /a:\n    get:\n      responses:\n        200: {}\n").unwrap();
    assert_eq!(json, yaml);
    assert_eq!(parse("\u{feff}{\"a\": 1.5}".as_bytes()).unwrap(), json!({ "a": 1.5 }));
}

#[test]
fn what_is_no_document_is_a_problem_with_its_position() {
    for (text, problem) in [
        ("{\"a\": ", "is no JSON: EOF"),
        ("{\"a\": 1, \"a\": 2}", "\"a\" is there twice"),
        ("a: 1\na: 2\n", "\"a\" is there twice"),
        ("a: [\n", "is no YAML"),
        ("? [1]\n: 2\n", "has no name"),
        ("{\"a\": 1} x", "is no JSON: trailing"),
    ] {
        let found = parse(text.as_bytes()).unwrap_err();
        assert!(found.contains(problem), "{found}");
    }
    assert!(parse(b"\xff\xfe").unwrap_err().contains("is not UTF-8"));
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(deep.as_bytes()).unwrap_err().contains("recursion"));
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse(deep.as_bytes()).is_err());
}

#[test]
fn aliases_do_not_multiply_a_small_text_beyond_the_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(parse(text.as_bytes()).is_err());
}

#[test]
fn aliases_of_a_long_text_are_bounded_by_its_bytes() {
    let long = "x".repeat(1024 * 1024);
    let aliases = |count: usize| vec!["*a"; count].join(", ");
    let document = |count: usize| format!("a: &a {long}\nb: [{}]\n", aliases(count));
    assert!(parse(document(8).as_bytes()).is_ok());
    assert!(parse(document(1_000).as_bytes()).unwrap_err().contains("bytes of text"));
    let names = (0..1_000).map(|at| format!("- {{ *a : {at} }}\n")).collect::<String>();
    assert!(parse(format!("- &a {long}\n{names}").as_bytes()).unwrap_err().contains("bytes of text"));
}

#[test]
fn only_the_versions_3_0_and_3_1_are_read() {
    for version in ["3.0.0", "3.0.4", "3.1.0", "3.1.1"] {
        assert!(check_version(json!({ "openapi": version })).is_ok(), "{version}");
    }
    assert!(check_version(json!({ "swagger": "2.0" })).unwrap_err().contains("Swagger 2"));
    for root in [json!({ "openapi": "4.0.0" }), json!({ "openapi": 3 }), json!([]), json!(null)] {
        assert!(check_version(root).unwrap_err().contains("has no `openapi"));
    }
}

#[test]
fn the_first_server_has_the_defaults_of_its_variables() {
    let servers = json!({ "servers": [
        { "url": "https://{region}.example/{base}", "variables": { "region": { "default": "eu" }, "base": { "default": "v1" } } },
        { "url": "https://other.example" },
    ] });
    assert_eq!(server_url(&servers), "https://eu.example/v1");
    for root in [json!({}), json!({ "servers": [] }), json!({ "servers": [{ "url": 1 }] })] {
        assert_eq!(server_url(&root), "/");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_too_large_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.json");
    std::fs::write(&path, vec![b' '; DOCUMENT_BYTES_MAX + 1]).unwrap();
    assert!(read_file(path.to_str().unwrap()).await.unwrap_err().contains("more than"));
    assert!(read_file(folder.path().join("none").to_str().unwrap()).await.unwrap_err().contains("cannot be read"));
    assert!(read_file(folder.path().to_str().unwrap()).await.is_err());
}
