//! Tests of prompts: variables, rejected templates and filters.

use greenroom_protocol::{Json, Values};
use proptest::prelude::*;
use serde_json::json;

use super::{Prompt, PromptError};
use crate::agent::AgentSpec;
use crate::bounds::TEMPLATE_BYTES_MAX;

fn spec(prompt: Json) -> AgentSpec {
    serde_json::from_value(json!({
        "agent_id": "x", "name": "Writer", "category": "c", "description": "Writes.", "version": "1",
        "inputs": [{ "name": "topic", "type": "text" }, { "name": "data", "type": "object" }, {
            "name": "order", "type": "object", "properties": { "total": { "required": true, "type": "number" } }
        }],
        "outputs": [{ "name": "o", "type": "text" }],
        "implementation": { "runtime": "llm", "prompt": prompt }
    }))
    .unwrap()
}

fn rendered(user: &str) -> Result<String, String> {
    let prompt = Prompt::compile(&spec(json!({ "user": user }))).map_err(|error| error.to_string())?;
    let inputs =
        json!({ "topic": "bees", "data": { "rows": [1, 2], "by": { "b": 2, "a": 1 }, "text": "<b>\"x\"</b>" } });
    let inputs: Values = inputs.as_object().unwrap().clone().into_iter().collect();
    let context = Values::from([("company".to_owned(), json!("Acme"))]);
    prompt.render_user(&inputs, &context).map_err(|cause| cause.message)
}

fn refused(prompt: Json) -> PromptError {
    Prompt::compile(&spec(prompt)).unwrap_err()
}

#[test]
fn a_template_sees_inputs_and_context() {
    assert_eq!(rendered("On {{ inputs.topic }} for {{ context.company }}.").as_deref(), Ok("On bees for Acme."));
    assert_eq!(rendered("{% for row in inputs.data.rows %}{{ row }};{% endfor %}").as_deref(), Ok("1;2;"));
    assert_eq!(
        rendered("{% if context.nothing %}x{% else %}y{% endif %}[{{ context.nothing }}]").as_deref(),
        Ok("y[]")
    );
    assert_eq!(rendered("{% raw %}{{ inputs.topic }}{% endraw %}").as_deref(), Ok("{{ inputs.topic }}"));
    assert_eq!(rendered("{{ agent.name }} of {{ agent.category }}").as_deref(), Ok("Writer of c"));
    assert_eq!(
        rendered("For {{ context.reader }}: {{ inputs.topic }} {{ inputs.order }}.").as_deref(),
        Ok("For : bees ."),
        "a value that is missing writes nothing"
    );
    let json = r#"{"summary": {"text": "...", "tags": {"a": {"b": 1}}}} {topic}"#;
    assert_eq!(rendered(json).as_deref(), Ok(json), "braces of JSON are text");
}

#[test]
fn a_system_prompt_without_tags_is_as_the_engine_renders_it() {
    for text in ["You write.", "One\n", "One\n\n", "One\r\n", "One\r\n\r\n", "One\r", "", "\n", " a } b \n  "] {
        let system = |text: &str| Prompt::compile(&spec(json!({ "system": text }))).unwrap().system().to_owned();
        // With a comment, it is a template.
        assert_eq!(system(text), system(&format!("{{##}}{text}")), "{text:?}");
    }
    let long = refused(json!({ "system": "x".repeat(TEMPLATE_BYTES_MAX + 1) }));
    assert!(long.out_of_bounds && long.part == "system", "{long}");
}

#[test]
fn the_filters_have_their_documented_results() {
    for (template, wanted) in [
        ("{{ inputs.data.by | tojson }}", "{\"a\":1,\"b\":2}"),
        ("{{ inputs.data.rows | tojson(indent=true) }}", "[\n  1,\n  2\n]"),
        ("{{ inputs.data.text | tojson }}", "\"<b>\\\"x\\\"</b>\""),
        ("{{ inputs.data.text }}", "<b>\"x\"</b>"),
        ("{{ inputs.data.rows | join(', ') }}", "1, 2"),
        ("{{ inputs.topic | replace('b', 'tr') | upper }}", "TREES"),
        ("{{ inputs.topic | truncate(2) }}", "be…"),
        ("{{ inputs.data.by | markdown }}", "- A: 1\n- B: 2\n"),
        ("{{ context.nothing | markdown }}", ""),
        ("{{ context.nothing | default('none') }}", "none"),
        ("{{ inputs.data.rows | length }} {{ inputs.data.rows | sum }} {{ inputs.data.rows | first }}", "2 3 1"),
        ("{% for key, value in inputs.data.by | dictsort %}{{ key }}={{ value }} {% endfor %}", "a=1 b=2 "),
        ("{{ 'yes' if inputs.topic is defined and inputs.topic is not none else 'no' }}", "yes"),
        ("{{ 'in' if inputs.topic in ['bees'] else 'out' }}", "in"),
    ] {
        assert_eq!(rendered(template).as_deref(), Ok(wanted), "{template}");
    }
}

#[test]
fn an_invalid_template_has_a_message_with_its_line() {
    let error = refused(json!({ "user": "one\ntwo {{ inputs.topik }}" }));
    assert_eq!(
        error.to_string(),
        "the user template references the input `topik`, which is not declared, did you mean `topic`?"
    );
    assert_eq!((error.line, error.out_of_bounds), (2, false));

    let error = refused(json!({ "user": "{{ topic }}" }));
    assert_eq!(
        error.to_string(),
        "the user template references `topic`, did you mean `inputs.topic`?; it may reference inputs, context, agent"
    );

    let error = refused(json!({ "system": "You are\nthe {{ agent.nam }}" }));
    assert_eq!(
        (error.to_string().as_str(), error.line),
        (
            "the system template references `agent.nam`, which does not exist, did you mean `name`?; an agent has id, name, \
             category, description, capabilities, inputs, outputs",
            2
        )
    );

    let error = refused(json!({ "user": "{{ inputs.order.totl }}" }));
    assert_eq!(
        error.to_string(),
        "the user template references the property `totl` of `order`, which is not declared, did you mean `total`?"
    );

    let error = refused(json!({ "user": "one\n{% if inputs.topic %}" }));
    assert!(error.to_string().starts_with("the user template cannot be parsed: "), "{error}");
    assert_eq!(error.line, 2);

    let error = refused(json!({ "user": "one\n{{ inputs.topic }}\n{{ inputs.topic | uper }}" }));
    assert_eq!(
        (error.to_string().as_str(), error.line),
        ("the user template uses the filter `uper`, which is not known, did you mean `upper`?", 3)
    );

    let error = refused(json!({ "user": "one\ntwo {#3}" }));
    assert_eq!(error.to_string(), "the user template has a comment that is not closed");
    assert_eq!((error.line, error.out_of_bounds), (2, false));

    let error = refused(json!({ "user": "{% if inputs.topic is nothing %}{% endif %}" }));
    assert_eq!(error.to_string(), "the user template uses the test `nothing`, which is not known");

    let error = refused(json!({ "user": "{{ range(10) }}" }));
    assert_eq!(error.to_string(), "the user template references `range`; it may reference inputs, context, agent");

    let error = refused(json!({ "system": "{{ inputs.topic }}" }));
    assert_eq!(error.to_string(), "the system template references `inputs.topic`; it may reference agent");
}

#[test]
fn a_prompt_depends_on_the_inputs_that_it_references() {
    let uses = |user: &str, name: &str| Prompt::compile(&spec(json!({ "user": user }))).unwrap().uses_input(name);
    for user in
        ["{{ inputs.topic }}", "{% if inputs.topic %}a{% endif %}", "{{ inputs | tojson }}", "{{ inputs['topic'] }}"]
    {
        assert!(uses(user, "topic"), "{user}");
    }
    for user in ["{topic}", "{{ inputs.data.topic }}", "{{ context.topic }}", "{% raw %}{{ inputs.topic }}{% endraw %}"]
    {
        assert!(!uses(user, "topic"), "{user}");
    }
    assert!(
        Prompt::compile(&spec(json!(null))).unwrap().uses_input("topic"),
        "without a template, all inputs are sent"
    );
}

#[test]
fn an_agent_without_templates_has_its_inputs_as_the_prompt() {
    let prompt = Prompt::compile(&spec(json!(null))).unwrap();
    assert_eq!(prompt.system(), "You are the Writer. Writes.");
    let inputs = Values::from([("topic".to_owned(), json!("bees"))]);
    assert_eq!(prompt.render_user(&inputs, &Values::new()).as_deref(), Ok("## Topic\n\nbees\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_a_template_panic(
        words in prop::collection::vec(
            prop_oneof![
                Just("{{ "), Just(" }}"), Just("{% if "), Just(" %}"), Just("{% endif %}"), Just("{% else %}"), Just("{% for x in "),
                Just("{% endfor %}"), Just("inputs.topic"), Just("inputs.data"), Just("x"), Just("|upper"), Just("|join("), Just(")"),
                Just("'a'"), Just("3"), Just("["), Just("]"), Just("("), Just("{#"), Just("#}"), Just("{% raw %}"), Just("text "),
                Just(" is "), Just("defined"), Just("|tojson"), Just("|markdown"), Just("|sort"), Just("-"), Just("/"), Just("0"),
                Just("%"), Just(":"), Just(","), Just("|replace("), Just("|round("), Just("|int"), Just("|sum"), Just("|max"),
            ],
            0..20,
        )
    ) {
        let _ = rendered(&words.concat());
    }

    #[test]
    fn a_text_of_a_caller_arrives_as_it_is(text in "\\PC{0,80}") {
        let prompt = Prompt::compile(&spec(json!({ "user": "<{{ inputs.topic }}>" }))).unwrap();
        let inputs = Values::from([("topic".to_owned(), json!(text))]);
        prop_assert_eq!(prompt.render_user(&inputs, &Values::new()).unwrap(), format!("<{text}>"));
    }
}
