//! The target `policy`: an untrusted document as policy input of the shipped engine. The engine must not
//! panic, and it must not allow a user without a role.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use greenroom_protocol::Json;
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, CacheDir, Engine, Input, PolicySnapshot};
use tokio::runtime::Runtime;

/// Tokens of policy inputs.
pub(super) const WORDS: &[&str] = &[
    "{",
    "}",
    "null",
    "1",
    "-1",
    "true",
    "1e300",
    "\"action\":\"invoke\"",
    "\"action\":\"call_tool\"",
    "\"action\":\"start_run\"",
    "\"action\":\"query_audit\"",
    "\"action\":\"query_catalogue\"",
    "\"caller\":\"agent\"",
    "\"caller\":\"user\"",
    "\"roles\":{}",
    "\"roles\":{\"admin\":1}",
    "\"facts\":{}",
    "\"policies\":{\"tenant_isolation\":1}",
    "\"hops\":9",
    "\"document_bytes\":99999999999",
    "\"usage\":{}",
    "\"\\u0000\"",
];

/// The one action that is allowed without a role.
const OPEN_ACTION: &str = "query_catalogue";

/// One engine with the shipped bundle for all inputs.
struct PolicyFixture {
    runtime: Runtime,
    snapshot: Arc<PolicySnapshot>,
    engine: Mutex<Engine>,
}

impl PolicyFixture {
    fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let compiler = Compiler::new(&CacheDir::Off)?;
        let snapshot = runtime.block_on(PolicySnapshot::load(&compiler, &Bundle::embedded()?))?;
        let engine = Mutex::new(runtime.block_on(Engine::new(Arc::clone(&snapshot)))?);
        Ok(Self { runtime, snapshot, engine })
    }

    /// Evaluates the input with the decision entrypoint and with the explaining one, and returns whether each
    /// allows it. An engine that failed is replaced, as its guard worker would do, and an error denies.
    fn decide_and_explain(&self, input: &Input) -> (bool, bool) {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = self.runtime.block_on(engine.decide(input));
        if decided.is_err() {
            *engine = self.new_engine();
        }
        let explained = self.runtime.block_on(engine.explain(input));
        if explained.is_err() {
            *engine = self.new_engine();
        }
        let allowed = decided.is_ok_and(|decision| decision.is_allowed());
        (allowed, explained.is_ok_and(|explanation| explanation.allow))
    }

    #[expect(clippy::expect_used, reason = "without an engine of the shipped bundle there is nothing to test")]
    fn new_engine(&self) -> Engine {
        self.runtime.block_on(Engine::new(Arc::clone(&self.snapshot))).expect("an engine loads the shipped bundle")
    }
}

/// Evaluates a policy input.
#[expect(clippy::expect_used, reason = "without the shipped bundle there is nothing to test")]
pub(super) fn policy(bytes: &[u8]) {
    static FIXTURE: OnceLock<PolicyFixture> = OnceLock::new();
    let Ok(input) = serde_json::from_slice::<Input>(bytes) else { return };
    let Ok(document) = serde_json::to_value(&input) else { return };
    let (allowed, explained) =
        FIXTURE.get_or_init(|| PolicyFixture::open().expect("the shipped bundle loads")).decide_and_explain(&input);
    if allowed {
        assert!(explained, "the decision allows what its explanation denies: {document}");
        let roles = document.pointer("/user/roles").and_then(Json::as_object);
        let has_role = roles.is_some_and(|roles| !roles.is_empty());
        let is_open_action = document.get("action").and_then(Json::as_str) == Some(OPEN_ACTION);
        assert!(has_role || is_open_action, "a user without a role was allowed: {document}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_has_allowed_and_denied_inputs() {
        let fixture = PolicyFixture::open().unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/policy");
        for (name, wanted) in [("invoke", true), ("operator", true), ("start_run", true), ("guest", false)] {
            let input = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
            assert_eq!(fixture.decide_and_explain(&input), (wanted, wanted), "{name}");
        }
    }
}
