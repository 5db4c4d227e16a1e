//! Seven hundred definitions.

use std::time::{Duration, Instant};

use greenroom_protocol::AgentId;

use crate::folder::{Folder, agent};

/// An agent about as large as the shipped ones.
fn large(number: usize) -> String {
    let prompt = "  prompt:\n    system: |\n      You are the {{ agent.name }}.\n".to_owned()
        + &"      Say what the material says, in its own words and with its own figures.\n".repeat(8)
        + "    user: |\n      Write about {{ inputs.topic }}.\n      {% if context.company %}For {{ context.company }}.{% endif %}\n";
    let name = format!("agent_of_the_crowd_{number:03}");
    agent(&name).replace(
        "implementation: { runtime: native, handler: native.echo }\n",
        &format!(
            "policies: [require_authentication, audit_all_actions]\nimplementation:\n  runtime: llm\n  model: tier.small\n{prompt}"
        ),
    )
}

#[test]
fn seven_hundred_definitions_load_at_once() {
    let mut folder = Folder::new();
    for number in 0..700 {
        folder = folder.with(&format!("agents/crowd/{number}.yaml"), large(number));
    }
    let start = Instant::now();
    let loaded = folder.load();
    let elapsed = start.elapsed();
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    let catalogue = loaded.catalogue.unwrap();
    assert_eq!(catalogue.agent_count(), 700);
    // A name without ordinal resolves to the lowest ordinal.
    let short = catalogue.agent(&AgentId::new("agent_of_the_crowd").unwrap()).unwrap();
    assert_eq!(short.id().as_str(), "agent_of_the_crowd_000");
    // A debug build on a busy machine; the benchmark of the process start enforces the real target.
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    println!("700 definitions in {elapsed:?}");
}

#[test]
fn loading_twice_yields_equal_catalogues_and_a_change_a_different_one() {
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("agents/y.yaml", agent("y"));
    let (first, second) = (folder.load().catalogue.unwrap(), folder.load().catalogue.unwrap());
    assert_eq!(first.hash(), second.hash());
    let folder = folder.with("agents/y.yaml", agent("y").replace("It does something", "It does another thing"));
    let third = folder.load().catalogue.unwrap();
    assert_ne!(first.hash(), third.hash());
    let hash = |catalogue: &greenroom_definitions::Catalogue, id: &str| {
        catalogue.agent(&AgentId::new(id).unwrap()).unwrap().hash()
    };
    assert_eq!(hash(&first, "x"), hash(&third, "x"));
    assert_ne!(hash(&first, "y"), hash(&third, "y"));
}
