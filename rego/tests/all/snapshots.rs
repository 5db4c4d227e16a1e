//! From a bundle to an active policy: the validation steps, and the cache of compiled modules.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{AccessRequest, Action, Bundle, CacheDir, Compiler, Engine, PolicySnapshot, SnapshotError};

use crate::harness;

async fn load_error(name: &str) -> SnapshotError {
    match PolicySnapshot::load(harness::compiler(), &harness::test_bundle(name)).await {
        Ok(_) => panic!("{name} passed its validation"),
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
    assert!(snapshot.read_set().paths().contains(&"agent.capabilities"));
}

#[tokio::test]
async fn a_policy_that_allows_an_empty_input_is_rejected() {
    let error = load_error("open").await;
    assert!(matches!(error, SnapshotError::Validation(_)), "{error}");
    assert_eq!(Cause::from(error).code, ErrorCode::InvalidPolicy);
}

#[tokio::test]
async fn a_policy_that_needs_a_host_built_in_is_rejected_with_its_name() {
    let error = load_error("clock").await;
    assert!(matches!(&error, SnapshotError::Builtins { names } if names == &["time.now_ns"]), "{error}");
}

#[tokio::test]
async fn a_policy_without_an_entrypoint_is_rejected_with_its_name() {
    let error = load_error("partial").await;
    assert_eq!(error.to_string(), "the policy has no entrypoint `guard/decision`, only [\"guard/allowed\"]");
}

#[tokio::test]
async fn a_module_that_does_not_compile_is_rejected() {
    let bundle = harness::with_wasm(&harness::test_bundle("open"), |wasm| {
        let end = wasm.len() - 1_000;
        wasm.truncate(end);
    });
    let error = harness::compiler().compile(&bundle).map(drop).unwrap_err();
    assert!(matches!(error, SnapshotError::Compile(_)), "{error}");
}

/// The texts of this policy end 57 bytes beyond the two pages that its module declares.
#[tokio::test]
async fn a_policy_whose_texts_cross_a_page_loads() {
    let snapshot = PolicySnapshot::load(harness::compiler(), &harness::test_bundle("long_texts")).await.unwrap();
    let mut engine = Engine::new(snapshot).await.unwrap();
    let request = harness::user_request("guest", harness::start_run("case_100")).await;
    let request = AccessRequest::new(request, harness::facts(harness::workflow_resource("case_100")));
    let explained = engine.explain(request.input()).await.unwrap();
    assert_eq!(
        explained.deny.iter().map(|reason| reason.code.as_str()).collect::<Vec<_>>(),
        ["case_100", "role_missing"]
    );
}

#[tokio::test]
async fn a_compiled_module_is_cached_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheDir::At(folder.path().canonicalize().unwrap().join("policy"));
    let bundle = harness::test_bundle("partial");
    Compiler::new(&cache).unwrap().compile(&bundle).unwrap();
    let counts = |compiler: &Compiler| (compiler.cache_hits(), compiler.cache_misses());
    let next = Compiler::new(&cache).unwrap();
    next.compile(&bundle).unwrap();
    assert_eq!(counts(&next), (1, 0));
}

#[tokio::test]
async fn a_cache_directory_that_cannot_be_used_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Compiler::new(&CacheDir::At(file.join("policy"))).map(drop).unwrap_err();
    assert!(matches!(error, SnapshotError::Setup(_)), "{error}");
}
