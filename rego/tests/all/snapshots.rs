//! From a bundle to a policy in force: what is verified on the way, and what is kept for next time.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{AccessRequest, Action, Bundle, CacheDir, Compiler, Engine, PolicySnapshot, SnapshotError};

use crate::harness;

async fn refusal(name: &str) -> SnapshotError {
    match PolicySnapshot::load(harness::compiler(), &harness::faulty_bundle(name)).await {
        Ok(_) => panic!("{name} passed its trial"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_embedded_bundle_lists_its_checks() {
    let snapshot = harness::snapshot().await;
    assert_eq!(snapshot.revision().as_ref(), Bundle::embedded().unwrap().revision());
    for action in Action::ALL {
        let checks = snapshot.checks(action);
        assert!(checks.iter().any(|check| check.as_ref() == "access_allowed"), "{action:?}");
    }
    assert!(snapshot.read_set().capabilities.as_ref().is_some_and(|names| names.contains("pii_access")));
}

#[tokio::test]
async fn a_policy_that_allows_the_unknown_is_refused() {
    let refused = refusal("open").await;
    assert!(matches!(refused, SnapshotError::Validation(_)), "{refused}");
    assert_eq!(Cause::from(refused).code, ErrorCode::InvalidPolicy);
}

#[tokio::test]
async fn a_policy_that_needs_the_host_is_refused_by_the_name_of_the_function() {
    let refused = refusal("clock").await;
    assert!(matches!(&refused, SnapshotError::Builtins { names } if names == &["time.now_ns"]), "{refused}");
}

#[tokio::test]
async fn a_policy_without_an_entrypoint_is_refused_by_its_name() {
    let refused = refusal("partial").await;
    assert_eq!(refused.to_string(), "the policy has no entrypoint `guard/decision`, only [\"guard/allowed\"]");
}

#[tokio::test]
async fn a_module_that_does_not_compile_is_refused() {
    let mut files = harness::faulty_bundle("open");
    files = harness::with_wasm(&files, |wasm| {
        let end = wasm.len() - 1_000;
        wasm.truncate(end);
    });
    let refused = harness::compiler().compile(&files).map(drop).unwrap_err();
    assert!(matches!(refused, SnapshotError::Compile(_)), "{refused}");
}

/// The texts of this policy end 57 bytes beyond the two pages that its module declares.
#[tokio::test]
async fn a_policy_whose_texts_cross_a_page_loads() {
    let snapshot = PolicySnapshot::load(harness::compiler(), &harness::faulty_bundle("long_texts")).await.unwrap();
    let mut engine = Engine::new(snapshot).await.unwrap();
    let asked = harness::user_request("guest", harness::start_run("case_100")).await;
    let request = AccessRequest::new(asked, harness::facts(harness::workflow_resource("case_100")));
    let explained = engine.explain(request.input()).await.unwrap();
    assert_eq!(explained.deny.iter().map(|rule| rule.code.as_str()).collect::<Vec<_>>(), ["case_100", "role_missing"]);
}

#[tokio::test]
async fn a_compiled_module_is_found_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let place = CacheDir::At(folder.path().canonicalize().unwrap().join("policy"));
    let bundle = harness::faulty_bundle("partial");
    Compiler::new(&place).unwrap().compile(&bundle).unwrap();
    let kept = |compiler: &Compiler| (compiler.cache_hits(), compiler.cache_misses());
    let next = Compiler::new(&place).unwrap();
    next.compile(&bundle).unwrap();
    assert_eq!(kept(&next), (1, 0));
}

#[tokio::test]
async fn a_cache_that_cannot_be_kept_is_an_error_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let refused = Compiler::new(&CacheDir::At(file.join("policy"))).map(drop).unwrap_err();
    assert!(matches!(refused, SnapshotError::Setup(_)), "{refused}");
}
