//! `greenroom eval`: runs the examples of agents through the pipeline like any other request, and checks what they
//! expect of the outputs.

mod junit;
mod outcome;
mod selection;
mod stored_result;

use std::path::Path;

use greenroom_client::CallParams;
use greenroom_definitions::expectation::failures;
use greenroom_definitions::{AgentSpec, agent::Example};
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{AgentId, Cause, Clock, Deadline, ErrorCode, Json, MicroUsd, Values};
use outcome::{Evaluation, ExampleResult, Verdict};
use stored_result::StoredResult;

use super::args::EvalArgs;
use super::catalogue::retain_category;
use super::output::Output;
use super::session::Session;
use crate::clock::WallClock;
use crate::compose::blocking::run_blocking;

/// Bytes of a kept result that is compared.
const EARLIER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Executes the command. It fails if an assertion fails.
///
/// # Errors
/// [`ErrorCode::UnknownAgent`] and the like; [`ErrorCode::UnknownRecord`] for an unknown category;
/// [`ErrorCode::InvalidInput`] if a kept result cannot be read.
pub async fn eval(session: &Session, arguments: EvalArgs, output: Output) -> Result<u8, Cause> {
    let mut budget = Budget { left: arguments.max_cost_usd };
    let before = match &arguments.compare {
        Some(path) => Some(read_earlier(path).await?),
        None => None,
    };
    let agents = agents(session, &arguments).await?;
    let mut stored = StoredResult::new(arguments.model.clone(), arguments.keep.clone(), output);
    for spec in &agents {
        for (number, example) in spec.examples.iter().enumerate() {
            let result = evaluate(session, spec, (number, example), &arguments, &mut budget).await?;
            output.note(&result.line());
            stored.add(result);
        }
    }
    let evaluation = stored.finish().await?;
    if let Some(path) = &arguments.junit {
        write(path, junit::to_xml(&evaluation)).await?;
    }
    let comparison = before.as_ref().map(|before| evaluation.compare(before));
    let document = evaluation.to_document(comparison.as_ref());
    output.document(&document, || evaluation.format(comparison.as_ref()));
    Ok(u8::from(evaluation.count(Verdict::Failed) > 0))
}

fn internal(error: impl std::fmt::Display) -> Cause {
    Cause::new(ErrorCode::Internal, error.to_string())
}

/// What all examples together may still cost.
struct Budget {
    /// None without a limit.
    left: Option<MicroUsd>,
}

impl Budget {
    fn is_used_up(&self) -> bool {
        self.left == Some(MicroUsd(0))
    }

    fn spend(&mut self, cost: MicroUsd) {
        self.left = self.left.map(|left| left.saturating_sub(cost));
    }

    /// Why an example counts as not run whose execution ended with this cause: what was left did not cover a call of it.
    /// `None` for another cause, and for another limit, such as that of the agent or of the user.
    fn reason_to_skip(&self, cause: &Cause) -> Option<String> {
        let left = self.left.filter(|_| cause.code == ErrorCode::BudgetExceeded)?;
        let is_own = cause.details.get("budget").and_then(Json::as_str) == Some("execution")
            && cause.details.get("max_micro_usd").and_then(Json::as_u64) == Some(left.0);
        is_own.then(|| format!("a call could cost more than the ${:.5} that are left of the budget", left.as_usd()))
    }
}

/// The definitions of the agents whose examples are evaluated, in the versions that are in service.
async fn agents(session: &Session, arguments: &EvalArgs) -> Result<Vec<AgentSpec>, Cause> {
    let client = session.client();
    let ids: Vec<AgentId> = if arguments.ids.is_empty() {
        let mut reply = client.agents().await?;
        if let Some(cause) = reply.error.take() {
            return Err(cause);
        }
        if let Some(category) = &arguments.category {
            retain_category(&mut reply, category)?;
        }
        let rows = reply.outputs.get("agents").and_then(Json::as_array).into_iter().flatten();
        let ids = rows.filter_map(|row| row.get("agent_id").and_then(Json::as_str));
        ids.filter_map(|id| AgentId::new(id).ok()).collect()
    } else {
        arguments.ids.clone()
    };
    let mut specs = Vec::with_capacity(ids.len());
    for id in ids {
        let mut reply = client.agent_definition(id).await?;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        let definition = reply.outputs.remove("agent").unwrap_or_default();
        let spec: AgentSpec = serde_json::from_value(definition).map_err(internal)?;
        if arguments.category.as_ref().is_none_or(|category| spec.category.as_str() == category) {
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// Runs one example and checks what it expects.
async fn evaluate(
    session: &Session,
    spec: &AgentSpec,
    (number, example): (usize, &Example),
    arguments: &EvalArgs,
    budget: &mut Budget,
) -> Result<ExampleResult, Cause> {
    let mut result = ExampleResult::new(&spec.agent_id, number, example.name.as_deref());
    let model = arguments.model.as_deref();
    let skipped = selection::reason_to_skip(spec, example, model);
    if let Some(reason) = skipped.or_else(|| budget.is_used_up().then(|| "the budget is used up".to_owned())) {
        result.skipped = Some(reason);
        return Ok(result);
    }
    let params = CallParams {
        inputs: example.inputs.clone(),
        context: Values::new(),
        options: CallOptions { model: arguments.model.clone(), cost_max: budget.left },
        detach: false,
    };
    let deadline = Deadline::after(WallClock.now(), arguments.timeout.into());
    let client = session.client();
    let reply = client.agent(&spec.agent_id).params(params).deadline(deadline).send().await?;
    let unaffordable = reply.error.as_ref().and_then(|cause| budget.reason_to_skip(cause));
    budget.spend(reply.metadata.cost);
    result.cost_micro_usd = reply.metadata.cost.0;
    result.duration_ms = reply.metadata.duration_ms;
    result.model = reply.metadata.model.clone();
    let end = match &reply.error {
        None => Ok(&reply.outputs),
        Some(cause) => Err(cause.code),
    };
    let failures = failures(&example.expect, end);
    if failures.is_empty() {
        result.verdict = Verdict::Passed;
    } else if unaffordable.is_some() {
        // The example says nothing about the agent, although a part of it may have been paid for.
        result.skipped = unaffordable;
    } else {
        result.verdict = Verdict::Failed;
        result.failures = failures;
        result.error = reply.error.map(|cause| format!("{}: {}", cause.code, cause.message));
        result.outputs = Some(serde_json::to_value(&reply.outputs).map_err(internal)?);
    }
    Ok(result)
}

async fn read_earlier(path: &Path) -> Result<Evaluation, Cause> {
    let invalid = {
        let name = path.display().to_string();
        move |problem: String| Cause::new(ErrorCode::InvalidInput, format!("{name}: {problem}"))
    };
    let path = path.to_owned();
    let read = run_blocking(move || -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)?.take(EARLIER_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = read.await?.map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| invalid(format!("this is not a kept result: {error}")))
}

async fn write(path: &Path, text: String) -> Result<(), Cause> {
    let (path, name) = (path.to_owned(), path.display().to_string());
    let written = run_blocking(move || std::fs::write(path, text)).await?;
    written.map_err(|error| Cause::new(ErrorCode::PathNotAllowed, format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, budget: &str, max: u64) -> Cause {
        Cause::new(code, "refused").with_details(serde_json::json!({ "budget": budget, "max_micro_usd": max }))
    }

    #[test]
    fn only_what_is_left_of_the_budget_itself_skips_an_example() {
        let budget = Budget { left: Some(MicroUsd(7_050)) };
        let reason = budget.reason_to_skip(&refused(ErrorCode::BudgetExceeded, "execution", 7_050));
        assert_eq!(reason.as_deref(), Some("a call could cost more than the $0.00705 that are left of the budget"));
        for other in [
            refused(ErrorCode::BudgetExceeded, "execution", 500),
            refused(ErrorCode::BudgetExceeded, "user", 7_050),
            refused(ErrorCode::TimedOut, "execution", 7_050),
            Cause::new(ErrorCode::BudgetExceeded, "without details"),
        ] {
            assert_eq!(budget.reason_to_skip(&other), None, "{other}");
        }
        let unlimited = Budget { left: None };
        assert_eq!(unlimited.reason_to_skip(&refused(ErrorCode::BudgetExceeded, "execution", 7_050)), None);
    }
}
