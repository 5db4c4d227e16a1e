//! Every kind of problem with its exact message and location, and all of them in one report.

use greenroom_definitions::load;
use greenroom_definitions::problem::ProblemKind;

use crate::folder::{Folder, agent, known_names};

/// The problems of a folder with one changed agent.
fn changed(from: &str, to: &str) -> Vec<String> {
    let text = agent("x");
    assert!(text.contains(from), "{from}");
    Folder::new().with("agents/x.yaml", text.replace(from, to)).problems()
}

/// The problems of an agent with an addition.
fn added(more: &str) -> Vec<String> {
    Folder::new().with("agents/x.yaml", agent("x") + more).problems()
}

#[test]
fn a_minimal_agent_has_no_problems() {
    assert_eq!(added(""), Vec::<String>::new());
}

#[test]
fn a_missing_field_is_named_and_a_misspelled_one_has_a_suggestion() {
    assert_eq!(
        changed("version: \"1.0.0\"\n", ""),
        ["agents/x.yaml:1:1: error[missing_field]: an agent needs `version`"]
    );
    assert_eq!(
        changed("description: It", "descripton: It"),
        [
            "agents/x.yaml:1:1: error[missing_field]: an agent needs `description`; see below",
            "agents/x.yaml:4:1: error[unknown_field]: `descripton` is not a field of an agent; did you mean `description`?",
        ]
    );
}

#[test]
fn a_wrong_type_is_reported_with_the_found_and_the_expected_type() {
    assert_eq!(
        changed("version: \"1.0.0\"", "version: 1.10"),
        ["agents/x.yaml:5:10: error[wrong_type]: found the number 1.10; a semantic version is a text: put it in \
             quotes, such as \"1.10.0\""]
    );
    assert_eq!(
        changed("outputs:\n  - { name: result, type: text }", "outputs: result"),
        ["agents/x.yaml:8:10: error[wrong_type]: found the text \"result\"; expected a list"]
    );
    assert_eq!(
        changed("required: true", "required: yes"),
        [
            "agents/x.yaml:7:42: error[wrong_type]: found the text \"yes\"; expected `true`, `false`, or a list of properties"
        ]
    );
}

#[test]
fn a_misspelled_word_of_a_closed_list_has_a_suggestion() {
    assert_eq!(
        changed("type: text, required", "type: txt, required"),
        ["agents/x.yaml:7:26: error[invalid_value]: `txt` is not known, did you mean `text`?; expected one of text, \
             string, integer, number, boolean, array, object, file"]
    );
    assert_eq!(
        changed("runtime: native", "runtime: nativ"),
        ["agents/x.yaml:10:28: error[invalid_value]: `nativ` is not known, did you mean `native`?; expected one of \
             llm, native, wasm, python, http"]
    );
}

#[test]
fn an_id_and_a_name_are_checked_for_their_characters() {
    assert_eq!(
        changed("agent_id: x", "agent_id: \"a b\""),
        ["agents/x.yaml:1:11: error[invalid_value]: \"a b\" is invalid; an id may have letters, digits, `_`, `-` \
             and `.`, not ' '"]
    );
    assert_eq!(
        changed("name: topic", "name: the-topic"),
        ["agents/x.yaml:7:13: error[invalid_value]: \"the-topic\" is not a valid name; a name has letters, digits \
             and `_`, and does not begin with a digit"]
    );
}

#[test]
fn constraints_must_apply_to_their_type() {
    assert_eq!(
        changed("required: true", "minimum: 3"),
        ["agents/x.yaml:7:41: error[invalid_value]: `minimum` does not apply to a text; remove it, or change the \
             type"]
    );
    assert_eq!(
        changed("required: true", "min_length: 5, max_length: 3"),
        ["agents/x.yaml:7:44: error[invalid_value]: `min_length` is above its maximum"]
    );
    assert_eq!(
        changed("type: text, required: true", "type: integer, default: many"),
        ["agents/x.yaml:7:44: error[invalid_value]: the default of `topic` must be an integer, not \"many\""]
    );
}

#[test]
fn a_tool_of_a_server_needs_the_server_in_the_configuration() {
    assert_eq!(added("tools: [\"mcp:files/read_file\", \"mcp:tickets/a.b/c-d\"]\n"), Vec::<String>::new());
    assert_eq!(
        added("tools: [\"mcp:mail/send\"]\n"),
        ["agents/x.yaml:11:9: error[unknown_name]: there is no MCP server `mail`; the configured MCP servers are \
             `files`, `tickets`"]
    );
    assert_eq!(
        added("tools: [\"mcp:file/read_file\"]\n"),
        ["agents/x.yaml:11:9: error[unknown_name]: there is no MCP server `file`; did you mean `files`?"]
    );
    for wrong in ["mcp:files", "mcp:/x", "mcp:files/", "mcp:Files/x", "mcp:files/read file", "mcp:files/\u{e9}"] {
        let problems = added(&format!("tools: [\"{wrong}\"]\n"));
        assert!(problems.len() == 1 && problems[0].contains("mcp:SERVER/TOOL"), "{wrong}: {problems:?}");
    }
}

#[test]
fn unknown_names_have_suggestions_from_the_known_names() {
    assert_eq!(
        added("policies: [require_authentification]\n"),
        ["agents/x.yaml:11:12: error[unknown_policy]: there is no policy `require_authentification`; did you mean \
             `require_authentication`?"]
    );
    assert_eq!(
        changed("native.echo", "native.ecco"),
        ["agents/x.yaml:10:45: error[unknown_name]: there is no handler `native.ecco`; did you mean `native.echo`?"]
    );
    assert_eq!(
        added("tools: [\"native:calculater\"]\n"),
        ["agents/x.yaml:11:9: error[unknown_name]: there is no tool `calculater`; did you mean `calculator`?"]
    );
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: llm, model: antropic.x"),
        [
            "agents/x.yaml:10:40: error[unknown_name]: there is no provider `antropic`; did you mean `anthropic`?",
            "agents/x.yaml:10:40: warning[no_price]: the model `antropic.x` has no price; its calls are assumed to cost \
             what the tier `standard` does",
        ]
    );
    assert_eq!(
        changed("category: business_ops", "category: busines_ops"),
        ["agents/x.yaml:3:11: error[unknown_reference]: there is no category `busines_ops`; did you mean \
             `business_ops`?"]
    );
    assert_eq!(
        added("collaboration: { can_work_with: [y] }\n"),
        ["agents/x.yaml:11:34: error[unknown_reference]: there is no agent `y`"]
    );
}

#[test]
fn a_model_is_a_tier_or_two_parts() {
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: llm, model: tier.standart"),
        ["agents/x.yaml:10:40: error[invalid_value]: \"tier.standart\" is not a model; did you mean `standard`?"]
    );
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: llm, model: gpt"),
        [
            "agents/x.yaml:10:40: error[invalid_value]: \"gpt\" is not a model; a model is `tier.NAME` or `PROVIDER.NAME`"
        ]
    );
}

#[test]
fn an_implementation_fits_its_runtime() {
    assert_eq!(
        changed(", handler: native.echo", ""),
        ["agents/x.yaml:10:28: error[missing_field]: a native agent needs a `handler`"]
    );
    assert_eq!(
        changed("runtime: native", "runtime: llm"),
        ["agents/x.yaml:10:42: error[invalid_value]: a language model has no handler; remove it, or change the \
             runtime"]
    );
    assert_eq!(
        changed("runtime: native", "runtime: http"),
        [
            "agents/x.yaml:10:43: error[invalid_value]: the handler is no address: relative URL without a base; a service \
             has an address such as `https://agents.example/score`"
        ]
    );
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: python"),
        ["agents/x.yaml:10:28: error[missing_field]: a Python agent needs a `handler`; the module and its function"]
    );
    for handler in ["execute", "../a.execute", "a b.c"] {
        let problems =
            changed("runtime: native, handler: native.echo", &format!("runtime: python, handler: {handler}"));
        assert!(problems.len() == 1 && problems[0].contains("is not a handler in Python"), "{problems:?}");
    }
    let memory = changed("handler: native.echo", "handler: native.echo, memory: 64");
    assert!(memory.len() == 1 && memory[0].contains("no effect for the runtime `native`"), "{memory:?}");
}

#[test]
fn a_component_is_the_name_of_a_file() {
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: wasm"),
        ["agents/x.yaml:10:28: error[missing_field]: a `wasm` agent needs a `handler`; name a file, such as \
             `summary.wasm`"]
    );
    for name in ["../outside.wasm", "/etc/passwd.wasm", "inner/x.wasm", ".wasm", ".hidden.wasm", "x.wat", "x.wasm.so"] {
        assert_eq!(
            changed("runtime: native, handler: native.echo", &format!("runtime: wasm, handler: {name:?}")),
            [format!(
                "agents/x.yaml:10:43: error[invalid_value]: `{name}` is no name of a component; it is the name of a \
                 file, such as `summary.wasm`, without a folder"
            )]
        );
    }
    assert_eq!(
        changed("runtime: native, handler: native.echo", "runtime: wasm, handler: x-1.wasm, memory: 64"),
        Vec::<String>::new()
    );
}

#[test]
fn a_component_that_the_configured_folder_lacks_is_named() {
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x").replace("native, handler: native.echo", "wasm, handler: x.wasm"))
        .with("components/other.wasm", "");
    let problems = || -> Vec<String> {
        let names = known_names().with_components(Some(folder.path().join("components")));
        let report = load(&folder.source(), &names).report;
        report.problems().iter().filter(|one| one.kind == ProblemKind::UnknownName).map(ToString::to_string).collect()
    };
    assert_eq!(
        problems(),
        [
            "agents/x.yaml:10:43: warning[unknown_name]: `runtimes.wasm.components` has no file `x.wasm`; a call of this \
          agent fails with `runtime_unavailable`"
        ]
    );
    folder.with_file("components/x.wasm", "");
    assert_eq!(problems(), Vec::<String>::new());
}

#[test]
fn examples_must_fit_the_definition() {
    assert_eq!(
        added("examples:\n  - inputs: { topik: a }\n    expect: { result: 3, resul: b }\n"),
        [
            "agents/x.yaml:12:13: error[invalid_value]: the example is invalid: x: `inputs.topic` (text) is missing; \
             there is no input `topik`, did you mean `topic`?",
            "agents/x.yaml:13:23: error[invalid_value]: the expected `result` must be a text, not 3",
            "agents/x.yaml:13:33: error[unknown_reference]: the agent has no output `resul`; did you mean `result`?",
        ]
    );
}

#[test]
fn an_output_is_copied_from_an_input_of_its_type() {
    let from = |from: &str| changed("name: result, type: text", &format!("name: result, type: {from}"));
    assert_eq!(from("text, from: topic"), Vec::<String>::new());
    assert_eq!(
        from("object, from: topic"),
        ["agents/x.yaml:9:41: error[wrong_type]: the input `topic` is a text, not an object"]
    );
    assert_eq!(
        from("text, from: topi"),
        ["agents/x.yaml:9:39: error[unknown_reference]: the agent has no input `topi`; did you mean `topic`?"]
    );
}

#[test]
fn a_tool_whose_calls_would_all_be_denied_is_an_error() {
    let folder =
        Folder::new().with("agents/x.yaml", agent("x") + "tools: [\"agent:y\"]\n").with("agents/y.yaml", agent("y"));
    assert_eq!(
        folder.problems(),
        [
            "agents/x.yaml:11:9: error[invalid_value]: every call of `y` would be denied: neither agent lists the other as \
             a collaborator; add `y` to `collaboration.can_work_with`"
        ]
    );
}

#[test]
fn agents_that_call_each_other_as_tools_form_a_cycle() {
    let other = |id: &str, tool: &str| {
        agent(id) + &format!("collaboration: {{ can_work_with: [{tool}] }}\ntools: [\"agent:{tool}\"]\n")
    };
    let folder = Folder::new().with("agents/x.yaml", other("x_001", "y")).with("agents/y.yaml", other("y", "x"));
    assert_eq!(
        folder.problems(),
        ["agents/x.yaml:12:8: error[cycle]: the definitions form a cycle: x_001 → y → x_001"]
    );
}

#[test]
fn two_definitions_with_one_id_name_each_other() {
    let folder = Folder::new().with("agents/a.yaml", agent("x")).with("agents/b.yaml", agent("x"));
    assert_eq!(
        folder.problems(),
        ["agents/b.yaml:1:11: error[duplicate_id]: the agent `x` is duplicated; it is also in agents/a.yaml:1"]
    );
}

#[test]
fn a_file_without_a_known_member_is_reported() {
    let folder = Folder::new().with("notes.yaml", "hello: world\n");
    assert_eq!(
        folder.problems(),
        ["notes.yaml:1:1: error[misplaced]: this is not a definition; a definition begins with `agent_id`, \
             `workflow_id`, `team_id`, `categories`, `capabilities` or `tiers`"]
    );
}

#[test]
fn a_reference_to_a_file_that_cannot_be_read_is_not_a_second_problem() {
    let broken = agent("y").replace("version: \"1.0.0\"\n", "");
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x") + "collaboration: { can_work_with: [y] }\n")
        .with("agents/y.yaml", broken);
    assert_eq!(folder.problems(), ["agents/y.yaml:1:1: error[missing_field]: an agent needs `version`"]);
}

#[test]
fn all_problems_of_all_files_are_in_one_report_in_order() {
    let team = "team_id: t\nname: T\nagents: [x, z, x]\nworkflows: [v]\npolicies: [nothing_at_all]\n";
    let workflow = "workflow_id: w\nname: W\nsteps:\n  - { id: a, agent: xx }\n  - { id: b, agent: x, depends_on: [c], inputs: { topic: \"${steps.a.outputs\" } }\n";
    let folder = Folder::new()
        .with("agents/x.yaml", agent("x") + "colour: red\n")
        .with("teams/t.yaml", team)
        .with("workflows/w.yaml", workflow);
    let loaded = folder.load();
    assert!(loaded.catalogue.is_none(), "not one of the definitions is valid");
    let problems = folder.problems();
    let locations: Vec<&str> = problems.iter().map(|problem| problem.split(" error").next().unwrap()).collect();
    assert_eq!(
        locations,
        [
            "agents/x.yaml:11:1:",
            "teams/t.yaml:3:13:",
            "teams/t.yaml:3:16:",
            "teams/t.yaml:4:13:",
            "teams/t.yaml:5:12:",
            "workflows/w.yaml:4:21:",
            "workflows/w.yaml:5:36:",
            "workflows/w.yaml:5:58:",
        ],
        "{problems:#?}"
    );
    let cause = loaded.report.to_cause().unwrap();
    assert!(cause.message.ends_with("(and 7 more)"), "{}", cause.message);
    assert_eq!(cause.code.exit_code(), 2);
}

#[test]
fn every_kind_of_problem_has_one_name() {
    let mut names: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ProblemKind::ALL.len());
}

#[test]
fn a_report_of_thousands_of_problems_is_bounded() {
    let mut text = agent("x");
    for number in 0..1_500 {
        text += &format!("unknown_{number}: 1\n");
    }
    let report = Folder::new().with("agents/x.yaml", text).load().report;
    assert_eq!(report.problems().len(), 1_000);
    assert!(report.to_string().contains("and 500 more problems"), "{report}");
}

#[test]
fn an_invalid_template_is_reported_with_its_line() {
    let prompt = "implementation:\n  runtime: llm\n  prompt:\n    user: |\n      One.\n      Two {{ inputs.topik }}.\n";
    assert_eq!(
        changed("implementation: { runtime: native, handler: native.echo }\n", prompt),
        ["agents/x.yaml:15:1: error[expression]: the user template references the input `topik`, which is not \
             declared, did you mean `topic`?"]
    );
}

#[test]
fn a_token_limit_above_that_of_the_model_is_a_warning() {
    let problems = changed(
        "implementation: { runtime: native, handler: native.echo }\n",
        "implementation: { runtime: llm, model: anthropic.claude-3-5-sonnet-20241022 }\nlimits: { max_tokens: 9000 }\n",
    );
    assert_eq!(
        problems,
        ["agents/x.yaml:11:23: warning[invalid_value]: the model `anthropic.claude-3-5-sonnet-20241022` answers with \
             at most 8192 tokens, not 9000; its calls would be rejected"]
    );
}
