//! Problems of workflows, teams and models across files, with exact messages and locations.

use crate::folder::{Folder, agent};

/// The problems of a workflow over the agents `x`, with a text and a number as inputs, and `y`, with a
/// number.
fn workflow(steps: &str) -> Vec<String> {
    let two = "inputs:\n  - { name: topic, type: text, required: true }\n  - { name: depth, type: integer }\n";
    let number = "inputs:\n  - { name: depth, type: integer, required: true }\n";
    let one = "inputs:\n  - { name: topic, type: text, required: true }\n";
    Folder::new()
        .with("agents/x.yaml", agent("x_001").replace(one, two))
        .with("agents/y.yaml", agent("y").replace(one, number))
        .with("workflows/w.yaml", format!("workflow_id: w\nname: W\n{steps}"))
        .problems()
}

#[test]
fn the_inputs_of_a_step_match_its_agent() {
    let steps = "steps:\n  - { id: a, agent: y, inputs: { dept: 3 } }\n";
    assert_eq!(
        workflow(steps),
        ["workflows/w.yaml:4:40: error[unknown_field]: step `a`: the agent `y` has no input `dept`; did you mean \
             `depth`?"]
    );
    // The only text receives the undeclared inputs.
    assert!(workflow("steps:\n  - { id: a, agent: x, inputs: { chapters: 3 } }\n").is_empty());
    // If the workflow declares inputs, the number is known to have no value.
    let steps = "inputs:\n  - { name: other, type: text }\nsteps:\n  - { id: a, agent: y, inputs: {} }\n";
    assert_eq!(
        workflow(steps),
        ["workflows/w.yaml:6:32: warning[unfilled_input]: step `a`: the agent's input `depth` has no value; the run \
             fails unless its context provides it"]
    );
}

#[test]
fn a_reference_names_an_output_that_its_step_has() {
    let steps = "steps:\n  - { id: a, agent: x }\n  - { id: b, agent: y, inputs: { depth: \"${steps.a.outputs.rezult}\" } }\n\
                 final_output: \"${steps.b.outputs.other}\"\n";
    assert_eq!(
        workflow(steps),
        [
            "workflows/w.yaml:5:41: error[unknown_reference]: step `a` has no output `rezult`; did you mean `result`?",
            "workflows/w.yaml:6:15: error[unknown_reference]: step `b` has no output `other`; it has result",
        ]
    );
}

#[test]
fn two_names_for_outputs_must_be_the_agents_own() {
    let steps =
        "steps:\n  - { id: a, agent: x, outputs: [result, resalt] }\n  - { id: b, agent: x, outputs: [result] }\n";
    assert_eq!(
        workflow(steps),
        [
            "workflows/w.yaml:4:42: error[unknown_reference]: step `a`: the agent `x_001` has no output `resalt`; did \
             you mean `result`?",
            "workflows/w.yaml:5:34: warning[duplicate_id]: step `b`: an earlier step also names `result`; the run returns the later one; choose one in `outputs`",
        ]
    );
}

#[test]
fn a_cycle_of_steps_is_reported_in_its_file() {
    let steps = "steps:\n  - { id: a, agent: x, depends_on: [b] }\n  - { id: b, agent: x, depends_on: [a] }\n";
    assert_eq!(
        workflow(steps),
        ["workflows/w.yaml:4:36: error[cycle]: step `a`: the steps depend on themselves: a → b → a"]
    );
}

#[test]
fn workflows_that_start_each_other_go_in_a_circle() {
    let starts =
        |id: &str, other: &str| format!("workflow_id: {id}\nname: W\nsteps:\n  - {{ id: s, workflow: {other} }}\n");
    let folder = Folder::new()
        .with("workflows/a.yaml", starts("a", "b"))
        .with("workflows/b.yaml", starts("b", "c"))
        .with("workflows/c.yaml", starts("c", "b"));
    assert_eq!(folder.problems(), ["workflows/b.yaml:4:3: error[cycle]: the definitions form a cycle: b → c → b"]);
}

#[test]
fn a_team_runs_only_its_workflows() {
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x"))
        .with("teams/t.yaml", "team_id: t\nname: T\nagents: [x]\nworkflows: [inner]\n")
        .with("workflows/inner.yaml", "workflow_id: inner\nname: I\nsteps:\n  - { id: s, agent: x }\n")
        .with("workflows/other.yaml", "workflow_id: other\nname: O\nsteps:\n  - { id: s, agent: x }\n")
        .with("workflows/w.yaml", "workflow_id: w\nname: W\nsteps:\n  - { id: s, team: t, workflow: other }\n");
    assert_eq!(
        folder.problems(),
        ["workflows/w.yaml:4:33: error[invalid_value]: step `s`: the team `t` does not run `other`"]
    );
}

#[test]
fn models_have_tiers_prices_and_known_fallbacks() {
    let models = "tiers:\n  small: { model: anthropic.a }\n  standard: { model: anthropic.b, fallback: [tier.small] }\n  \
                  huge: { model: anthropic.a }\nmodels:\n  anthropic.a: { context_tokens: 1000, price: { input: -1, output: 2 } }\n  \
                  mistral.x: { context_tokens: 1000 }\n  nothing: { context_tokens: 1 }\n";
    let problems = Folder::new().with("models.yaml", models).problems();
    assert_eq!(
        problems,
        [
            "models.yaml:2:3: error[missing_field]: the tier `large` has no model",
            "models.yaml:3:13: error[invalid_value]: the tier `standard` refers to the tier `tier.small`; a tier refers to a provider's model",
            "models.yaml:3:13: error[unknown_reference]: there is no model `anthropic.b`; describe it under \
             `models`",
            "models.yaml:4:3: error[invalid_value]: there is no tier `huge`",
            "models.yaml:6:56: error[invalid_value]: -1 is negative",
            "models.yaml:7:14: error[unknown_name]: there is no provider `mistral`",
            "models.yaml:7:14: warning[no_price]: the model `mistral.x` has no price; its calls fail if a budget applies",
            "models.yaml:8:3: error[invalid_value]: `nothing` is not the model of a provider; a model is `PROVIDER.NAME`",
        ]
    );
}

#[test]
fn a_condition_names_an_output_that_its_step_has() {
    let steps = "steps:\n  - { id: a, agent: x }\n  - { id: b, agent: x, when: \"steps.a.outputs.resutl == 'yes'\" }\n";
    assert_eq!(
        workflow(steps),
        ["workflows/w.yaml:5:30: error[unknown_reference]: step `a` has no output `resutl`; did you mean `result`?"]
    );
}

#[test]
fn a_workflow_as_a_step_receives_its_declared_inputs() {
    let inner = "workflow_id: inner\nname: I\ninputs:\n  - { name: topic, type: text, required: true }\n  - { name: depth, type: integer, required: true }\nsteps:\n  - { id: s, agent: x }\n";
    let outer = "workflow_id: w\nname: W\ninputs:\n  - { name: topic, type: text }\nsteps:\n  - { id: s, workflow: inner, inputs: { dept: 3 } }\n";
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x"))
        .with("workflows/inner.yaml", inner)
        .with("workflows/w.yaml", outer);
    assert_eq!(
        folder.problems(),
        [
            "workflows/w.yaml:6:39: warning[unfilled_input]: step `s`: the workflow's input `depth` has no value; the \
             run fails unless its context provides it",
            "workflows/w.yaml:6:47: error[unknown_field]: step `s`: the workflow `inner` has no input `dept`; did you \
             mean `depth`?",
        ]
    );
}
