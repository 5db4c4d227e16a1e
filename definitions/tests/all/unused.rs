//! Inputs that nothing uses, and placeholders of other template languages.

use crate::folder::{Folder, agent};

/// The problems of an agent with a model whose inputs are `topic` and, optional, `reader`. The user prompt begins
/// on line 15.
fn prompt(user: &str) -> Vec<String> {
    let inputs = "  - { name: topic, type: text, required: true }\n  - { name: reader, type: text }\n";
    let implementation = format!("implementation:\n  runtime: llm\n  prompt:\n    user: |\n      {user}\n");
    let text = agent("x")
        .replace("  - { name: topic, type: text, required: true }\n", inputs)
        .replace("implementation: { runtime: native, handler: native.echo }\n", &implementation);
    Folder::new().with("agents/x.yaml", text).problems()
}

#[test]
fn a_placeholder_of_another_template_language_is_named() {
    for placeholder in ["{topic}", "{ topic }", "${topic}", "%(topic)s", "<topic>", "[[topic]]", "{inputs.topic}"] {
        assert_eq!(
            prompt(&format!("For {{{{ inputs.reader }}}}:\n      about {placeholder}.")),
            [format!(
                "agents/x.yaml:16:1: warning[unused_input]: the model is sent `{placeholder}` of the user prompt as it is \
                 written; write `{{{{ inputs.topic }}}}` for the value"
            )],
        );
    }
}

#[test]
fn braces_that_are_no_placeholder_of_an_input_are_sent_as_they_are() {
    let used = "About {{ inputs.topic }} for {{ inputs.reader }}.";
    for text in [r#"{"summary": {"text": "..."}}"#, "{reader} and {topic}", "{other}", "a { b }"] {
        assert_eq!(prompt(&format!("{used}\n      {text}")), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_input_that_no_prompt_has_is_a_warning() {
    assert_eq!(
        prompt("About {{ inputs.topic }}."),
        ["agents/x.yaml:8:5: warning[unused_input]: nothing uses the input `reader`: no model is sent its value; \
          reference it in the user prompt as `{{ inputs.reader }}`, or remove it"]
    );
    for all in ["{{ inputs | tojson }}", "{% for name, value in inputs | items %}{{ name }}{{ value }}{% endfor %}"] {
        assert_eq!(prompt(all), Vec::<String>::new(), "{all}");
    }
    assert_eq!(prompt("{% if inputs.topic %}a{% endif %}{{ inputs[\"reader\"] }}"), Vec::<String>::new());
}

#[test]
fn an_undeclared_name_is_an_error_with_the_reference_that_was_meant() {
    for (text, problem) in [
        ("{{ topic }}", "references `topic`, did you mean `inputs.topic`?; it may reference inputs, context, agent"),
        ("{{ inputs.topik }}", "references the input `topik`, which is not declared, did you mean `topic`?"),
        (
            "{{ agent.nam }}",
            "references `agent.nam`, which does not exist, did you mean `name`?; an agent has id, name, category, \
             description, capabilities, inputs, outputs",
        ),
    ] {
        let expected = format!("agents/x.yaml:15:7: error[expression]: the user template {problem}");
        assert_eq!(prompt(text), [expected]);
    }
}

#[test]
fn a_tag_that_a_prompt_may_not_have_is_an_error_with_its_line() {
    for (text, position, message) in [
        (
            "A margin of {%5%}.\n      The text: {{ inputs.topic }}",
            "15:7",
            "has a `5` statement; a prompt may use for, endfor, if, elif, else, endif",
        ),
        (
            "The text: {{ inputs.topic }}\n      A margin of {%5%} and {#7} orders.",
            "16:1",
            "has a comment that is not closed",
        ),
        ("The text:\n      {{ inputs.topic", "16:1", "has a `{{` that is not closed"),
        ("{{ inputs.topic * 2 }}", "15:7", "uses `*`; a prompt puts texts side by side"),
    ] {
        let expected = format!("agents/x.yaml:{position}: error[expression]: the user template {message}");
        assert_eq!(prompt(text), [expected]);
    }
}

#[test]
fn a_template_that_exceeds_a_bound_has_a_kind_of_its_own() {
    assert_eq!(
        prompt(&"{% if inputs.topic %}".repeat(17)),
        ["agents/x.yaml:15:7: error[expression_bounds]: the user template is nested deeper than 16"]
    );
}

/// The problems of a workflow with the input `depth` over the agent `x`, whose input is `topic`.
fn workflow(rest: &str) -> Vec<String> {
    let head = "workflow_id: w\nname: W\ninputs:\n  - { name: depth, type: integer }\n";
    Folder::new().with("agents/x.yaml", agent("x")).with("workflows/w.yaml", format!("{head}{rest}")).problems()
}

#[test]
fn an_input_of_a_workflow_is_referenced_or_inherited() {
    let step = "steps:\n  - { id: a, agent: x, inputs: { topic: t } }\n";
    assert_eq!(
        workflow(step),
        ["workflows/w.yaml:4:5: warning[unused_input]: nothing uses the input `depth`: no step receives its value; \
          reference it as `${inputs.depth}`, or remove it"]
    );
    for rest in [
        "steps:\n  - { id: a, agent: x, inputs: { topic: \"at ${inputs.depth}\" } }\n",
        "steps:\n  - { id: a, agent: x, inputs: { topic: \"at ${context.depth}\" } }\n",
        "steps:\n  - { id: a, agent: x, when: \"inputs.depth > 3\", inputs: { topic: t } }\n",
        "steps:\n  - { id: a, agent: x, inputs: { topic: t } }\nfinal_output: \"${inputs.depth}\"\n",
        "steps:\n  - { id: a, agent: x, inputs: { topic: t }, approval: { prompt: \"At ${inputs.depth}?\" } }\n",
        "steps:\n  - { id: a, agent: x, inputs: { topic: t }, compensate: { agent: x, inputs: { topic: \"at ${inputs.depth}\" } } }\n",
    ] {
        assert_eq!(workflow(rest), Vec::<String>::new(), "{rest}");
    }
    let inherited = Folder::new().with("agents/x.yaml", agent("x")).with(
        "workflows/w.yaml",
        "workflow_id: w\nname: W\ninputs:\n  - { name: topic, type: text }\nsteps:\n  - { id: a, agent: x }\n",
    );
    assert!(inherited.problems().iter().all(|problem| !problem.contains("unused_input")));
}
