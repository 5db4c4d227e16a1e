//! The target `policy`: a document that says it is the guard's input, and the shipped engine. Nothing
//! may fall over, and nobody without a role may be let through.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use greenroom_protocol::Json;
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, CacheDir, Engine, Input, PolicySnapshot};
use tokio::runtime::Runtime;

/// What documents are made of.
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

/// The one action that everybody may do.
const EVERYBODYS: &str = "query_catalogue";

/// One engine over the shipped bundle, for every input.
struct Bench {
    runtime: Runtime,
    snapshot: Arc<PolicySnapshot>,
    engine: Mutex<Engine>,
}

impl Bench {
    fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let compiler = Compiler::new(&CacheDir::Off)?;
        let snapshot = runtime.block_on(PolicySnapshot::load(&compiler, &Bundle::embedded()?))?;
        let engine = Mutex::new(runtime.block_on(Engine::new(Arc::clone(&snapshot)))?);
        Ok(Self { runtime, snapshot, engine })
    }

    /// Whether it is allowed, by the hot decision and by the one that explains. An engine that erred is
    /// thrown away, as its shard would do it, and an error denies.
    fn asks(&self, input: &Input) -> (bool, bool) {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let hot = self.runtime.block_on(engine.allowed(input));
        if hot.is_err() {
            *engine = self.fresh();
        }
        let told = self.runtime.block_on(engine.explain(input));
        if told.is_err() {
            *engine = self.fresh();
        }
        let hot = hot.is_ok_and(|verdict| verdict.is_allowed());
        (hot, told.is_ok_and(|explanation| explanation.allow))
    }

    #[expect(clippy::expect_used, reason = "the shipped bundle makes an engine, or nothing can be tried")]
    fn fresh(&self) -> Engine {
        self.runtime.block_on(Engine::new(Arc::clone(&self.snapshot))).expect("the shipped bundle makes an engine")
    }
}

/// A document of the guard.
#[expect(clippy::expect_used, reason = "without the shipped bundle there is nothing to try")]
pub(super) fn policy(bytes: &[u8]) {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let Ok(input) = serde_json::from_slice::<Input>(bytes) else { return };
    let Ok(document) = serde_json::to_value(&input) else { return };
    let (allowed, explained) = BENCH.get_or_init(|| Bench::open().expect("the shipped bundle loads")).asks(&input);
    if allowed {
        assert!(explained, "the decision allows what its explanation denies: {document}");
        let roles = document.pointer("/user/roles").and_then(Json::as_object);
        let is_somebody = roles.is_some_and(|roles| !roles.is_empty());
        let is_everybodys = document.get("action").and_then(Json::as_str) == Some(EVERYBODYS);
        assert!(is_somebody || is_everybodys, "nobody was let through: {document}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_holds_what_is_allowed_and_what_is_not() {
        let bench = Bench::open().unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/policy");
        for (name, wanted) in [("invoke", true), ("operator", true), ("start_run", true), ("guest", false)] {
            let input = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
            assert_eq!(bench.asks(&input), (wanted, wanted), "{name}");
        }
    }
}
