//! The labels that an agent needs of a pod.

use greenroom_definitions::Agent;
use greenroom_definitions::agent::is_label;

use crate::folder::{Folder, agent};

const IMPLEMENTATION: &str = "implementation: { runtime: native, handler: native.echo }\n";

/// The agent `x` with this placement.
fn placed(placement: &str) -> String {
    let implementation =
        format!("implementation:\n  runtime: native\n  handler: native.echo\n  placement: {placement}\n");
    let text = agent("x");
    assert!(text.contains(IMPLEMENTATION), "{text}");
    text.replace(IMPLEMENTATION, &implementation)
}

fn problems(placement: &str) -> Vec<String> {
    Folder::new().with("agents/x.yaml", placed(placement)).problems()
}

#[test]
fn a_placement_has_labels() {
    assert_eq!(problems("{ labels: [gpu, \"region=eu-1\"] }"), Vec::<String>::new());
    for (placement, problem) in [
        ("{}", "labels"),
        ("{ labels: [] }", "0 labels"),
        ("{ labels: [GPU] }", "\"GPU\" is not a label"),
        ("{ labels: [\"a b\"] }", "\"a b\" is not a label"),
        ("{ labels: [gpu, eu, gpu] }", "`gpu` is duplicated"),
        ("{ labels: [gpu], pod: one }", "pod"),
    ] {
        let problems = problems(placement);
        assert!(problems.len() == 1 && problems[0].contains(problem), "{placement}: {problems:?}");
    }
}

#[test]
fn a_label_is_a_short_word() {
    for label in ["gpu", "0", "a-b_c.d:e=f", "python=3.12"] {
        assert!(is_label(label), "{label}");
    }
    let long = "a".repeat(65);
    for text in ["", "-gpu", "Gpu", "a b", "ä", long.as_str()] {
        assert!(!is_label(text), "{text}");
    }
}

#[test]
fn the_version_of_an_agent_without_a_placement_does_not_name_one() {
    let body = |text: &str| {
        let catalogue = Folder::new().with("agents/x.yaml", text).load().catalogue.unwrap();
        let agent: &Agent = catalogue.agents().next().unwrap();
        (agent.body().to_string(), agent.labels().to_vec())
    };
    let (plain, labels) = body(&agent("x"));
    assert!(!plain.contains("placement") && labels.is_empty(), "{plain}");
    let (placed, labels) = body(&placed("{ labels: [gpu] }"));
    assert!(placed.contains("\"placement\":{\"labels\":[\"gpu\"]}"), "{placed}");
    assert_eq!(labels, ["gpu"]);
}
