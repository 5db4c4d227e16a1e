//! Numbers in definitions: none loses a digit silently.

use greenroom_definitions::{Agent, AgentSpec};
use greenroom_protocol::{AgentId, MicroUsd};
use serde_json::json;

use crate::folder::{Folder, agent};

fn problems(text: &str) -> Vec<String> {
    Folder::new().with("agents/x.yaml", text).problems()
}

/// The problems of a number as the version, as a limit, and as a value of a team's context.
fn as_version(number: &str) -> Vec<String> {
    problems(&agent("x").replace("\"1.0.0\"", number))
}

fn as_limit(number: &str) -> Vec<String> {
    problems(&(agent("x") + &format!("limits: {{ max_cost_usd: {number} }}\n")))
}

fn in_context(number: &str) -> Vec<String> {
    let team = format!("team_id: t\nname: T\nagents: [x]\nshared_context: {{ value: {number} }}\n");
    Folder::new().with("agents/x.yaml", agent("x")).with("teams/t.yaml", team).problems()
}

#[test]
fn a_version_as_a_number_is_reported_as_it_is_written() {
    for number in ["1.10", "1.0", "2", "1e3", "0x10"] {
        let found = as_version(number);
        assert!(
            found.len() == 1
                && found[0].starts_with("agents/x.yaml:5:10: error[wrong_type]: found the number ")
                && found[0].contains(number)
                && found[0].contains("quotes"),
            "{found:?}"
        );
    }
    assert!(as_version("1.10")[0].contains("such as \"1.10.0\""));
}

#[test]
fn a_version_is_a_semantic_version() {
    for valid in ["1.0.0", "0.1.10", "2.0.0-rc.1", "1.0.0+build.5"] {
        assert_eq!(as_version(&format!("\"{valid}\"")), Vec::<String>::new(), "{valid}");
    }
    assert_eq!(as_version("1.2.3"), Vec::<String>::new(), "it needs no quotes, since it is no number");
    for (invalid, example) in [
        ("1.0", "1.0.0"),
        ("1", "1.0.0"),
        ("v1.2.3", "1.2.3"),
        ("1.2.3.4", "1.0.0"),
        ("01.2.3", "1.0.0"),
        ("latest", "1.0.0"),
        ("", "1.0.0"),
        (" 1.0.0", "1.0.0"),
    ] {
        let found = as_version(&format!("\"{invalid}\""));
        assert!(
            found.len() == 1
                && found[0].starts_with("agents/x.yaml:5:10: error[invalid_value]: ")
                && found[0].contains("is not a semantic version")
                && found[0].ends_with(&format!("such as \"{example}\"")),
            "{invalid}: {found:?}"
        );
    }
    let workflow = "workflow_id: w\nname: W\nversion: 1.10\nsteps:\n  - { id: a, agent: x }\n";
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("workflows/w.yaml", workflow);
    assert!(folder.problems()[0].starts_with("workflows/w.yaml:3:10: error[wrong_type]: found the number 1.10;"));
}

#[test]
fn a_decimal_place_is_not_lost_where_a_value_is_passed_on() {
    assert_eq!(
        in_context("1.10"),
        [
            "teams/t.yaml:4:26: error[invalid_value]: the number 1.10 would be passed on as 1.1; put it in quotes if it is \
             a text, such as a version; else write 1.1"
        ]
    );
    assert_eq!(in_context("[{ a: 2.00 }]").len(), 1);
    // An amount is the same with and without it.
    assert_eq!(as_limit("1.10"), Vec::<String>::new());
    for exact in ["1.1", "1.0", "10", "100.0", "1e3", "-2.5", "0.1", "\"1.10\"", "0x1F", "18446744073709551615"] {
        assert_eq!(in_context(exact), Vec::<String>::new(), "{exact}");
    }
}

#[test]
fn a_number_with_more_digits_than_it_can_have_is_an_error_everywhere() {
    for number in
        ["3.14159265358979323846", "123456789012345678901234", "0.1000000000000000055", "-18446744073709551615.5"]
    {
        for found in [as_version(number), as_limit(number), in_context(number)] {
            assert!(found.len() == 1 && found[0].contains("has more digits than a number can have"), "{found:?}");
        }
    }
    for exact in
        ["0.30000000000000004", "9007199254740993", "1e300", "1.7976931348623157e308", "5e-324", "0", "0.0", "-0.5"]
    {
        assert_eq!(in_context(exact), Vec::<String>::new(), "{exact}");
    }
}

#[test]
fn a_leading_zero_is_an_error_everywhere() {
    for number in ["0123", "007", "-01", "00", "00.5"] {
        for found in [as_version(number), as_limit(number), in_context(number)] {
            assert!(
                found.len() == 1 && found[0].contains(&format!("the number {number} begins with a zero")),
                "{found:?}"
            );
        }
    }
}

#[test]
fn what_other_versions_of_yaml_read_as_numbers_and_dates_remains_a_text() {
    let values = ["1_000", "12:30", "190:20:30", "2025-01-15", "0o17", "0b11", ".inf", "1e999", "1.2.3", "+", "1-2"];
    for value in values {
        let team = format!("team_id: t\nname: T\nagents: [x]\nshared_context: {{ value: [{value}, 1] }}\n");
        let folder = Folder::new().with("agents/x.yaml", agent("x")).with("teams/t.yaml", team);
        let catalogue = folder.load().catalogue.unwrap();
        let stored = catalogue.teams().next().unwrap().spec().shared_context["value"].clone();
        assert_eq!(stored, json!([value, 1]), "{value}");
        let found = as_limit(value);
        assert!(found.len() == 1 && found[0].contains("expected a number"), "{found:?}");
    }
}

#[test]
fn a_name_is_read_as_it_is_written() {
    let team = "team_id: t\nname: T\nagents: [x]\nshared_context: { 1.10: a, 0123: b, on: c, True: d }\n";
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("teams/t.yaml", team);
    let catalogue = folder.load().catalogue.unwrap();
    let names: Vec<String> = catalogue.teams().next().unwrap().spec().shared_context.keys().cloned().collect();
    assert_eq!(names, ["0123", "1.10", "True", "on"]);
    assert!(catalogue.agent(&AgentId::new("x").unwrap()).is_some());
}

#[test]
fn an_amount_of_money_that_is_none_is_reported_instead_of_being_no_limit() {
    for number in ["1e13", "1e300", "-1"] {
        let found = as_limit(number);
        assert!(found.len() == 1 && found[0].contains("error[invalid_value]"), "{number}: {found:?}");
    }
    assert_eq!(as_limit("1e9"), Vec::<String>::new());
    // A definition that no check has read permits nothing.
    let spec = json!({
        "agent_id": "x", "name": "x", "category": "c", "description": "d", "version": "1",
        "outputs": [{"name": "t", "type": "text"}],
        "implementation": {"runtime": "llm"}, "limits": {"max_cost_usd": -1.0},
    });
    let agent = Agent::new(serde_json::from_value::<AgentSpec>(spec).unwrap()).unwrap();
    assert_eq!(agent.cost_max(), Some(MicroUsd(0)));
}
