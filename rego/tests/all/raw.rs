//! The module without the engine: any document, also one that the host would never write.

use greenroom_rego::Bundle;
use opa_wasm::{DefaultContext, Runtime};
use serde_json::Value;
use wasmtime::{Config, Engine, Module, Store};

pub(crate) struct Policy {
    store: Store<()>,
    policy: opa_wasm::Policy<DefaultContext>,
}

impl Policy {
    pub(crate) async fn embedded() -> Self {
        let bundle = Bundle::embedded().unwrap();
        let engine = Engine::new(&Config::new()).unwrap();
        let module = Module::new(&engine, bundle.wasm()).unwrap();
        let mut store = Store::new(&engine, ());
        let runtime = Runtime::new(&mut store, &module).await.unwrap();
        let policy = runtime.with_data(&mut store, bundle.data()).await.unwrap();
        Self { store, policy }
    }

    /// What the entrypoint answers; null if it is undefined.
    pub(crate) async fn answer(&mut self, entrypoint: &str, document: &Value) -> Value {
        let mut answer: Value = self.policy.evaluate(&mut self.store, entrypoint, document).await.unwrap();
        answer.pointer_mut("/0/result").map(Value::take).unwrap_or_default()
    }

    async fn ask(&mut self, entrypoint: &str, document: &Value) -> bool {
        self.answer(entrypoint, document).await["allow"] == Value::Bool(true)
    }

    pub(crate) async fn allowed(&mut self, document: &Value) -> bool {
        self.ask("guard/allowed", document).await
    }

    /// What the hot entrypoint says, and what the explaining one says.
    pub(crate) async fn both(&mut self, document: &Value) -> (bool, bool) {
        (self.ask("guard/allowed", document).await, self.ask("guard/decision", document).await)
    }
}
