//! The table of routes, the document that is made from it, the page and the metrics.

use std::collections::BTreeSet;

use greenroom_protocol::Json;

use super::fixture::{Fixture, Settings};
use crate::bridge::{Access, ROUTES, Verb, artifacts, events, mcp, openapi, runs};

/// Every reference within a document.
fn references(document: &Json, found: &mut BTreeSet<String>) {
    match document {
        Json::Object(members) => {
            if let Some(Json::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Json::Array(items) => items.iter().for_each(|item| references(item, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[test]
fn the_document_has_every_route_once_and_every_schema_that_it_refers_to() {
    let document = openapi::document(ROUTES);
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = 0;
    for route in ROUTES {
        let method = if route.method == Verb::Get { "get" } else { "post" };
        let operation = &document["paths"][route.path][method];
        assert_eq!(operation["operationId"], route.id, "{route:?}");
        assert_eq!(operation["security"].is_array(), route.access != Access::Public, "{route:?}");
        operations += 1;
    }
    let paths = document["paths"].as_object().unwrap();
    let documented: usize = paths.values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, operations, "two routes have one path and method");
    let ids: BTreeSet<&str> = ROUTES.iter().map(|route| route.id).collect();
    assert_eq!(ids.len(), ROUTES.len());
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(document["components"]["schemas"][name].is_object(), "{reference}");
    }
}

#[test]
fn the_table_documents_the_queries_that_the_handlers_read() {
    for (id, names) in [
        ("list_runs", &runs::LIST_QUERY[..]),
        ("watch_run", &events::WATCH_QUERY[..]),
        ("upload_artifact", &artifacts::UPLOAD_QUERY[..]),
        ("call_mcp", &mcp::MCP_QUERY[..]),
    ] {
        let route = ROUTES.iter().find(|route| route.id == id).unwrap();
        let documented: Vec<&str> = route.query.iter().map(|(name, _)| *name).collect();
        assert_eq!(documented, names, "{id}");
    }
    let with_query = ["list_runs", "watch_run", "upload_artifact", "call_mcp"];
    let others = ROUTES.iter().filter(|route| !with_query.contains(&route.id));
    assert!(others.into_iter().all(|route| route.query.is_empty()));
}

#[tokio::test]
async fn every_route_of_the_table_is_served_and_counted() {
    let fixture = Fixture::start();
    for route in ROUTES {
        let path = route.path.replace(['{', '}'], "");
        let line = if route.method == Verb::Get { format!("GET {path}") } else { format!("POST {path}") };
        let response = fixture.send(&line, &[], "").await;
        assert!(response.status != 405 && response.code_or_empty() != "unknown_record", "{route:?}: {response:?}");
    }
    let metrics = fixture.get("/metrics").await;
    for route in ROUTES.iter().filter(|route| route.path != "/metrics") {
        assert!(metrics.body.contains(&format!("route=\"{}\"", route.path)), "{route:?}: {metrics:?}");
    }
    assert!(metrics.body.contains("of_the_host 1\n") && metrics.body.contains("\nhttp_connections_open "));
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let fixture = Fixture::start_with(&Settings { has_identity: false, ..Settings::default() });
    let page = fixture.get("/").await;
    assert!(page.status == 200 && page.has_header("content-type: text/html; charset=utf-8"), "{page:?}");
    assert!(page.headers.contains("content-security-policy: default-src 'none'"), "{page:?}");
    for path in ["/assets/page.css", "/assets/page.js", "/openapi.json"] {
        assert!(page.body.contains(path) || path == "/openapi.json", "{path}");
        let asset = fixture.get(path).await;
        assert_eq!(asset.status, 200, "{path}");
        assert!(!asset.body.contains("//cdn") && asset.has_header("x-content-type-options: nosniff"), "{path}");
    }
    let links = page.body.matches("://").count();
    assert_eq!(links, 1, "the example names the bridge itself");
}
