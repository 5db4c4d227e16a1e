//! What people would not find is a warning: misplaced files, keys with two providers, deprecated agents.

use crate::folder::{Folder, agent};

const CATEGORIES: &str = "categories:\n  - { id: business_ops, name: Business }\n  - { id: legal, name: Legal }\n";

fn folder() -> Folder {
    Folder::new().with("categories.yaml", CATEGORIES)
}

#[test]
fn an_agent_in_the_folder_of_another_category_is_a_warning() {
    let found = folder().with("agents/legal/x.yaml", agent("x")).problems();
    assert_eq!(
        found,
        ["agents/legal/x.yaml:3:11: warning[misplaced]: the folder is `legal`, and the agent is in the category \
          `business_ops`; move it to `agents/business_ops/`"]
    );
    let elsewhere = folder().with("agents/x.yaml", agent("x")).with("agents/mine/y.yaml", agent("z"));
    assert_eq!(elsewhere.problems(), [] as [String; 0], "a folder that is no category is its owner's");
}

#[test]
fn a_file_in_the_folder_of_its_category_has_the_id_of_its_agent() {
    let folder = folder()
        .with("agents/business_ops/x_001.yaml", agent("x_001"))
        .with("agents/business_ops/y.yaml", agent("y_002"))
        .with("agents/business_ops/group/z.yaml", agent("other"));
    assert_eq!(
        folder.problems(),
        [
            "agents/business_ops/group/z.yaml:1:11: warning[misplaced]: the file `z` contains the agent `other`; call it \
          `other.yaml`"
        ]
    );
}

#[test]
fn two_members_that_provide_one_key_are_a_warning() {
    let provider = |id: &str| agent(id) + "collaboration: { provides_to_team: [facts] }\n";
    let found = folder()
        .with("agents/x.yaml", provider("x"))
        .with("agents/y.yaml", provider("y"))
        .with("teams/t.yaml", "team_id: t\nname: T\nagents: [x, y]\n")
        .problems();
    assert_eq!(
        found,
        ["teams/t.yaml:3:13: warning[duplicate_id]: `x` and `y` both provide the key `facts` to the team; let one of \
          them provide another key"]
    );
}

#[test]
fn each_name_of_a_deprecated_agent_is_a_warning() {
    let old = agent("old") + "deprecated: { since: \"1.2.0\", use: new }\n";
    let found = folder()
        .with("agents/old.yaml", &old)
        .with("agents/new.yaml", agent("new"))
        .with("teams/t.yaml", "team_id: t\nname: T\nagents: [old, new]\n")
        .problems();
    assert_eq!(
        found,
        ["teams/t.yaml:3:10: warning[deprecated]: the agent `old` is deprecated since its version 1.2.0; use `new`"]
    );
}

#[test]
fn what_replaces_an_agent_exists_and_is_not_deprecated_itself() {
    let old =
        |id: &str, replacement: &str| agent(id) + &format!("deprecated: {{ since: \"1.0.0\", use: {replacement} }}\n");
    let missing = folder().with("agents/x.yaml", old("x", "nobody")).problems();
    assert!(missing[0].contains("error[unknown_reference]: there is no agent `nobody`"), "{missing:?}");
    let itself = folder().with("agents/x.yaml", old("x", "x")).problems();
    assert!(
        itself.iter().any(|problem| problem.contains("error[invalid_value]: `x` is deprecated itself")),
        "{itself:?}"
    );
}

#[test]
fn a_reference_to_a_definition_of_another_kind_names_the_kind() {
    let found = folder()
        .with("agents/x.yaml", agent("x"))
        .with("teams/t.yaml", "team_id: t\nname: T\nagents: [x]\n")
        .with("workflows/w.yaml", "workflow_id: w\nname: W\nsteps:\n  - { id: a, agent: t }\n")
        .problems();
    assert_eq!(
        found,
        ["workflows/w.yaml:4:21: error[unknown_reference]: there is no agent `t`; `t` is the id of a definition of \
          another kind: team"]
    );
}

#[test]
fn two_ids_that_differ_in_capital_letters_only_are_warned_of() {
    let folder = Folder::new().with("agents/x.yaml", agent("x_y")).with("agents/y.yaml", agent("X_y"));
    assert_eq!(
        folder.problems(),
        [
            "agents/y.yaml:1:11: warning[duplicate_id]: the agent `X_y` differs from `x_y` in capital letters only; rename \
             one of them"
        ]
    );
}
