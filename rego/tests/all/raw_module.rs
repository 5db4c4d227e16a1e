//! The module without the engine: evaluates any document, also one that the host never writes.

use greenroom_rego::Bundle;
use opa_wasm::{DefaultContext, Runtime};
use serde_json::Value;
use wasmtime::{Config, Engine, Module, Store};

pub(crate) struct RawModule {
    store: Store<()>,
    policy: opa_wasm::Policy<DefaultContext>,
}

impl RawModule {
    pub(crate) async fn embedded() -> Self {
        let bundle = Bundle::embedded().unwrap();
        let engine = Engine::new(&Config::new()).unwrap();
        let module = Module::new(&engine, bundle.wasm()).unwrap();
        let mut store = Store::new(&engine, ());
        let runtime = Runtime::new(&mut store, &module).await.unwrap();
        let policy = runtime.with_data(&mut store, bundle.data()).await.unwrap();
        Self { store, policy }
    }

    /// The result of the entrypoint; null if it is undefined.
    pub(crate) async fn evaluate(&mut self, entrypoint: &str, document: &Value) -> Value {
        let mut result: Value = self.policy.evaluate(&mut self.store, entrypoint, document).await.unwrap();
        result.pointer_mut("/0/result").map(Value::take).unwrap_or_default()
    }

    async fn is_allow(&mut self, entrypoint: &str, document: &Value) -> bool {
        self.evaluate(entrypoint, document).await["allow"] == Value::Bool(true)
    }

    pub(crate) async fn allowed(&mut self, document: &Value) -> bool {
        self.is_allow("guard/allowed", document).await
    }

    /// The decisions of the hot and of the explaining entrypoint.
    pub(crate) async fn decide_both(&mut self, document: &Value) -> (bool, bool) {
        (self.is_allow("guard/allowed", document).await, self.is_allow("guard/decision", document).await)
    }
}
