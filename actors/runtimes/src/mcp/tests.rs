//! Servers that do not come up: each is a bounded failure with a reason. Servers that do are tested with the whole platform.

use std::future::pending;

use super::observer::NoObserver;
use super::settings::ServerAddress;
use super::*;

fn server(name: &str, script: &str) -> ServerSettings {
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    ServerSettings {
        name: name.to_owned(),
        address: ServerAddress::Process { command: "sh".into(), args: vec!["-c".into(), script.into()], env },
        timeout: Duration::from_secs(1),
        start_timeout: Duration::from_secs(1),
        tools: None,
        is_external: false,
    }
}

async fn reports(settings: Vec<ServerSettings>) -> Vec<ServerReport> {
    let tools = McpTools::new(settings, Arc::new(NoObserver)).unwrap();
    tokio::select! {
        () = tools.serve(pending()) => panic!("it serves until it is stopped"),
        reports = tools.report(None) => reports,
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_is_reported_with_the_reason() {
    let missing = ServerSettings {
        address: ServerAddress::Process { command: "no-such-program".into(), args: Vec::new(), env: BTreeMap::new() },
        ..server("missing", "")
    };
    let unreachable = ServerSettings {
        address: ServerAddress::Http {
            url: "http://127.0.0.1:1/mcp?key=planted-secret".into(),
            headers: BTreeMap::new(),
        },
        ..server("unreachable", "")
    };
    let silent = server("silent", "exec sleep 600");
    let reports = reports(vec![missing, unreachable, silent, server("ended", "exit 3")]).await;
    for (report, reason) in reports.iter().zip(["exit status: 3", "cannot be started", "within 1 seconds", ""]) {
        let ServerStatus::Failed { reason: found } = &report.status else { panic!("{report:?}") };
        assert!(found.contains(reason) && !found.contains("planted-secret"), "{report:?}");
    }
    assert_eq!(reports.len(), 4);
}

#[tokio::test]
async fn a_tool_of_a_server_that_is_not_configured_is_unknown_and_external() {
    let tools = McpTools::new(vec![server("files", "exit 0")], Arc::new(NoObserver)).unwrap();
    assert!(!tools.is_external("files/read") && tools.is_external("mail/send") && tools.is_external("files"));
    let spec = ToolSpec { name: "send".into(), description: String::new(), parameters: Json::Null };
    for name in ["mail/send", "files", ""] {
        let cause = tools.require_unchanged(name, &spec).await.unwrap_err();
        assert!(cause.code == ErrorCode::UnknownTool && cause.message.contains("configured"), "{cause}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_processes() {
    let tools = McpTools::new(vec![server("silent", "exec sleep 600")], Arc::new(NoObserver)).unwrap();
    tokio::time::timeout(Duration::from_secs(5), tools.serve(std::future::ready(()))).await.unwrap();
}
