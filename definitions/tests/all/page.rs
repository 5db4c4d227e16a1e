//! The examples of `docs/definitions.md` load unchanged.

use crate::folder::Folder;

const PAGE: &str = include_str!("../../../docs/definitions.md");

fn examples() -> impl Iterator<Item = &'static str> {
    PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn the_examples_of_the_page_load_with_the_shipped_agents() {
    let mut folder = Folder::new();
    for (name, text) in greenroom_definitions::embedded::FILES {
        let is_example = ["executive_summary_agent_001", "reporting_team"].iter().any(|id| name.contains(id));
        if !is_example && name.contains('/') {
            folder = folder.with(name, text);
        }
    }
    for (at, example) in examples().enumerate() {
        folder = folder.with(&format!("page_{at}.yaml"), example);
    }
    assert_eq!(examples().count(), 3);
    let problems = folder.problems();
    assert!(problems.is_empty(), "{problems:#?}");
}
