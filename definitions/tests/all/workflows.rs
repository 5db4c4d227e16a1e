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
    let steps = "inputs:\n  - { name: other, type: text }\nsteps:\n  - { id: a, agent: y, inputs: {} }\nfinal_output: \"${inputs.other}\"\n";
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
fn a_step_that_needs_both_of_two_branches_is_warned_of() {
    let required =
        "inputs:\n  - { name: l, type: text, required: true }\n  - { name: r, type: text, required: true }\n";
    let one = "inputs:\n  - { name: topic, type: text, required: true }\n";
    let with = |left: &str, right: &str, join: &str, inputs: &str| {
        Folder::new()
            .with("agents/x.yaml", agent("x"))
            .with("agents/pair.yaml", agent("pair").replace(one, inputs))
            .with(
                "workflows/w.yaml",
                format!(
                    "workflow_id: w\nname: W\nsteps:\n  - {{ id: left, agent: x{left} }}\n  \
                     - {{ id: right, agent: x{right} }}\n  - {{ id: join, {join} }}\n"
                ),
            )
            .problems()
    };
    let pair = "agent: pair, inputs: { l: \"${steps.left.outputs.result}\", r: \"${steps.right.outputs.result}\" }";
    let (one_branch, other_branch) = (", when: \"context.kind == 'a'\"", ", when: \"context.kind == 'b'\"");
    let warned = |join: &str| {
        [format!(
            "workflows/w.yaml:6:5: warning[skipped_join]: step `{join}` needs values of `left` and of `right`, which \
             are executed under different conditions; it is skipped unless both are executed; make the inputs \
             optional, or give them defaults"
        )]
    };
    assert_eq!(with(one_branch, other_branch, pair, required), warned("join"));
    let text = "agent: x, inputs: { topic: \"${steps.left.outputs.result} ${steps.right.outputs.result}\" }";
    assert_eq!(with(one_branch, other_branch, text, required), warned("join"));
    let prompt = "approval: { prompt: \"${steps.left.outputs.result} ${steps.right.outputs.result}?\" }";
    assert_eq!(with(one_branch, other_branch, prompt, required), warned("join"));
    assert_eq!(with(one_branch, one_branch, pair, required), Vec::<String>::new(), "one branch");
    assert_eq!(with("", other_branch, pair, required), Vec::<String>::new(), "only one of them may be skipped");
    let optional = "inputs:\n  - { name: l, type: text }\n  - { name: r, type: text }\n";
    assert_eq!(with(one_branch, other_branch, pair, optional), Vec::<String>::new(), "it takes what is there");
    let default = required.replace("name: r, type: text, required: true", "name: r, type: text, default: none");
    assert_eq!(with(one_branch, other_branch, pair, &default), Vec::<String>::new());
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
    let inner = "workflow_id: inner\nname: I\ninputs:\n  - { name: topic, type: text, required: true }\n  - { name: depth, type: integer, required: true }\nsteps:\n  - { id: s, agent: x }\nfinal_output: \"${inputs.depth}\"\n";
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

#[test]
fn the_inputs_of_a_compensation_match_its_agent() {
    let step = |compensate: &str| workflow(&format!("steps:\n  - id: a\n    agent: x\n    compensate: {compensate}\n"));
    assert_eq!(step("{ agent: x, inputs: { topic: \"${steps.a.outputs.result}\" } }"), Vec::<String>::new());
    assert_eq!(
        step("{ agent: y, inputs: { depth: \"${steps.a.outputs.result}\" } }"),
        ["workflows/w.yaml:6:46: error[wrong_type]: step `a`: `inputs.depth` must be an integer, and \
          `${steps.a.outputs.result}` is a text"]
    );
    assert_eq!(
        step("{ agent: y, inputs: { dept: 3 } }"),
        [
            "workflows/w.yaml:6:45: error[unknown_field]: step `a`: the agent `y` has no input `dept`; did you mean `depth`?"
        ]
    );
    assert_eq!(
        step("{ agent: y, inputs: { depth: \"${steps.a.outputs.resutl}\" } }"),
        ["workflows/w.yaml:6:46: error[unknown_reference]: step `a` has no output `resutl`; did you mean `result`?"]
    );
    assert_eq!(
        step("{ agent: y, inputs: { depth: deep } }"),
        ["workflows/w.yaml:6:46: error[wrong_type]: step `a`: `inputs.depth` must be an integer, not \"deep\""]
    );
}

#[test]
fn an_approval_and_a_loop_name_outputs_that_their_steps_have() {
    let first = "steps:\n  - { id: a, agent: x }\n";
    assert_eq!(
        workflow(&format!("{first}  - {{ id: b, approval: {{ prompt: \"Send ${{steps.a.outputs.resutl}}?\" }} }}\n")),
        ["workflows/w.yaml:5:34: error[unknown_reference]: step `a` has no output `resutl`; did you mean `result`?"]
    );
    assert_eq!(
        workflow(&format!(
            "{first}  - {{ id: b, agent: x, for_each: {{ items: \"${{steps.a.outputs.resutl}}\" }}, inputs: {{ topic: \"${{item}}\" }} }}\n"
        )),
        ["workflows/w.yaml:5:43: error[unknown_reference]: step `a` has no output `resutl`; did you mean `result`?"]
    );
}

#[test]
fn a_reference_into_a_value_names_what_its_type_declares() {
    let rows = "  - { name: rows, type: array, items: { type: object, properties: { amount: number } } }\n";
    let problems = |reference: &str, for_each: &str| {
        let text = format!(
            "workflow_id: w\nname: W\nsteps:\n  - {{ id: a, agent: x, inputs: {{ topic: t }}{for_each} }}\nfinal_output: \"${{{reference}}}\"\n"
        );
        let outputs = agent("x").replace("  - { name: result, type: text }\n", rows);
        Folder::new().with("agents/x.yaml", outputs).with("workflows/w.yaml", text).problems()
    };
    for valid in ["steps.a.outputs.rows[0].amount", "steps.a.outputs.rows"] {
        assert_eq!(problems(valid, ""), Vec::<String>::new(), "{valid}");
    }
    assert_eq!(
        problems("steps.a.outputs.rows[0].amount.deep", ""),
        [
            "workflows/w.yaml:5:15: error[unknown_reference]: `${steps.a.outputs.rows[0].amount.deep}`: `rows[0].amount` \
          has no property `deep`, since that is a number"
        ]
    );
    let expected = |reference: &str| {
        [format!(
            "workflows/w.yaml:5:15: error[unknown_reference]: `${{{reference}}}`: `rows[0]` has no property `amuont`, did \
             you mean `amount`?"
        )]
    };
    let reference = "steps.a.outputs.rows[0].amuont";
    assert_eq!(problems(reference, ""), expected(reference));
    let (of_item, for_each) = ("steps.a.outputs.rows[3][0].amuont", ", for_each: { items: [1] }");
    assert_eq!(problems(of_item, for_each), expected(of_item));
}

#[test]
fn a_value_without_a_run_has_the_type_of_its_input() {
    let step = |value: &str| workflow(&format!("steps:\n  - {{ id: a, agent: y, inputs: {{ depth: {value} }} }}\n"));
    for valid in ["3", "3.0", "\"${inputs.depth}\"", "\"${context.depth}\"", "null"] {
        assert_eq!(step(valid), Vec::<String>::new(), "{valid}");
    }
    for (value, message) in [
        ("\"3\"", "`inputs.depth` must be an integer, not \"3\""),
        ("2.5", "`inputs.depth` must be an integer, not 2.5"),
        ("[1]", "`inputs.depth` must be an integer, not an array of 1"),
        (
            "\"at ${inputs.depth}\"",
            "`inputs.depth` must be an integer, not a text with references in it; a text that is one reference keeps the type \
             of its value",
        ),
        (
            "[\"${inputs.depth}\"]",
            "`inputs.depth` must be an integer, not a list; a text that is one reference keeps the type of its value",
        ),
    ] {
        assert_eq!(step(value), [format!("workflows/w.yaml:4:41: error[wrong_type]: step `a`: {message}")], "{value}");
    }
}

/// The problems of a workflow whose step `b` passes a value to a receiver of every kind. Step `a` returns values of
/// every kind, step `list` a list of each.
fn passed(member: &str, value: &str) -> Vec<String> {
    let fields = "  - { name: text, type: text }\n  - { name: number, type: number }\n  - { name: whole, type: integer }\n  \
                  - { name: flag, type: boolean }\n  - { name: list, type: array, items: text }\n  \
                  - { name: map, type: object, properties: { amount: number } }\n  - { name: file, type: file }\n  \
                  - { name: rows, type: array, items: { type: object, properties: { amount: number } } }\n";
    let every = |id: &str| {
        format!(
            "agent_id: {id}\nname: E\ncategory: business_ops\ndescription: D\nversion: \"1.0.0\"\ninputs:\n{fields}outputs:\n{fields}\
             implementation: {{ runtime: native, handler: native.echo }}\n"
        )
    };
    let inner = "workflow_id: inner\nname: I\nsteps:\n  - { id: s, agent: every }\noutputs:\n  result: \"${steps.s.outputs.list}\"\n";
    let workflow = format!(
        "workflow_id: w\nname: W\ninputs:\n  - {{ name: given, type: boolean, required: true }}\nsteps:\n  - {{ id: a, agent: every }}\n  \
         - {{ id: each, agent: every, for_each: {{ items: \"${{steps.a.outputs.list}}\" }} }}\n  \
         - {{ id: inner, workflow: inner }}\n  - {{ id: named, agent: every, outputs: [other] }}\n  \
         - {{ id: b, agent: every, for_each: {{ items: \"${{steps.a.outputs.rows}}\" }}, inputs: {{ {member}: {value} }} }}\n\
         final_output: \"${{inputs.given}}\"\n"
    );
    Folder::new()
        .with("agents/every.yaml", every("every"))
        .with("workflows/inner.yaml", inner)
        .with("workflows/w.yaml", workflow)
        .problems()
}

#[test]
fn a_reference_has_the_type_of_the_input_that_receives_it() {
    for (member, reference) in [
        ("number", "steps.a.outputs.whole"),
        ("whole", "steps.a.outputs.number"),
        ("text", "steps.a.outputs.file"),
        ("number", "steps.a.outputs.map.amount"),
        ("number", "context.anything"),
        ("number", "item.amount"),
        ("whole", "index"),
        ("map", "item"),
        ("list", "steps.each.outputs.text"),
        ("list", "steps.inner.outputs.result"),
        ("text", "steps.named.outputs.other"),
        ("map", "steps.a.outputs"),
        ("flag", "inputs.given"),
        ("text", "steps.a.outputs.list[0]"),
    ] {
        assert_eq!(passed(member, &format!("\"${{{reference}}}\"")), Vec::<String>::new(), "{member} {reference}");
    }
    for (member, reference, expected, found) in [
        ("number", "steps.a.outputs.list", "a number", "an array"),
        ("text", "steps.a.outputs.map", "a text", "an object"),
        ("list", "steps.a.outputs.text", "an array", "a text"),
        ("number", "inputs.given", "a number", "true or false"),
        ("number", "steps.each.outputs.number", "a number", "an array"),
        ("number", "steps.inner.outputs.result", "a number", "an array"),
        ("number", "steps.named.outputs.other", "a number", "a text"),
        ("number", "item", "a number", "an object"),
        ("text", "index", "a text", "an integer"),
        ("text", "steps.a.outputs", "a text", "an object"),
        ("flag", "steps.a.outputs.rows[0].amount", "true or false", "a number"),
    ] {
        let message = format!("step `b`: `inputs.{member}` must be {expected}, and `${{{reference}}}` is {found}");
        let problems = passed(member, &format!("\"${{{reference}}}\""));
        assert_eq!(problems.len(), 1, "{member} {reference} {problems:?}");
        assert!(problems[0].ends_with(&format!("error[wrong_type]: {message}")), "{problems:?}");
    }
}

#[test]
fn a_reference_inside_a_list_or_a_map_has_the_type_of_its_position() {
    for (member, value, message) in [
        (
            "list",
            "[\"${steps.a.outputs.number}\"]",
            "`inputs.list[0]` must be a text, and `${steps.a.outputs.number}` is a number",
        ),
        (
            "rows",
            "[{ amount: \"${steps.a.outputs.list}\" }]",
            "`inputs.rows[0].amount` must be a number, and `${steps.a.outputs.list}` is an array",
        ),
        (
            "rows",
            "\"${steps.each.outputs.text}\"",
            "`inputs.rows[]` must be an object, and `${steps.each.outputs.text}[]` is a text",
        ),
    ] {
        let problems = passed(member, value);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].ends_with(message), "{problems:?}");
    }
}

#[test]
fn the_items_of_a_loop_are_a_list_and_an_inherited_input_has_its_type() {
    let first = "steps:\n  - { id: a, agent: x }\n";
    let looped = "  - { id: b, agent: x, for_each: { items: \"${steps.a.outputs.result}\" }, inputs: { topic: t } }\n";
    assert_eq!(
        workflow(&format!("{first}{looped}")),
        ["workflows/w.yaml:5:43: error[wrong_type]: step `b`: `for_each.items` must be an array, and \
          `${steps.a.outputs.result}` is a text"]
    );
    let inherited = |required: bool| {
        workflow(&format!(
            "inputs:\n  - {{ name: depth, type: text, required: {required} }}\nsteps:\n  - {{ id: a, agent: y }}\n"
        ))
    };
    let found =
        "step `a`: `inputs.depth` must be an integer, and the run's input `depth`, which the step receives, is a text";
    for (required, expected) in [
        (true, format!("error[wrong_type]: {found}")),
        (false, format!("warning[wrong_type]: {found}; a run with a value for it fails")),
    ] {
        let problems = inherited(required);
        assert!(problems.iter().any(|problem| problem.ends_with(&expected)), "{problems:?}");
    }
}
