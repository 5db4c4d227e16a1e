//! Warns of declared inputs that nothing uses: what a caller passes for one never reaches a model or a step.

use greenroom_protocol::Json;

use super::index::{Index, Lookup, lookup};
use crate::agent::{Agent, RuntimeKind};
use crate::condition::Condition;
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located};
use crate::expr::{Expr, ReferenceRoot};
use crate::problem::{Problem, ProblemKind};
use crate::prompt::find_placeholders;
use crate::workflow::{StepSpec, WorkflowSpec};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        if definition.value.spec().implementation.runtime == RuntimeKind::Llm {
            agent(definition, &mut problems);
        }
    }
    for definition in &all.workflows {
        workflow(definition, index, &mut problems);
    }
    problems
}

/// Each input of an agent with a model must be in its prompt. A placeholder of another template language is
/// named, because its author believes that it has a value.
fn agent(definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    let spec = definition.value.spec();
    let names = spec.inputs.iter().map(|field| field.name.as_str());
    let mut unused: Vec<&str> = names.filter(|name| !is_used(&definition.value, name)).collect();
    let prompt = spec.implementation.prompt.as_ref();
    let user = prompt.and_then(|prompt| prompt.user.as_deref()).map(|text| ("user", text));
    let system = prompt.and_then(|prompt| prompt.system.as_deref()).map(|text| ("system", text));
    let mut explained: Vec<String> = Vec::new();
    for (part, text) in user.into_iter().chain(system) {
        let path = [PathSegment::Name("implementation"), PathSegment::Name("prompt"), PathSegment::Name(part)];
        for placeholder in find_placeholders(text, &unused) {
            let found = format!("the model is sent `{}` of the {part} prompt as it is written", placeholder.text);
            let expected = format!("write `{{{{ {} }}}}` for the value", placeholder.reference);
            let mut problem = definition.warning(&path, ProblemKind::UnusedInput, found, expected);
            let at = definition.node.nearest(&path).line_position(placeholder.line);
            (problem.location.line, problem.location.column) = (at.line, at.column);
            problems.push(problem);
            explained.push(placeholder.reference);
        }
    }
    unused.retain(|name| !explained.contains(&format!("inputs.{name}")));
    for name in unused {
        let expected = format!("reference it in the user prompt as `{{{{ inputs.{name} }}}}`, or remove it");
        let position = spec.inputs.iter().position(|field| field.name == name).unwrap_or_default();
        let path = [PathSegment::Name("inputs"), PathSegment::Item(position)];
        let found = format!("nothing uses the input `{name}`: no model is sent its value");
        problems.push(definition.warning(&path, ProblemKind::UnusedInput, found, expected));
    }
}

fn is_used(agent: &Agent, name: &str) -> bool {
    let spec = agent.spec();
    agent.prompt().uses_input(name)
        || spec.memory_recall.as_ref().is_some_and(|recall| recall.query == name)
        || spec.outputs.iter().any(|output| output.from.as_deref() == Some(name))
}

/// Each input of a workflow must be referenced, or be an input of the same name of an executor.
fn workflow(definition: &Located<LoadedWorkflow>, index: &Index<'_>, problems: &mut Vec<Problem>) {
    let spec = &definition.value.spec;
    for (position, field) in spec.inputs.iter().enumerate() {
        let name = field.name.as_str();
        if is_referenced(spec, name) || spec.steps.iter().any(|step| inherits(step, index, name)) {
            continue;
        }
        let path = [PathSegment::Name("inputs"), PathSegment::Item(position)];
        let found = format!("nothing uses the input `{name}`: no step receives its value");
        let expected = format!("reference it as `${{inputs.{name}}}`, or remove it");
        problems.push(definition.warning(&path, ProblemKind::UnusedInput, found, expected));
    }
}

fn is_referenced(spec: &WorkflowSpec, name: &str) -> bool {
    let references = |value: &Json| {
        // The compiler of the plan reports an invalid expression, which may have named the input.
        let Ok(expr) = Expr::parse(value) else { return true };
        expr.references().iter().any(|reference| match reference.root {
            ReferenceRoot::Inputs | ReferenceRoot::Context => reference.name().is_none_or(|first| first == name),
            ReferenceRoot::Step(_) | ReferenceRoot::Item | ReferenceRoot::Index => false,
        })
    };
    let in_step = |step: &StepSpec| {
        step.inputs.values().any(references)
            || step.compensate.iter().flat_map(|compensation| compensation.inputs.values()).any(references)
            || step.for_each.as_ref().is_some_and(|for_each| references(&for_each.items))
            || step.approval.as_ref().is_some_and(|approval| references(&Json::String(approval.prompt.clone())))
            || step.when.as_deref().is_some_and(|when| match Condition::compile(when) {
                Ok(condition) => condition.uses_input(name),
                Err(_) => true,
            })
    };
    spec.steps.iter().any(in_step)
        || spec.outputs.values().any(references)
        || spec.final_output.as_ref().is_some_and(references)
}

/// True if an executor of the step has an input of that name, which the step inherits, or is unknown.
fn inherits(step: &StepSpec, index: &Index<'_>, name: &str) -> bool {
    let agents = step.agent.iter().chain(step.compensate.iter().map(|compensation| &compensation.agent));
    let by_agent = agents.map(|id| index.agent(id)).any(|found| match found {
        Lookup::Found(agent) => agent.input(name).is_some(),
        Lookup::Unreadable | Lookup::Missing => true,
    });
    let by_workflow = step.workflow.iter().map(|id| lookup(&index.workflows, id.as_str())).any(|found| match found {
        Lookup::Found(inner) => inner.inputs.iter().any(|field| field.name == name),
        Lookup::Unreadable | Lookup::Missing => true,
    });
    by_agent || by_workflow
}
