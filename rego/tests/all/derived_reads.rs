//! What the policy of a bundle reads is derived from its text: a rule on a field that the bundle does not
//! declare decides as it is written, and a module that was not built from the text beside it is rejected.

use greenroom_protocol::{Cause, ErrorCode, UserId};
use greenroom_rego::rego_text::TextProblem;
use greenroom_rego::{AccessRequest, Bundle, CacheDir, Compiler, Engine, PolicySnapshot, PolicyWarning, SnapshotError};
use std::sync::Arc;

use crate::harness;

async fn load(bundle: &Bundle) -> Arc<PolicySnapshot> {
    PolicySnapshot::load(harness::compiler(), bundle).await.unwrap()
}

async fn load_error(bundle: &Bundle) -> SnapshotError {
    match PolicySnapshot::load(harness::compiler(), bundle).await {
        Ok(snapshot) => panic!("the policy {} passed its validation", snapshot.revision()),
        Err(error) => error,
    }
}

/// A request of an administrator of this name.
async fn request_of(name: &str) -> AccessRequest {
    let mut principal = harness::user("admin").unwrap();
    principal.id.user = UserId::new(name).unwrap();
    let request = harness::request_as(principal, harness::start_run("a_workflow")).await;
    AccessRequest::new(request, harness::facts(harness::workflow_resource("a_workflow")))
}

async fn is_allowed(snapshot: &Arc<PolicySnapshot>, name: &str) -> bool {
    let mut engine = Engine::new(Arc::clone(snapshot)).await.unwrap();
    let request = request_of(name).await;
    let decision = engine.decide(request.input()).await.unwrap();
    let explanation = engine.explain(request.input()).await.unwrap();
    assert_eq!(decision.is_allowed(), explanation.allow, "{name}: the decision is that of its explanation");
    explanation.allow
}

/// The bundle `own` with another text. The module remains.
fn own_with_text(edit: impl Fn(&str) -> String) -> Bundle {
    let bytes = harness::repacked(&harness::bundle_bytes("own"), |name, content| {
        if name.ends_with(".rego") {
            *content = edit(std::str::from_utf8(content).unwrap()).into_bytes();
        }
        true
    });
    Bundle::read(&bytes).unwrap()
}

#[tokio::test]
async fn a_rule_on_a_field_that_the_bundle_does_not_declare_denies() {
    let snapshot = load(&harness::test_bundle("own")).await;
    assert!(is_allowed(&snapshot, "alice").await);
    assert!(!is_allowed(&snapshot, "mallory").await);
    assert_eq!(snapshot.read_set().paths(), ["user.id", "user.roles", "user.tenant"]);
    assert_eq!(snapshot.warnings(), [PolicyWarning::NarrowDeclaration(vec!["user.id".into(), "user.tenant".into()])]);
}

#[tokio::test]
async fn a_bundle_without_its_text_receives_the_whole_input() {
    let stripped = harness::repacked(&harness::bundle_bytes("own"), |name, _| !name.ends_with(".rego"));
    let snapshot = load(&Bundle::read(&stripped).unwrap()).await;
    assert!(snapshot.read_set().is_whole());
    assert!(is_allowed(&snapshot, "alice").await && !is_allowed(&snapshot, "mallory").await);
    let problem = TextProblem::Missing { rule: "guard/allowed".into() };
    assert_eq!(snapshot.warnings(), [PolicyWarning::NotDerived(problem)]);
    assert!(snapshot.warnings()[0].to_string().contains("more time"), "{}", snapshot.warnings()[0]);
}

#[tokio::test]
async fn a_text_that_is_not_understood_means_the_whole_input() {
    let older = harness::repacked(&harness::bundle_bytes("own"), |name, content| {
        if name == ".manifest" {
            *content = br#"{"rego_version": 0}"#.to_vec();
        }
        true
    });
    let unreadable = own_with_text(|text| format!("{text}broken if (\n"));
    let whole = own_with_text(|text| text.replace("not blocked", "not blocked\n\tinput != {}"));
    for (bundle, message) in [
        (Bundle::read(&older).unwrap(), "the Rego text of the bundle is not Rego v1"),
        (unreadable, "tests/bundles/own.rego:40: `)` is missing"),
        (whole, "tests/bundles/own.rego:20 reads the input as a whole"),
    ] {
        let snapshot = load(&bundle).await;
        assert!(snapshot.read_set().is_whole(), "{message}");
        assert!(snapshot.warnings()[0].to_string().starts_with(message), "{}", snapshot.warnings()[0]);
        assert!(!is_allowed(&snapshot, "mallory").await);
    }
}

#[tokio::test]
async fn a_rule_on_a_field_that_the_input_never_has_is_reported_with_a_suggestion() {
    let snapshot = load(&harness::test_bundle("misspelt")).await;
    let messages: Vec<_> = snapshot.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "tests/bundles/misspelt.rego:18 reads `input.principal.tenannt`, which the input never has; did you mean \
             `input.user.tenant`?",
            "tests/bundles/misspelt.rego:23 reads `input.user.blocked`, which the input never has",
        ]
    );
    assert!(snapshot.warnings().iter().all(PolicyWarning::is_error));
}

#[tokio::test]
async fn a_module_that_reads_more_than_its_text_is_rejected_with_the_path() {
    for (rule, harmless, path) in [
        ("input.user.tenant == \"default\"", "\"x\" == \"x\"", "input.user.tenant"),
        ("input.user.id == \"mallory\"", "\"x\" == \"mallory\"", "input.user.id"),
        ("input.user.roles.admin == 1", "true", "input.user.roles.admin"),
    ] {
        let error = load_error(&own_with_text(|text| text.replace(rule, harmless))).await;
        assert!(matches!(&error, SnapshotError::Pruning { paths } if paths == &[path]), "{rule}: {error}");
        assert!(error.to_string().contains(path) && error.to_string().contains("Build the bundle again"), "{error}");
        assert_eq!(Cause::from(error).code, ErrorCode::InvalidPolicy);
    }
}

#[tokio::test]
async fn a_declaration_with_an_unknown_name_is_rejected_with_a_suggestion() {
    for (table, row, message) in [
        (
            "actions",
            serde_json::json!({ "invoke": { "own_tenannt": 1 } }),
            "`reads.actions.invoke` names the field `own_tenannt`, which the input does not have, did you mean `own_tenant`?",
        ),
        (
            "actions",
            serde_json::json!({ "invok": {} }),
            "`reads.actions` has the unknown name `invok`, did you mean `invoke`?",
        ),
        (
            "callers",
            serde_json::json!({ "users": {} }),
            "`reads.callers` has the unknown name `users`, did you mean `user`?",
        ),
        (
            "policies",
            serde_json::json!({ "no_tool": {} }),
            "`reads.policies` has the unknown name `no_tool`, did you mean `no_tools`?",
        ),
    ] {
        let bytes = harness::repacked(harness::SHIPPED, |name, content| {
            if name == "data.json" {
                let mut data: serde_json::Value = serde_json::from_slice(content).unwrap();
                data["cfg"]["reads"][table] = row.clone();
                *content = serde_json::to_vec(&data).unwrap();
            }
            true
        });
        let error = load_error(&Bundle::read(&bytes).unwrap()).await;
        assert_eq!(error.to_string(), format!("`guard/checks` of the policy cannot be read: {message}"));
    }
}

/// What the shipped bundle declares by hand is what its text reads, and each generated input is decided alike.
#[tokio::test]
async fn the_shipped_bundle_declares_what_is_derived_from_its_text() {
    let embedded = Bundle::embedded().unwrap();
    assert!(embedded.is_embedded() && Bundle::read(harness::SHIPPED).unwrap().is_embedded());
    let declared = harness::snapshot().await;
    let tried = declared.try_read_set().await.unwrap();
    assert!(tried > 200, "only {tried} generated inputs are pruned");
    assert!(declared.warnings().is_empty());

    // The same policy in another archive, with the whole text, is not the embedded bundle.
    let whole_text = |name: &str, content: &mut Vec<u8>| {
        if name.ends_with(".rego") {
            *content = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        }
        true
    };
    let copy = Bundle::read(&harness::repacked(harness::SHIPPED, whole_text)).unwrap();
    assert!(!copy.is_embedded());
    let derived = load(&copy).await;
    assert_eq!(derived.read_set().paths(), declared.read_set().paths());
    let [PolicyWarning::NarrowDeclaration(paths)] = derived.warnings() else { panic!("{:?}", derived.warnings()) };
    assert!(paths.contains(&"facts.own_tenant".to_owned()) && paths.contains(&"user.tenant".to_owned()), "{paths:?}");
}

#[tokio::test]
async fn a_trial_that_has_passed_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().canonicalize().unwrap().join("policy");
    let trials = || std::fs::read_dir(cache.join("trials")).unwrap().count();
    let compiler = Compiler::new(&CacheDir::At(cache.clone())).unwrap();
    for (bundle, expected) in [
        (harness::test_bundle("own"), 1),
        (harness::test_bundle("own"), 1),
        (harness::test_bundle("misspelt"), 2),
        // The embedded bundle is not tried.
        (Bundle::embedded().unwrap(), 2),
    ] {
        PolicySnapshot::load(&compiler, &bundle).await.unwrap();
        assert_eq!(trials(), expected);
    }
    let rejected = own_with_text(|text| text.replace("input.user.tenant", "\"default\""));
    assert!(PolicySnapshot::load(&compiler, &rejected).await.is_err());
    assert_eq!(trials(), 2);
}
