//! Expressions and templates that try to exhaust the stack or the memory, through the public API and
//! on a small stack.

use greenroom_definitions::condition::{Condition, Verdict};
use greenroom_definitions::{Agent, AgentSpec, Scope};
use greenroom_protocol::{ErrorCode, Values};
use serde_json::json;

/// Threads of a release build have 2 MiB, and a debug build uses more stack for the same work.
fn on_a_small_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn with_user_template(template: &str) -> Result<Agent, String> {
    let spec: AgentSpec = serde_json::from_value(json!({
        "agent_id": "x", "name": "X", "category": "business_ops", "description": "d", "version": "1",
        "inputs": [{ "name": "text", "type": "text" }, { "name": "list", "type": "array" }],
        "outputs": [{ "name": "result", "type": "text", "required": true }],
        "implementation": { "runtime": "llm", "prompt": { "user": template } }
    }))
    .unwrap();
    Agent::new(spec).map_err(|cause| cause.message)
}

#[test]
fn the_deepest_condition_that_is_allowed_fits_the_stack() {
    on_a_small_stack(|| {
        let mut deepest = vec![
            format!("{}true{}", "(".repeat(16), ")".repeat(16)),
            format!("{}true", "!".repeat(199)),
            format!("size({}1{}) == 1", "[".repeat(15), "]".repeat(15)),
            format!("inputs{} == 1", ".a".repeat(190)),
            vec!["true"; 100].join(" && "),
            vec!["1 - 1"; 66].join(" - ") + " == 1",
            "true ? true : ".repeat(16) + "true",
            format!("{}1{} == 1", "-(".repeat(16), ")".repeat(16)),
        ];
        deepest.push(format!("{}{{'a': 1}}{} == 1", "{'a': ".repeat(14), "}".repeat(14)));
        let (inputs, context, steps) = (Values::new(), Values::new(), std::collections::BTreeMap::new());
        for text in deepest {
            let condition = Condition::compile(&text).unwrap_or_else(|message| panic!("{text}: {message}"));
            // The result is irrelevant here; the evaluation must only terminate.
            let _ = condition.evaluate(&Scope::new(&inputs, &context, &steps));
        }
    });
}

#[test]
fn a_condition_that_exceeds_a_bound_is_not_parsed() {
    on_a_small_stack(|| {
        let invalid = [
            ("(".repeat(500) + "1" + &")".repeat(500), "is nested deeper than 16"),
            ("!".repeat(900) + "true", "has more than 200 operators"),
            ("a".repeat(2_000), "has 2000 bytes, 1024 are allowed"),
            ("true ? ".repeat(50) + "1" + &" : 1".repeat(50), "has more than 16 alternatives"),
            ("inputs.a".to_owned() + &" + inputs.a".repeat(9), "has more than 8 additions"),
            ("inputs.a.all(x, inputs.a.all(y, x == y))".into(), "has a comprehension inside another one"),
            ("inputs.a.map(x, [x, x]).size() > 1".into(), "uses `map`"),
            ("inputs.a.exists(x, x.matches('(a+)+'))".into(), "uses `matches` for each item of a list"),
            ("\"open".into(), "has a quoted text without a closing quote"),
        ];
        for (text, reason) in invalid {
            let found = Condition::compile(&text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
    });
}

#[test]
fn a_condition_references_bounded_values_only() {
    let condition = Condition::compile("inputs.list.all(x, x > 0)").unwrap();
    let (context, steps) = (Values::new(), std::collections::BTreeMap::new());
    let holds = |list: serde_json::Value| {
        let inputs = Values::from([("list".to_owned(), list)]);
        condition.evaluate(&Scope::new(&inputs, &context, &steps))
    };
    assert_eq!(holds(json!([1, 2, 3])), Ok(Verdict::True));
    assert_eq!(holds(json!(vec![1; 1_000])), Ok(Verdict::True));
    let long = holds(json!(vec![1; 1_001])).unwrap_err();
    assert_eq!(long.code, ErrorCode::ExpressionFailed);
    assert!(long.message.contains("a list of 1001 items, 1000 are allowed"), "{}", long.message);
    let large = holds(json!(["x".repeat(300_000)])).unwrap_err();
    assert!(large.message.contains("references more than 262144 bytes"), "{}", large.message);
}

#[test]
fn a_template_beyond_its_bounds_is_refused_before_it_is_parsed() {
    on_a_small_stack(|| {
        let invalid = [
            ("{{ ".to_owned() + &"(".repeat(5_000) + "1" + &")".repeat(5_000) + " }}", "is nested deeper than 16"),
            ("{% if inputs.text %}".repeat(17) + &"{% endif %}".repeat(17), "is nested deeper than 16"),
            ("{% if 1 %}".to_owned() + &"{% elif 1 %}".repeat(20) + "{% endif %}", "is nested deeper than 16"),
            ("{{ inputs.text".to_owned() + &"|trim".repeat(201) + " }}", "has more than 200 operators"),
            ("x".repeat(16 * 1024 + 1), "has 16385 bytes, 16384 are allowed"),
            ("{{ 'a' * 1000000000000 }}".into(), "uses `*`"),
            ("{{ inputs.text ~ inputs.text }}".into(), "uses `~`"),
            ("{{ inputs.text + inputs.text }}".into(), "uses `+`"),
            ("{% set x = 1 %}".into(), "has a `set` statement"),
            ("{% macro f() %}{{ f() }}{% endmacro %}".into(), "has a `macro` statement"),
            ("{% include 'x' %}".into(), "has a `include` statement"),
            ("{% for x in inputs.list recursive %}{{ loop(x) }}{% endfor %}".into(), "uses `recursive`"),
            ("{{ inputs.text|batch(1000000000) }}".into(), "uses the filter `batch`, which is not known"),
            ("{{ 'open }}".into(), "has a `{{` that is not closed"),
            ("{# open".into(), "has a comment that is not closed"),
        ];
        for (text, reason) in invalid {
            let found = with_user_template(&text).unwrap_err();
            assert!(found.contains(reason), "{}: {found}", text.chars().take(60).collect::<String>());
        }
    });
}

#[test]
fn a_template_that_writes_or_works_too_much_is_stopped() {
    on_a_small_stack(|| {
        let long = Values::from([("text".to_owned(), json!("x".repeat(600_000)))]);
        let agent = with_user_template("{{ inputs.text }}{{ inputs.text }}").unwrap();
        let found = agent.prompt().render_user(&long, &Values::new()).unwrap_err();
        assert_eq!(found.code, ErrorCode::ContextOverflow);
        assert!(
            found.message.contains("it would have at least 1200000 bytes, 1048576 are allowed"),
            "{}",
            found.message
        );
        assert_eq!(found.details, json!({ "bytes": 1_200_000, "bytes_max": 1_048_576, "over": 151_424 }));
        // The size is counted up to a bound only, since a loop over a large value would run for long.
        let loops = "{% for a in inputs.list %}{{ inputs.text }}{% endfor %}";
        let endless =
            Values::from([("list".to_owned(), json!(vec![1; 2_000])), ("text".to_owned(), json!("x".repeat(600_000)))]);
        let found = with_user_template(loops).unwrap().prompt().render_user(&endless, &Values::new()).unwrap_err();
        assert_eq!((found.code, &found.details["bytes"]), (ErrorCode::ContextOverflow, &json!(16_800_000)));

        let list = Values::from([("list".to_owned(), json!(vec![1; 2_000]))]);
        let work = "{% for a in inputs.list %}{% for b in inputs.list %}{% endfor %}{% endfor %}";
        let found = with_user_template(work).unwrap().prompt().render_user(&list, &Values::new()).unwrap_err();
        assert!(found.message.contains("ran out of fuel"), "{}", found.message);

        for growing in ["{{ inputs.text|replace('', inputs.text) }}", "{{ inputs.text|replace('x', 'xxxxxxxxxx') }}"] {
            let found = with_user_template(growing).unwrap().prompt().render_user(&long, &Values::new()).unwrap_err();
            assert!(found.message.contains("`replace` would write more than 1048576 bytes"), "{}", found.message);
        }
        let chained = "{{ inputs.text".to_owned() + &"|tojson".repeat(60) + " }}";
        let quoted = Values::from([("text".to_owned(), json!("\"\\"))]);
        let found = with_user_template(&chained).unwrap().prompt().render_user(&quoted, &Values::new()).unwrap_err();
        assert_eq!(found.code, ErrorCode::ContextOverflow, "{}", found.message);
    });
}

#[test]
fn inputs_of_a_caller_remain_data() {
    let agent = with_user_template("Read this: {{ inputs.text }}").unwrap();
    let attack = "{{ 7 / 7 }}{% for x in [1] %}{{ agent.id }}{% endfor %}${inputs.text} <b>\"quoted\"</b>";
    let inputs = Values::from([("text".to_owned(), json!(attack))]);
    assert_eq!(agent.prompt().render_user(&inputs, &Values::new()).unwrap(), format!("Read this: {attack}"));
    assert_eq!(agent.prompt().system(), "You are the X. d");
}

#[test]
fn the_system_template_cannot_reference_inputs_of_a_caller() {
    let spec = |system: &str| -> AgentSpec {
        serde_json::from_value(json!({
            "agent_id": "x", "name": "X", "category": "business_ops", "description": "d", "version": "1",
            "inputs": [{ "name": "text", "type": "text" }],
            "outputs": [{ "name": "result", "type": "text" }],
            "implementation": { "runtime": "llm", "prompt": { "system": system } }
        }))
        .unwrap()
    };
    for named in ["{{ inputs.text }}", "{{ context.company }}", "{% if inputs %}x{% endif %}"] {
        let found = Agent::new(spec(named)).unwrap_err();
        assert_eq!(found.code, ErrorCode::InvalidDefinition);
        assert!(found.message.contains("it may reference agent"), "{}", found.message);
    }
    let agent =
        Agent::new(spec("{{ agent.name }} gives {% for field in agent.outputs %}{{ field.name }}{% endfor %}."));
    assert_eq!(agent.unwrap().prompt().system(), "X gives result.");
}

#[test]
fn a_value_of_the_maximum_depth_fits_the_stack() {
    on_a_small_stack(|| {
        let deep =
            (0..120).fold(json!(1), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) });
        let inputs = Values::from([("list".to_owned(), json!([deep]))]);
        for template in ["{{ inputs.list }}", "{{ inputs.list | tojson }}", "{{ inputs.list | markdown }}"] {
            let agent = with_user_template(template).unwrap();
            assert!(agent.prompt().render_user(&inputs, &Values::new()).unwrap().contains('1'), "{template}");
        }
        let steps = std::collections::BTreeMap::new();
        let none = Values::new();
        let scope = Scope::new(&inputs, &none, &steps);
        assert_eq!(Condition::compile("inputs.list == inputs.list").unwrap().evaluate(&scope), Ok(Verdict::True));
        assert!(!greenroom_definitions::binding::sections(&inputs).is_empty());
    });
}
