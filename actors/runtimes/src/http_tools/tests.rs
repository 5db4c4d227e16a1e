//! The source: its names, its descriptions, and where requests are sent.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::outbound::Unobserved;

fn settings(document: &str) -> ApiSettings {
    ApiSettings {
        name: "crm".to_owned(),
        document: document.to_owned(),
        base_url: Some("https://crm.example/v1".to_owned()),
        operations: None,
        credentials: CredentialSettings::default(),
        allows_private: false,
        is_internal: false,
        timeout: CALL_TIMEOUT,
    }
}

/// Opens an API whose document is this one, with changed settings.
async fn open(document: &Json, change: impl FnOnce(&mut ApiSettings)) -> Result<HttpTools, OpenError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crm.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let mut settings = settings(path.to_str().unwrap());
    change(&mut settings);
    let tools = HttpTools::new(Outbound::new(Arc::new(Unobserved)));
    tools.open_api(&settings).await?;
    Ok(tools)
}

fn document() -> Json {
    json!({ "openapi": "3.0.0", "servers": [{ "url": "/v2" }], "paths": { "/a": { "get": { "operationId": "get_a" } } } })
}

#[tokio::test]
async fn a_tool_is_named_by_its_api_and_its_operation() {
    let tools = open(&document(), |_| ()).await.unwrap();
    assert_eq!((tools.names(), *tools.api_count().borrow()), (vec!["http:crm/get_a".to_owned()], 1));
    assert!(tools.is_external("crm/get_a") && tools.is_external("crm/none"));
    assert!(tools.find("crm/get_a").is_some() && tools.find("crm/none").is_none() && tools.find("get_a").is_none());
    let internal = open(&document(), |settings| settings.is_internal = true).await.unwrap();
    assert!(!internal.is_external("crm/get_a") && internal.is_external("crm/none"));
}

#[tokio::test]
async fn what_cannot_be_opened_names_the_api_and_the_problem() {
    let problem = |change: fn(&mut ApiSettings)| async move {
        let cause = open(&document(), change).await.err().unwrap().into_cause();
        assert_eq!(cause.code, ErrorCode::InvalidConfiguration);
        cause.message
    };
    assert!(problem(|settings| settings.base_url = None).await.contains("tools.http.crm: the first server"));
    assert!(problem(|settings| settings.base_url = Some("ftp://x".into())).await.contains("`base_url` is no address"));
    assert!(problem(|settings| settings.base_url = Some("https://u:p@x".into())).await.contains("alone"));
    assert!(problem(|settings| settings.name = "a/b".into()).await.contains("the name of an API"));
    assert!(problem(|settings| settings.operations = Some(vec!["none".into()])).await.contains("id `none`"));
    assert!(problem(|settings| settings.document = "/nowhere.json".into()).await.contains("cannot be read"));
    let refused = open(&document(), |settings| settings.document = "https://127.0.0.1/x.json".into()).await;
    let Some(OpenError::Unavailable(cause)) = refused.err() else { panic!("it is elsewhere") };
    assert!(cause.code == ErrorCode::AddressNotAllowed && cause.message.contains("allow_private"), "{cause}");
}
