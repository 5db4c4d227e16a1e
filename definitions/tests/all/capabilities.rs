//! The vocabulary of capabilities: agents use its words only, and its claims about the policy are true.

use greenroom_definitions::capability::CapabilityPolicy;
use greenroom_definitions::{Source, load};

use crate::folder::{Folder, agent, known_names};

/// The problems of an agent with these capabilities, in a folder with the embedded vocabulary.
fn listed(capabilities: &str) -> Vec<String> {
    Folder::new().with("agents/x.yaml", agent("x") + &format!("capabilities: [{capabilities}]\n")).problems()
}

#[test]
fn a_capability_that_is_not_in_the_vocabulary_is_an_error_with_a_suggestion() {
    assert_eq!(listed("pii_access, text_summarization"), Vec::<String>::new());
    for wrong in ["pii-access", "pii_acces", "pii access"] {
        assert_eq!(
            listed(&format!("\"{wrong}\"")),
            [format!(
                "agents/x.yaml:11:16: error[unknown_name]: there is no capability `{wrong}`; did you mean `pii_access`?"
            )]
        );
    }
    assert_eq!(
        listed("time_travel"),
        ["agents/x.yaml:11:16: error[unknown_name]: there is no capability `time_travel`; `capabilities.yaml` lists \
          the capabilities; add it there"]
    );
}

#[test]
fn a_folder_with_a_vocabulary_of_its_own_replaces_the_embedded_one() {
    let own = "capabilities:\n  - { id: time_travel, description: \"Leaves early\" }\n  \
               - { id: pii_access, description: Personal data, policy: pii_access_ok }\n";
    let folder = |capability: &str| {
        let text = agent("x") + &format!("capabilities: [{capability}]\n");
        Folder::new().with("capabilities.yaml", own).with("agents/x.yaml", text)
    };
    let loaded = folder("time_travel").load();
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    let catalogue = loaded.catalogue.unwrap();
    assert_eq!(catalogue.capability("time_travel").unwrap().description, "Leaves early");
    assert_eq!(catalogue.capability("pii_access").unwrap().policy, Some(CapabilityPolicy::PiiAccessOk));
    assert_eq!(folder("text_summarization").problems().len(), 1);
}

#[test]
fn a_vocabulary_that_contradicts_the_policy_is_an_error() {
    let problems =
        |entries: &str| Folder::new().with("capabilities.yaml", format!("capabilities:\n{entries}")).problems();
    assert_eq!(
        problems(
            "  - { id: pii_access, description: Personal data }\n  - { id: lead_scoring, description: Ranks, policy: pii_access_ok }\n"
        ),
        [
            "capabilities.yaml:2:11: error[missing_field]: a rule reads the capability `pii_access`, which has no \
             `policy`; write which check it drives",
            "capabilities.yaml:3:53: error[invalid_value]: no rule reads the capability `lead_scoring`, so it does not \
             drive pii_access_ok; remove `policy`",
        ]
    );
    assert_eq!(
        problems("  - { id: a, description: A, policy: pii_acces_ok }\n  - { id: b }\n"),
        [
            "capabilities.yaml:2:38: error[invalid_value]: `pii_acces_ok` is not known, did you mean `pii_access_ok`?; \
             expected one of pii_access_ok",
            "capabilities.yaml:3:5: error[missing_field]: a capability needs `description`",
        ]
    );
    assert_eq!(
        problems("  - { id: a, description: A }\n  - { id: a, description: B }\n"),
        ["capabilities.yaml:3:11: error[duplicate_id]: `a` is duplicated"]
    );
}

#[test]
fn every_capability_of_the_shipped_agents_is_in_the_vocabulary_and_every_word_of_it_has_a_meaning() {
    let catalogue = load(&Source::Embedded, &known_names()).catalogue.unwrap();
    for agent in catalogue.agents() {
        for name in &agent.spec().capabilities {
            assert!(catalogue.capability(name).is_some(), "{}: {name}", agent.id());
        }
    }
    assert!(catalogue.capabilities().all(|capability| capability.description.len() > 10));
    let driving: Vec<_> = catalogue.capabilities().filter(|capability| capability.policy.is_some()).collect();
    assert_eq!(driving.iter().map(|capability| capability.id.as_str()).collect::<Vec<_>>(), ["pii_access"]);
}
