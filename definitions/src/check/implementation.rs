//! Checks that an implementation fits its runtime: its handler, and what has an effect there.

use std::path::Path;

use url::Url;

use crate::agent::{Agent, RuntimeKind, is_component_name};
use crate::definition_set::Located;
use crate::known_names::KnownNames;
use crate::problem::{Problem, ProblemKind};
use crate::python_handler::PythonHandler;
use crate::yaml::PathSegment;

/// Adds the problems of the implementation of an agent.
pub(super) fn check(definition: &Located<Agent>, known_names: &KnownNames, problems: &mut Vec<Problem>) {
    let spec = &definition.value.spec().implementation;
    let at = |member: &'static str| [PathSegment::Name("implementation"), PathSegment::Name(member)];
    match (spec.runtime, &spec.handler) {
        (RuntimeKind::Native, None) => {
            let found = "a native agent needs a `handler`";
            problems.push(definition.error(&at("runtime"), ProblemKind::MissingField, found, ""));
        }
        (RuntimeKind::Python, handler) => {
            problems.extend(python_handler(definition, handler.as_deref(), known_names));
        }
        (RuntimeKind::Wasm, None) => {
            let (found, expected) = ("a `wasm` agent needs a `handler`", "name a file, such as `summary.wasm`");
            problems.push(definition.error(&at("runtime"), ProblemKind::MissingField, found, expected));
        }
        (RuntimeKind::Http, handler) => {
            if let Some((member, found)) = url_problem(handler.as_deref()) {
                let expected = "a service has an address such as `https://agents.example/score`";
                problems.push(definition.error(&at(member), ProblemKind::InvalidValue, found, expected));
            }
        }
        (RuntimeKind::Llm, Some(_)) => {
            let found = "a language model has no handler";
            problems.push(definition.error(
                &at("handler"),
                ProblemKind::InvalidValue,
                found,
                "remove it, or change the runtime",
            ));
        }
        (RuntimeKind::Llm, None) | (RuntimeKind::Native | RuntimeKind::Wasm, Some(_)) => {}
    }
    if spec.runtime != RuntimeKind::Llm && spec.prompt.is_some() {
        let found =
            format!("an agent of the runtime `{}` calls no model, so its prompt is never used", spec.runtime.as_str());
        problems.push(definition.error(&at("prompt"), ProblemKind::InvalidValue, found, "remove it"));
    }
    let has_memory = match spec.runtime {
        RuntimeKind::Python | RuntimeKind::Wasm => true,
        RuntimeKind::Llm | RuntimeKind::Native | RuntimeKind::Http => false,
    };
    component(definition, known_names.components.as_deref(), problems);
    if spec.memory.is_some() && !has_memory {
        let found = format!("`memory` has no effect for the runtime `{}`", spec.runtime.as_str());
        let expected = "it bounds the runtimes `python` and `wasm`";
        problems.push(definition.warning(&at("memory"), ProblemKind::NoEffect, found, expected));
    }
}

/// The problem of the handler of a Python agent. A module that does not exist here may exist on the pod.
fn python_handler(definition: &Located<Agent>, handler: Option<&str>, known_names: &KnownNames) -> Option<Problem> {
    let at = |member: &'static str| [PathSegment::Name("implementation"), PathSegment::Name(member)];
    let Some(name) = handler else {
        let found = "a Python agent needs a `handler`";
        return Some(definition.error(&at("runtime"), ProblemKind::MissingField, found, "the module and its function"));
    };
    let Some(handler) = PythonHandler::parse(name) else {
        let found = format!("`{name}` is not a handler in Python");
        let expected = "the module and its function, such as `agents.business_ops.executive_summary.execute`";
        return Some(definition.error(&at("handler"), ProblemKind::InvalidValue, found, expected));
    };
    let folder = known_names.python_handlers.as_deref()?;
    if handler.existing_file(folder).is_some() {
        return None;
    }
    let found = format!("there is no module `{}`", handler.module());
    let expected = format!("the file {}", handler.file(folder).display());
    Some(definition.warning(&at("handler"), ProblemKind::UnknownName, found, expected))
}

/// Checks the name of a component, and that the folder has it. That it lacks the file is a warning: the folder is that of
/// one pod, and another one, or this one later, may have it.
fn component(definition: &Located<Agent>, components: Option<&Path>, problems: &mut Vec<Problem>) {
    let spec = &definition.value.spec().implementation;
    let (RuntimeKind::Wasm, Some(handler)) = (spec.runtime, &spec.handler) else { return };
    let path = [PathSegment::Name("implementation"), PathSegment::Name("handler")];
    if !is_component_name(handler) {
        let found = format!("`{handler}` is no name of a component");
        let expected = "it is the name of a file, such as `summary.wasm`, without a folder";
        problems.push(definition.error(&path, ProblemKind::InvalidValue, found, expected));
        return;
    }
    if components.is_some_and(|folder| !folder.join(handler).is_file()) {
        let found = format!("`runtimes.wasm.components` has no file `{handler}`");
        let expected = "a call of this agent fails with `runtime_unavailable`";
        problems.push(definition.warning(&path, ProblemKind::UnknownName, found, expected));
    }
}

/// The member of an HTTP agent that is wrong, and why. That the host may be called is checked when it is called: the
/// definitions of a cluster are the same on each pod, its network need not be.
fn url_problem(handler: Option<&str>) -> Option<(&'static str, String)> {
    let Some(handler) = handler else {
        return Some(("runtime", "an agent of the runtime `http` needs a `handler`".to_owned()));
    };
    let problem = |found: &str| Some(("handler", format!("the handler {found}")));
    match Url::parse(handler) {
        Err(error) => problem(&format!("is no address: {error}")),
        // It is not repeated, because it may have a password.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            problem("has a user or a password, which belong into the configuration of its host")
        }
        Ok(url) if !matches!(url.scheme(), "https" | "http") => problem("is no address of a web server"),
        Ok(url) if url.fragment().is_some() => problem("has a fragment, which no request has"),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::url_problem;

    #[test]
    fn the_handler_of_an_http_agent_is_an_address_without_credentials() {
        for address in ["https://agents.example/score", "http://127.0.0.1:8080/x?y=z", "https://[2001:db8::1]/"] {
            assert_eq!(url_problem(Some(address)), None, "{address}");
        }
        for (address, found) in [
            ("agents.example/score", "is no address"),
            ("ftp://agents.example/", "web server"),
            ("https://user:secret@agents.example/", "user or a password"),
            ("https://agents.example/#part", "fragment"),
            ("https://", "is no address"),
        ] {
            let (member, problem) = url_problem(Some(address)).unwrap();
            assert!(member == "handler" && problem.contains(found) && !problem.contains("secret"), "{problem}");
        }
        assert_eq!(url_problem(None).map(|(member, _)| member), Some("runtime"));
    }
}
