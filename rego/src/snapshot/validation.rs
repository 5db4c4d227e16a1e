//! The validation steps that a bundle must pass before its policy becomes active.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::Json;
use serde::Deserialize;
use serde_json::json;
use wasmtime::{Linker, Memory, Module, Store};

use super::error::SnapshotError;
use crate::access_request::declared_reads::{DeclaredReads, ReadsManifest};
use crate::access_request::read_set::PolicyReadSet;
use crate::access_request::{Action, Input};
use crate::identity::NameSet;
use crate::instance::explain::RawExplanation;
use crate::instance::result_set::ResultSet;
use crate::instance::{EXPLAIN_FUEL_MAX, EvaluationError, FUEL_MAX, Instance, allowed, explain};

/// The entrypoint that lists the checks.
const CHECKS_ENTRYPOINT: &str = "guard/checks";
/// Maximum bytes that are read of the list of built-ins.
const BUILTINS_BYTES_MAX: usize = 64 * 1024;

fn instantiation_error(error: &wasmtime::Error) -> SnapshotError {
    SnapshotError::Instantiate(format!("{error:#}"))
}

/// Rejects a policy that uses built-ins of the host: such a built-in is slow, may fail only when it is
/// called, and could make a decision depend on the time.
pub(super) fn require_native_builtins(module: &Module) -> Result<(), SnapshotError> {
    let names = required_builtins(module).map_err(|error| instantiation_error(&error))?;
    if names.is_empty() { Ok(()) } else { Err(SnapshotError::Builtins { names }) }
}

fn required_builtins(module: &Module) -> Result<Vec<String>, wasmtime::Error> {
    let mut store = Store::new(module.engine(), ());
    store.set_fuel(EXPLAIN_FUEL_MAX)?;
    let mut linker = Linker::new(module.engine());
    let memory_type = module.imports().find_map(|import| import.ty().memory().cloned());
    let memory_type = memory_type.ok_or_else(|| wasmtime::Error::msg("the module imports no memory"))?;
    let memory = Memory::new(&mut store, memory_type)?;
    linker.define(&store, "env", "memory", memory)?;
    linker.define_unknown_imports_as_traps(module)?;
    let instance = linker.instantiate(&mut store, module)?;
    let list = instance.get_typed_func::<(), i32>(&mut store, "builtins")?.call(&mut store, ())?;
    let text = instance.get_typed_func::<i32, i32>(&mut store, "opa_json_dump")?.call(&mut store, list)?;
    let bytes = usize::try_from(text).ok().and_then(|from| memory.data(&store).get(from..)).unwrap_or_default();
    let text = bytes.iter().copied().take(BUILTINS_BYTES_MAX).take_while(|byte| *byte != 0).collect::<Vec<_>>();
    let map: BTreeMap<String, i32> = serde_json::from_slice(&text)?;
    Ok(map.into_keys().collect())
}

/// Makes an instance and verifies that it has the three entrypoints.
pub(super) async fn new_instance(module: &Module, data: &Json) -> Result<Instance, SnapshotError> {
    let instance = Instance::new(module, data).await.map_err(|error| SnapshotError::Instantiate(error.to_string()))?;
    for entrypoint in [allowed::ENTRYPOINT, explain::ENTRYPOINT, CHECKS_ENTRYPOINT] {
        if !instance.entrypoints().any(|name| name == entrypoint) {
            let mut available: Vec<_> = instance.entrypoints().map(str::to_owned).collect();
            available.sort();
            return Err(SnapshotError::Entrypoint { entrypoint, available });
        }
    }
    Ok(instance)
}

/// The value of `guard/checks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksManifest {
    actions: BTreeMap<Action, BTreeMap<String, u8>>,
    capabilities: Option<NameSet>,
    reads: Option<ReadsManifest>,
}

/// What a bundle declares that its rules read.
pub(super) struct Declaration {
    /// The capabilities; `None` for all.
    pub(super) capabilities: Option<NameSet>,
    /// Other fields and names.
    pub(super) reads: Option<DeclaredReads>,
}

/// Reads the checks of every action, and what the bundle declares that its rules read.
pub(super) async fn read_checks(
    instance: &mut Instance,
) -> Result<(BTreeMap<Action, Arc<[Arc<str>]>>, Declaration), SnapshotError> {
    let result: ResultSet<ChecksManifest> = instance
        .evaluate(CHECKS_ENTRYPOINT, &json!({}), EXPLAIN_FUEL_MAX)
        .await
        .map_err(|error| SnapshotError::Checks(error.to_string()))?;
    let manifest = result.0.ok_or_else(|| SnapshotError::Checks("it is undefined".into()))?;
    if let Some(missing) = Action::ALL.iter().find(|action| manifest.actions.get(action).is_none_or(BTreeMap::is_empty))
    {
        return Err(SnapshotError::Checks(format!("it lists no check for `{}`", missing.as_str())));
    }
    let names = |checks: BTreeMap<String, u8>| checks.into_keys().map(Arc::from).collect();
    let checks = manifest.actions.into_iter().map(|(action, checks)| (action, names(checks))).collect();
    let reads = manifest.reads.map(ReadsManifest::resolve).transpose().map_err(SnapshotError::Checks)?;
    Ok((checks, Declaration { capabilities: manifest.capabilities, reads }))
}

/// Requires both deciding entrypoints to deny an empty document.
pub(super) async fn empty_input_is_denied(instance: &mut Instance) -> Result<(), SnapshotError> {
    #[derive(Deserialize)]
    struct Allow {
        allow: bool,
    }
    for entrypoint in [allowed::ENTRYPOINT, explain::ENTRYPOINT] {
        let result: ResultSet<Allow> =
            instance.evaluate(entrypoint, &json!({}), EXPLAIN_FUEL_MAX).await.map_err(|error| evaluation(&error))?;
        if result.0.is_some_and(|result| result.allow) {
            return Err(SnapshotError::Validation(format!("`{entrypoint}` allows an empty input")));
        }
    }
    Ok(())
}

/// Requires both deciding entrypoints to evaluate a well-formed request without an error and to the
/// same decision. Whether they allow it is up to the policy.
pub(super) async fn entrypoints_agree(instance: &mut Instance, read_set: &PolicyReadSet) -> Result<(), SnapshotError> {
    let input: Input =
        serde_json::from_value(baseline_admin_input()).map_err(|error| SnapshotError::Validation(error.to_string()))?;
    let hot: ResultSet<allowed::Allow> = instance
        .evaluate(allowed::ENTRYPOINT, &input.pruned(read_set), FUEL_MAX)
        .await
        .map_err(|error| evaluation(&error))?;
    let explanation: ResultSet<RawExplanation> =
        instance.evaluate(explain::ENTRYPOINT, &input, EXPLAIN_FUEL_MAX).await.map_err(|error| evaluation(&error))?;
    let explanation = explanation.into_consistent().map_err(|error| evaluation(&error))?;
    if hot.0.is_some_and(|hot| hot.allow) == explanation.allow {
        Ok(())
    } else {
        Err(SnapshotError::Validation("`guard/allowed` and `guard/decision` contradict each other".into()))
    }
}

fn evaluation(error: &EvaluationError) -> SnapshotError {
    SnapshotError::Validation(error.to_string())
}

/// An administrator invokes an agent, and every fact supports it.
fn baseline_admin_input() -> serde_json::Value {
    json!({
        "action": "invoke",
        "agent": { "id": "validation_agent", "category": "business_ops", "capabilities": {} },
        "caller_policies": {}, "document_bytes": 1, "hops": 1, "policies": {},
        "facts": { "audited": 1, "authenticated": 1, "own_tenant": 1 },
        "caller": "user",
        "usage": { "requests": 1, "tokens_left": -1, "usd_left": -1 },
        "user": {
            "id": "validation", "tenant": "validation", "roles": { "admin": 1 },
            "permissions": {}, "rate_limit": 1
        }
    })
}
