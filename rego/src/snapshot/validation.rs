//! The steps that a bundle has to pass before it is in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use wasmtime::{Linker, Memory, Module, Store};

use super::{PolicySnapshot, SnapshotError};
use crate::access_request::read_set::{FieldReads, PolicyReadSet, ReadsManifest};
use crate::access_request::{Action, Input};
use crate::engine::allowed::ResultSet;
use crate::engine::{EXPLAIN_FUEL_MAX, Engine, Instance, allowed, explain};
use crate::identity::NameSet;

/// The entrypoint that lists the checks.
const CHECKS_ENTRYPOINT: &str = "guard/checks";
/// Bytes of the list of built-ins that are read, at most.
const BUILTINS_BYTES_MAX: usize = 64 * 1024;

fn instantiate(error: &wasmtime::Error) -> SnapshotError {
    SnapshotError::Instantiate(format!("{error:#}"))
}

/// A policy may use nothing but what the module brings along: a built-in of the host is slow, may
/// fail at call time only, and could make a decision depend on the moment.
pub(super) fn builtins(module: &Module) -> Result<(), SnapshotError> {
    let names = required_builtins(module).map_err(|error| instantiate(&error))?;
    if names.is_empty() { Ok(()) } else { Err(SnapshotError::Builtins { names }) }
}

fn required_builtins(module: &Module) -> Result<Vec<String>, wasmtime::Error> {
    let mut store = Store::new(module.engine(), ());
    store.set_fuel(EXPLAIN_FUEL_MAX)?;
    let mut linker = Linker::new(module.engine());
    let declared = module.imports().find_map(|import| import.ty().memory().cloned());
    let declared = declared.ok_or_else(|| wasmtime::Error::msg("the module imports no memory"))?;
    let memory = Memory::new(&mut store, declared)?;
    linker.define(&store, "env", "memory", memory)?;
    linker.define_unknown_imports_as_traps(module)?;
    let instance = linker.instantiate(&mut store, module)?;
    let listed = instance.get_typed_func::<(), i32>(&mut store, "builtins")?.call(&mut store, ())?;
    let text = instance.get_typed_func::<i32, i32>(&mut store, "opa_json_dump")?.call(&mut store, listed)?;
    let bytes = usize::try_from(text).ok().and_then(|from| memory.data(&store).get(from..)).unwrap_or_default();
    let text = bytes.iter().copied().take(BUILTINS_BYTES_MAX).take_while(|byte| *byte != 0).collect::<Vec<_>>();
    let map: BTreeMap<String, i32> = serde_json::from_slice(&text)?;
    Ok(map.into_keys().collect())
}

/// Makes an instance, and finds the three entrypoints in it.
pub(super) async fn instance(snapshot: &PolicySnapshot) -> Result<Instance, SnapshotError> {
    let instance = Instance::new(snapshot).await.map_err(|fault| SnapshotError::Instantiate(fault.to_string()))?;
    for entrypoint in [allowed::ENTRYPOINT, explain::ENTRYPOINT, CHECKS_ENTRYPOINT] {
        if !instance.entrypoints().any(|found| found == entrypoint) {
            let mut found: Vec<_> = instance.entrypoints().map(str::to_owned).collect();
            found.sort();
            return Err(SnapshotError::Entrypoint { entrypoint, found });
        }
    }
    Ok(instance)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    actions: BTreeMap<Action, BTreeMap<String, u8>>,
    capabilities: Option<NameSet>,
    reads: Option<ReadsManifest>,
}

/// Reads the checks of every action, and the names that the policy reads.
pub(super) async fn checks(
    instance: &mut Instance,
) -> Result<(BTreeMap<Action, Arc<[Arc<str>]>>, PolicyReadSet), SnapshotError> {
    let answer: ResultSet<Listed> = instance
        .evaluate(CHECKS_ENTRYPOINT, &json!({}), EXPLAIN_FUEL_MAX)
        .await
        .map_err(|fault| SnapshotError::Checks(fault.to_string()))?;
    let listed = answer.0.ok_or_else(|| SnapshotError::Checks("it is undefined".into()))?;
    if let Some(missing) = Action::ALL.iter().find(|action| listed.actions.get(action).is_none_or(BTreeMap::is_empty)) {
        return Err(SnapshotError::Checks(format!("it lists no check for `{}`", missing.as_str())));
    }
    let names = |checks: BTreeMap<String, u8>| checks.into_keys().map(Arc::from).collect();
    let checks = listed.actions.into_iter().map(|(action, checks)| (action, names(checks))).collect();
    Ok((checks, PolicyReadSet { capabilities: listed.capabilities, reads: listed.reads.map(FieldReads::from) }))
}

/// A document with nothing in it must be denied by both.
pub(super) async fn empty_input_is_denied(instance: &mut Instance) -> Result<(), SnapshotError> {
    #[derive(Deserialize)]
    struct Allow {
        allow: bool,
    }
    for entrypoint in [allowed::ENTRYPOINT, explain::ENTRYPOINT] {
        let answer: ResultSet<Allow> = instance
            .evaluate(entrypoint, &json!({}), EXPLAIN_FUEL_MAX)
            .await
            .map_err(|fault| SnapshotError::Validation(fault.to_string()))?;
        if answer.0.is_some_and(|answer| answer.allow) {
            return Err(SnapshotError::Validation(format!(
                "`{entrypoint}` allows a request of which nothing is known"
            )));
        }
    }
    Ok(())
}

/// A well-formed request must be answered without a fault, and the same by both. What the answer is
/// stays the policy's own affair.
pub(super) async fn answers_agree(snapshot: &Arc<PolicySnapshot>) -> Result<(), SnapshotError> {
    let trial = |message: String| SnapshotError::Validation(message);
    let mut engine = Engine::new(Arc::clone(snapshot)).await.map_err(|fault| trial(fault.to_string()))?;
    let input: Input = serde_json::from_value(baseline_admin_input()).map_err(|error| trial(error.to_string()))?;
    let verdict = engine.allowed(&input).await.map_err(|fault| trial(fault.to_string()))?;
    let explanation = engine.explain(&input).await.map_err(|fault| trial(fault.to_string()))?;
    if verdict.is_allowed() == explanation.allow {
        Ok(())
    } else {
        Err(trial("`guard/allowed` and `guard/decision` contradict each other".into()))
    }
}

/// An administrator calls an agent, and everything is in order.
fn baseline_admin_input() -> serde_json::Value {
    json!({
        "action": "invoke",
        "agent": { "id": "trial_agent", "category": "business_ops", "capabilities": {} },
        "caller_policies": {}, "document_bytes": 1, "hops": 1, "policies": {},
        "facts": { "audited": 1, "authenticated": 1, "own_tenant": 1 },
        "caller": "user",
        "usage": { "requests": 1, "tokens_left": -1, "usd_left": -1 },
        "user": {
            "id": "trial", "tenant": "trial", "roles": { "admin": 1 },
            "permissions": {}, "rate_limit": 1
        }
    })
}
