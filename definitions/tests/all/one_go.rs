//! One check reports everything: what is wrong with the structure of a file does not hide its references, nor the
//! problems of other files.

use greenroom_definitions::{Source, check_file};

use crate::folder::{Folder, agent, known_names};

/// An agent with references to nothing, and this change.
fn wrong_references(from: &str, to: &str) -> Vec<String> {
    let text = agent("x").replace("business_ops", "busines_ops").replace("native.echo", "native.ecco")
        + "policies: [require_authentification]\ncollaboration: { can_work_with: [y] }\ntools: [\"agent:z\", \
           \"native:calculater\"]\n";
    assert!(text.contains(from), "{from}");
    Folder::new().with("agents/x.yaml", text.replace(from, to)).problems()
}

#[test]
fn a_structural_error_does_not_hide_the_references_of_its_file() {
    let references = [
        "there is no category `busines_ops`",
        "there is no handler `native.ecco`",
        "there is no policy `require_authentification`",
        "there is no agent `y`",
        "there is no agent `z`",
        "there is no tool `calculater`",
    ];
    for (from, to) in [
        ("version: \"1.0.0\"\n", ""),
        ("version: \"1.0.0\"", "version: 1.0"),
        ("name: An agent", "name: []"),
        ("agent_id: x", "agent_id: \"a b\""),
        ("agent_id: x\n", ""),
        ("outputs:\n  - { name: result, type: text }", "outputs: result"),
        ("type: text, required", "type: txt, required"),
        ("handler: native.ecco }", "handler: native.ecco, timeout: soon }"),
        ("description: It does something", "descripton: It does something"),
    ] {
        let found = wrong_references(from, to);
        assert!(found.len() > references.len(), "{to}: {found:#?}");
        for reference in references {
            assert!(found.iter().any(|problem| problem.contains(reference)), "{to}: no {reference:?} in {found:#?}");
        }
    }
}

#[test]
fn a_structural_error_does_not_hide_the_prompt_and_the_examples_of_its_file() {
    let text = agent("x").replace("version: \"1.0.0\"", "version: 1").replace(
        "{ runtime: native, handler: native.echo }",
        "{ runtime: llm, prompt: { user: \"{{ inputs.topik }}\" } }",
    ) + "examples:\n  - inputs: { topik: a }\nlimits: { max_tokens: -1 }\n";
    let found = Folder::new().with("agents/x.yaml", text).problems().join("\n");
    for expected in
        ["found the number 1;", "references the input `topik`", "the example is invalid", "found the number -1"]
    {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_structural_error_of_a_step_does_not_hide_the_references_of_the_others() {
    let workflow = "workflow_id: w\nname: W\npolicies: [nothing]\nsteps:\n  - { id: a, agent: nobody, timeout: soon }\n  \
                    - { id: b, workflow: missing, depends_on: a }\n  - { id: c, team: no_team, workflow: missing }\n  \
                    - { id: d, agent: x, compensate: { agent: gone } }\n";
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("workflows/w.yaml", workflow);
    let found = folder.problems().join("\n");
    for expected in [
        "3:12: error[unknown_policy]",
        "5:21: error[unknown_reference]: there is no agent `nobody`",
        "5:38: error[wrong_type]",
        "6:24: error[unknown_reference]: there is no workflow `missing`",
        "6:45: error[wrong_type]",
        "7:20: error[unknown_reference]: there is no team `no_team`",
        "8:45: error[unknown_reference]: there is no agent `gone`",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_broken_file_does_not_hide_the_problems_of_the_others() {
    let wrong = agent("y").replace("business_ops", "busines_ops") + "policies: [nothing]\ntools: [\"agent:gone\"]\n";
    let expected = ["there is no category `busines_ops`", "there is no policy `nothing`", "there is no agent `gone`"];
    let categories = "categories:\n  - { id: business_ops, name: Business }\n  - { id: other, nam: Other }\n";
    for (name, text) in [
        ("agents/x.yaml", "agent_id: [".to_owned()),
        ("agents/x.yaml", agent("x").replace("version: \"1.0.0\"\n", "")),
        ("workflows/w.yaml", "workflow_id: w\nsteps: 5\n".to_owned()),
        ("categories.yaml", categories.to_owned()),
        ("models.yaml", "tiers: {}\n".to_owned()),
    ] {
        let found = Folder::new().with("agents/y.yaml", &wrong).with(name, text).problems();
        for problem in expected {
            assert!(found.iter().any(|one| one.contains(problem)), "{name}: no {problem:?} in {found:#?}");
        }
        assert!(found.iter().any(|one| one.starts_with(name)), "{found:#?}");
    }
}

#[test]
fn a_reference_to_a_broken_file_is_not_a_second_problem() {
    for broken in [
        agent("y").replace("version: \"1.0.0\"\n", ""),
        agent("y") + "tools: [\n",
        "\"agent_id\": 'y' # the id\n  name: wrong\n".to_owned(),
        agent("y").replace("agent_id: y\n", "agent_id: 5\n"),
        "\0".to_owned(),
    ] {
        let folder = Folder::new()
            .with("agents/x.yaml", agent("x") + "collaboration: { can_work_with: [y] }\n")
            .with("agents/y.yaml", broken);
        let found = folder.problems();
        assert!(!found.is_empty() && found.iter().all(|problem| problem.starts_with("agents/y.yaml")), "{found:#?}");
    }
}

#[test]
fn one_file_is_checked_against_the_folder_that_it_belongs_to() {
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x") + "tools: [\"agent:y\"]\ncollaboration: { can_work_with: [y] }\n")
        .with("agents/y.yaml", agent("y"))
        .with("agents/broken.yaml", "agent_id: [");
    let check = |name: &str| {
        let report = check_file(&folder.path().join(name), &folder.source(), &known_names());
        report.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check("agents/x.yaml"), Vec::<String>::new());
    assert_eq!(check("agents/broken.yaml").len(), 1);

    // A file elsewhere takes the place of the definition with its id.
    let elsewhere = Folder::new()
        .with("candidate.yaml", agent("y") + "collaboration: { can_work_with: [x, executive_summary_agent] }\n")
        .with("invalid.yaml", agent("y").replace("version: \"1.0.0\"\n", "") + "tools: [\"agent:gone\"]\n");
    let check = |name: &str, source: &Source| {
        let report = check_file(&elsewhere.path().join(name), source, &known_names());
        report.problems().iter().map(|problem| problem.found.clone()).collect::<Vec<_>>()
    };
    assert_eq!(check("candidate.yaml", &folder.source()), ["there is no agent `executive_summary_agent`"]);
    assert_eq!(check("candidate.yaml", &Source::Embedded), ["there is no agent `x`"]);
    assert_eq!(check("invalid.yaml", &folder.source()), ["an agent needs `version`", "there is no agent `gone`"]);
}

#[test]
fn one_file_of_a_folder_is_reported_if_another_file_has_its_id() {
    let folder = Folder::new().with("agents/a.yaml", agent("x")).with("agents/b.yaml", agent("x"));
    let report = check_file(&folder.path().join("agents/b.yaml"), &folder.source(), &known_names());
    assert_eq!(report.problems().len(), 1, "{report}");
    assert!(report.problems()[0].expected.contains("agents/a.yaml:1"), "{report}");
}
