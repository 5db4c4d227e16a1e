//! One execution: a store and an instance of its own, which are dropped with it.

use std::future::poll_fn;

use greenroom_actors::execution::host_calls::{HostCall, LogLevel};
use greenroom_protocol::{Cause, ErrorCode, Values, strict_json};
use wasmtime::Store;

use super::call_error::{CallFailure, failure_cause, output_error};
use super::components::CompiledComponent;
use super::epochs::Activity;
use super::host_port::{Host, HostCalls, HostPort};
use super::interface::{ExecuteParameters, ExecuteResult};
use super::output::Output;
use super::store_state::{CallLimits, StoreState};
use crate::json_bounds::{self, VALUES_MAX};

/// Bytes of the outputs as JSON.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that a component passes to its host in one call.
const HOST_CALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Handles of resources that a component owns at once.
const HANDLES_MAX: usize = 4_096;

/// Executes a component, and returns its outputs.
///
/// # Errors
/// [`ErrorCode::HandlerFailed`] for a limit, [`ErrorCode::AgentCrashed`] for a trap, [`ErrorCode::InvalidOutput`] for a
/// result that is no JSON object, or the cause that the component names.
pub(super) async fn call(
    component: &CompiledComponent,
    (activity, limits): (&Activity, CallLimits),
    parameters: ExecuteParameters,
    host: &dyn Host,
) -> Result<Values, Cause> {
    let (port, requests) = HostPort::new();
    let (stdout, stderr) = (Output::default(), Output::default());
    let state = StoreState::new(port, limits, &stdout, &stderr);
    let mut execution = Box::pin(execute(component, limits, state, parameters));
    // The epoch advances while the component runs, and not while it waits for its host.
    let execution = poll_fn(|context| {
        let _running = activity.begin();
        execution.as_mut().poll(context)
    });
    let mut calls = HostCalls::new(host);
    let result = calls.drive(execution, requests).await;
    write_log(&mut calls, &stdout, LogLevel::Info).await;
    write_log(&mut calls, &stderr, LogLevel::Warn).await;
    match result {
        Ok(Ok(outputs)) => parse_outputs(&outputs),
        Ok(Err(failure)) => Err(failure_cause(failure, |code| calls.cause(code).cloned())),
        Err(failure) => Err(failure.into_cause(limits)),
    }
}

/// Instantiates the component in a store of its own and calls its function.
async fn execute(
    component: &CompiledComponent,
    limits: CallLimits,
    state: StoreState,
    parameters: ExecuteParameters,
) -> Result<ExecuteOutcome, CallFailure> {
    let mut store = Store::new(component.instance.engine(), state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let result = try_execute(component, limits, &mut store, parameters).await;
    result.map_err(|error| CallFailure { error, denial: store.data().limits.denial })
}

/// The result of `execute`.
type ExecuteOutcome = Result<String, super::interface::Failure>;

async fn try_execute(
    component: &CompiledComponent,
    limits: CallLimits,
    store: &mut Store<StoreState>,
    parameters: ExecuteParameters,
) -> wasmtime::Result<ExecuteOutcome> {
    store.set_fuel(limits.fuel)?;
    let instance = component.instance.instantiate_async(&mut *store).await?;
    let function = instance.get_typed_func::<ExecuteParameters, ExecuteResult>(&mut *store, &component.execute)?;
    let (result,) = function.call_async(&mut *store, parameters).await?;
    Ok(result)
}

/// Writes what the component has printed to the log, line by line.
async fn write_log(calls: &mut HostCalls<'_>, output: &Output, level: LogLevel) {
    for message in output.lines() {
        // A line that is not written does not fail the execution.
        let _ = calls.call(HostCall::Log { level, message }).await;
    }
}

fn parse_outputs(text: &str) -> Result<Values, Cause> {
    if text.len() > OUTPUT_BYTES_MAX {
        let message = format!("the component has returned {} bytes, more than {OUTPUT_BYTES_MAX}", text.len());
        return Err(Cause::new(ErrorCode::InvalidOutput, message));
    }
    if json_bounds::has_too_many_values(text.as_bytes()) {
        let message = format!("the component has returned more than {VALUES_MAX} values; store them as an artifact");
        return Err(Cause::new(ErrorCode::InvalidOutput, message));
    }
    strict_json::from_str(text).map_err(|error| output_error(text, &error))
}
