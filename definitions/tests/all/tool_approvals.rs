//! A tool with settings: which of them there are, and where a mistake is.

use greenroom_protocol::AgentId;

use super::folder::{Folder, agent};

fn with_tools(tools: &str) -> Folder {
    Folder::new().with("agents/x.yaml", agent("x") + &format!("tools: {tools}\n"))
}

#[test]
fn a_tool_may_need_an_approval() {
    let folder = with_tools("[\"native:calculator\", { tool: \"native:check_sql\", approval: required }]");
    let outcome = folder.load();
    assert!(outcome.report.problems().is_empty(), "{:#?}", folder.problems());
    let catalogue = outcome.catalogue.unwrap();
    let agent = catalogue.agent(&AgentId::new("x").unwrap()).unwrap();
    let written: Vec<(String, bool)> =
        agent.spec().tools.iter().map(|used| (used.tool.to_string(), used.needs_approval())).collect();
    assert_eq!(written, [("native:calculator".to_owned(), false), ("native:check_sql".to_owned(), true)]);
    assert!(agent.needs_tool_approval());
}

#[test]
fn a_mistake_in_the_settings_of_a_tool_is_reported_where_it_is() {
    for (tools, expected) in [
        ("[{ tool: \"native:calculater\", approval: required }]", "calculater"),
        ("[{ tool: \"agent:gone\", approval: required }]", "there is no agent `gone`"),
        ("[{ tool: \"native:calculator\", approval: maybe }]", "`maybe` is not known"),
        ("[{ tool: \"native:calculator\", approve: required }]", "`approve` is not a field of a tool"),
        ("[{ approval: required }]", "a tool needs `tool`"),
        ("[{ tool: \"shell:x\" }]", "a tool is `agent:ID`"),
    ] {
        let found = with_tools(tools).problems();
        assert!(found.iter().any(|problem| problem.contains(expected)), "{tools}: {found:#?}");
        assert!(found.iter().all(|problem| problem.starts_with("agents/x.yaml")), "{found:#?}");
    }
}
