//! What agents have from their category and from snippets, and what happens where one of them is invalid.

use greenroom_definitions::agent::Agent;
use greenroom_definitions::{Catalogue, load_over};
use greenroom_protocol::AgentId;

use crate::folder::{Folder, agent, known_names};

const CATEGORIES: &str = "categories:\n  - id: business_ops\n    name: Business\n    defaults:\n      policies: \
     [require_authentication, { max_document_size: 5mb }]\n      model: tier.small\n      limits: { max_tokens: 900, \
     max_cost_usd: 0.05, max_concurrency: 7 }\n      retry: { max_attempts: 2 }\n      snippets: [house, facts]\n";
const WRITER: &str = "agent_id: writer\nname: Writer\ncategory: business_ops\ndescription: Writes\nversion: \"1.0.0\"\n\
     outputs:\n  - { name: result, type: text }\nimplementation:\n  runtime: llm\n  prompt:\n    system: |\n      I am \
     {{ agent.name }}.\n      {% include \"facts\" %}\n      The end.\nlimits: { max_tokens: 100 }\n";

fn folder() -> Folder {
    Folder::new()
        .with("categories.yaml", CATEGORIES)
        .with("agents/writer.yaml", WRITER)
        .with("agents/echo.yaml", agent("echo"))
        .with("snippets/house.md", "Be {{ agent.category }}.\n")
        .with("snippets/facts.md", "Only facts.\n")
}

fn names() -> greenroom_definitions::KnownNames {
    known_names()
}

fn loaded(folder: &Folder, previous: Option<&Catalogue>) -> (Option<std::sync::Arc<Catalogue>>, Vec<String>) {
    let outcome = load_over(&folder.source(), &names(), previous);
    (outcome.catalogue, outcome.report.problems().iter().map(ToString::to_string).collect())
}

fn catalogue(folder: &Folder) -> std::sync::Arc<Catalogue> {
    let (catalogue, problems) = loaded(folder, None);
    assert_eq!(problems, [] as [String; 0]);
    catalogue.unwrap()
}

fn find<'c>(catalogue: &'c Catalogue, id: &str) -> &'c Agent {
    catalogue.agent(&AgentId::new(id).unwrap()).unwrap()
}

#[test]
fn an_agent_has_what_its_category_gives_and_overrides_it() {
    let catalogue = catalogue(&folder());
    let writer = find(&catalogue, "writer");
    let spec = writer.spec();
    assert_eq!(spec.policies, ["require_authentication", "max_document_size=5242880"]);
    assert_eq!(writer.model().to_string(), "tier.small");
    assert_eq!((spec.limits.max_tokens, spec.limits.max_cost_usd), (Some(100), Some(0.05)));
    assert_eq!(spec.retry.as_ref().unwrap().max_attempts, 2);
    assert_eq!(
        spec.inherited.members,
        [
            "policies.require_authentication",
            "policies.max_document_size",
            "limits.max_concurrency",
            "implementation.model",
            "retry",
            "limits.max_cost_usd",
            "snippets.house",
        ]
    );
}

#[test]
fn an_agent_without_a_model_takes_only_what_concerns_it() {
    let catalogue = catalogue(&folder());
    let echo = find(&catalogue, "echo").spec();
    assert_eq!(echo.policies.len(), 2);
    assert_eq!(echo.limits.max_concurrency, Some(7));
    assert!(echo.implementation.model.is_none() && echo.retry.is_none() && echo.limits.max_tokens.is_none());
    assert!(echo.inherited.appended.is_empty() && echo.inherited.snippets.is_empty());
}

#[test]
fn a_policy_of_the_agent_replaces_that_of_the_category() {
    let text = WRITER.to_owned() + "policies: [{ max_document_size: 1kb }]\n";
    let catalogue = catalogue(&folder().with("agents/writer.yaml", text));
    assert_eq!(find(&catalogue, "writer").spec().policies, ["max_document_size=1024", "require_authentication"]);
}

#[test]
fn snippets_are_rendered_where_they_are_included_and_appended_once() {
    let catalogue = catalogue(&folder());
    let writer = find(&catalogue, "writer");
    assert_eq!(writer.prompt().system(), "I am Writer.\nOnly facts.\nThe end.\n\nBe business_ops.\n");
    let restored = Agent::from_body(writer.body()).unwrap();
    assert_eq!((restored.hash(), restored.prompt().system()), (writer.hash(), writer.prompt().system()));
}

#[test]
fn a_changed_snippet_is_a_new_version_of_each_agent_with_it() {
    let folder = folder();
    let before = catalogue(&folder);
    let after = catalogue(&folder.with("snippets/facts.md", "Facts and figures.\n"));
    assert_ne!(find(&before, "writer").hash(), find(&after, "writer").hash());
    assert_eq!(find(&before, "echo").hash(), find(&after, "echo").hash());
    assert_ne!(before.hash(), after.hash());
}

#[test]
fn a_missing_snippet_is_an_error_at_its_include() {
    let (_, problems) = loaded(&folder().without("snippets/facts.md"), None);
    assert_eq!(
        problems,
        [
            "agents/writer.yaml:13:1: error[unknown_reference]: there is no snippet `facts`; write `snippets/facts.md`",
            "categories.yaml:9:25: error[unknown_reference]: there is no snippet `facts`; write `snippets/facts.md`",
        ]
    );
    let text = WRITER.replace("system: |", "user: |").replace("{{ agent.name }}", "x");
    let (_, problems) = loaded(&folder().with("agents/writer.yaml", text), None);
    assert!(problems[0].contains("error[expression]: the user template has a `include` statement"), "{problems:?}");
}

#[test]
fn an_invalid_snippet_takes_only_the_agents_with_it_out_of_service() {
    let folder = folder().with("agents/plain.yaml", agent("plain"));
    let before = catalogue(&folder);
    for (broken, problem) in [
        (
            "{{ inputs.topic }}\n",
            "snippets/facts.md:1:1: error[expression]: the snippet template references `inputs.topic`",
        ),
        ("a\n{% include \"house\" \n", "snippets/facts.md:2:1: error[expression]: the snippet template has a `{%`"),
        ("a\n\n{% include \"facts\" %}\n", "snippets/facts.md:3:1: error[cycle]: the snippet includes"),
        (" \n", "snippets/facts.md: error[invalid_value]: the snippet is empty"),
    ] {
        let folder = folder.with_file("snippets/facts.md", broken);
        let (after, problems) = loaded(folder, Some(&before));
        assert!(problems.iter().any(|one| one.starts_with(problem)), "{broken:?}: {problems:#?}");
        let after = after.unwrap();
        assert_eq!(find(&after, "writer").prompt().system(), find(&before, "writer").prompt().system(), "{broken:?}");
        assert_eq!(find(&after, "plain").hash(), find(&before, "plain").hash());
        let (fresh, _) = loaded(folder, None);
        assert!(fresh.unwrap().agent(&AgentId::new("writer").unwrap()).is_none(), "{broken:?}");
    }
}

#[test]
fn the_bounds_of_a_snippet_hold() {
    for (name, text, problem) in [
        (
            "snippets/long.md",
            "x".repeat(4_097),
            "snippets/long.md: error[too_large]: the snippet has more than 4096 bytes",
        ),
        ("snippets/Not-a-name.md", "x".to_owned(), "snippets/Not-a-name.md: error[invalid_value]"),
        ("snippets/control.md", "a\nb\u{7}\n".to_owned(), "snippets/control.md:2:1: error[syntax]"),
    ] {
        let (_, problems) = loaded(&folder().with(name, text), None);
        assert!(problems.len() == 1 && problems[0].starts_with(problem), "{name}: {problems:?}");
    }
}

#[test]
fn without_the_defaults_of_its_category_an_agent_is_not_in_service() {
    let folder = folder();
    let before = catalogue(&folder);
    for broken in [CATEGORIES.replace("max_attempts: 2", "max_attempts: many"), CATEGORIES.to_owned() + "    - [\n"] {
        let folder = folder.with_file("categories.yaml", &broken);
        let (after, _) = loaded(folder, Some(&before));
        assert_eq!(
            find(&after.unwrap(), "writer").hash(),
            find(&before, "writer").hash(),
            "the last valid defaults hold"
        );
        let (fresh, problems) = loaded(folder, None);
        assert!(fresh.is_none_or(|fresh| fresh.agent_count() == 0), "{broken}");
        let found = problems.iter().filter(|one| one.contains("error[quarantined]: the defaults of its category"));
        assert_eq!(found.count(), 2, "{problems:#?}");
    }
}

#[test]
fn a_policy_with_a_parameter_is_checked() {
    for (policies, problem) in [
        ("[max_document_size]", "the policy `max_document_size` needs a parameter; write `max_document_size: VALUE`"),
        ("[{ max_document_size: 5 }]", "found the number 5; expected a text; put it in quotes"),
        ("[{ max_document_size: 5gb }]", "\"5gb\" is not a parameter of `max_document_size`; a size from `1kb`"),
        ("[{ require_budget: 5mb }]", "the policy `require_budget` has no parameter; write `- require_budget`"),
        ("[{ max_document_size: 1mb, no_tools: 1mb }]", "found a map; expected one policy with its parameter"),
        ("[{ max_document_size: 1mb }, { max_document_size: 2mb }]", "`max_document_size` is duplicated"),
    ] {
        let text = agent("echo") + &format!("policies: {policies}\n");
        let (_, problems) = loaded(&folder().with("agents/echo.yaml", text), None);
        assert!(problems.len() == 1 && problems[0].contains(problem), "{policies}: {problems:?}");
    }
}

#[test]
fn a_folder_without_categories_has_no_defaults_of_others() {
    let folder = Folder::new().with("agents/echo.yaml", agent("echo"));
    let catalogue = catalogue(&folder);
    assert!(find(&catalogue, "echo").spec().inherited.is_empty());
}
