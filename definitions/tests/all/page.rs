//! The examples of `docs/definitions.md` and of the guide for authors load unchanged.

use crate::folder::Folder;
use crate::shipped::{shipped_agents, shipped_files};

const PAGE: &str = include_str!("../../../docs/definitions.md");

const GUIDE: &str = include_str!("../../../docs/catalogue/AUTHORING.md");

fn examples_of(page: &'static str) -> impl Iterator<Item = &'static str> {
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

fn examples() -> impl Iterator<Item = &'static str> {
    examples_of(PAGE)
}

#[test]
fn the_agent_of_the_guide_loads_in_the_shipped_catalogue() {
    let mut folder = Folder::new();
    for (name, text) in shipped_agents() {
        folder = folder.with(name, text);
    }
    let mut agents = examples_of(GUIDE);
    let (agent, rest) = (agents.next().unwrap(), agents.count());
    assert_eq!(rest, 0);
    let folder = folder.with("agents/legal_compliance/contract_renewal_agent.yaml", agent);
    assert_eq!(folder.problems(), [] as [String; 0]);
    for (name, _) in shipped_files() {
        if let Some(snippet) = name.strip_prefix("snippets/").and_then(|name| name.strip_suffix(".md")) {
            assert!(GUIDE.contains(&format!("| `{snippet}` |")), "the guide does not describe `{snippet}`");
        }
    }
}

#[test]
fn the_examples_of_the_page_load_with_the_shipped_agents() {
    let mut folder = Folder::new();
    for (name, text) in shipped_agents().filter(|(name, _)| !name.ends_with("/executive_summary_agent_001.yaml")) {
        folder = folder.with(name, text);
    }
    for (name, text) in shipped_files().iter().filter(|(name, _)| name == "workflows/generate_quarterly_report.yaml") {
        folder = folder.with(name, text);
    }
    for (at, example) in examples().enumerate() {
        folder = folder.with(&format!("page_{at}.yaml"), example);
    }
    assert_eq!(examples().count(), 3);
    let problems = folder.problems();
    assert!(problems.is_empty(), "{problems:#?}");
}
