//! What a model is told: two templates, checked when they are loaded.
//!
//! The system part is rendered at load from the definition alone, so nothing that a caller, a
//! document or a model says can ever reach it. The user part is rendered over values, and a value is
//! never read as a template.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, LazyLock};

use greenroom_protocol::{Cause, ErrorCode, Values};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::binding::sections;
use crate::bounds::{PROMPT_BYTES_MAX, TEMPLATE_FUEL, check_template};
use crate::problem::did_you_mean;
use crate::spec::agent::AgentSpec;

mod filters;

/// Bytes up to which a prompt that is too long is counted, to say by how much.
const COUNTED_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// The name of the one template in an environment of its own.
const TEMPLATE: &str = "prompt";
/// How deep a template may call itself; it cannot, so this only bounds nested values.
const RECURSION_MAX: usize = 64;
/// What a user template may look at.
const USER_ROOTS: &[&str] = &["inputs", "context", "agent"];
/// What a system template may look at.
const SYSTEM_ROOTS: &[&str] = &["agent"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_debug(false);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    filters::install(&mut environment);
    environment
});

/// An agent's prompts. The user template is compiled once: reading it takes several times as long as
/// rendering it does.
#[derive(Debug, Clone)]
pub struct Prompt {
    system: String,
    user: Option<Arc<Compiled>>,
}

/// A template that was checked, in an environment that holds it and shares the filters.
type Compiled = Environment<'static>;

/// Which template is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {part} template {message}")]
pub struct PromptError {
    /// `system` or `user`.
    pub part: &'static str,
    /// What is wrong, as the end of a sentence.
    pub message: String,
    /// True if a bound is passed, false if it cannot be read.
    pub out_of_bounds: bool,
    /// The line in the template, from 1; 0 if unknown.
    pub line: usize,
}

/// What a system template sees.
#[derive(Serialize)]
struct Constants<'a> {
    id: &'a str,
    name: &'a str,
    category: &'a str,
    description: &'a str,
    capabilities: &'a [String],
    inputs: &'a [crate::types::Field],
    outputs: &'a [crate::types::Field],
}

impl<'a> Constants<'a> {
    fn new(spec: &'a AgentSpec) -> Self {
        Self {
            id: spec.agent_id.as_str(),
            name: &spec.name,
            category: spec.category.as_str(),
            description: &spec.description,
            capabilities: &spec.capabilities,
            inputs: &spec.inputs,
            outputs: &spec.outputs,
        }
    }
}

impl Prompt {
    /// Checks the templates of an agent and renders the system part. An agent without templates is
    /// told its name and description, and asked with its inputs as sections.
    ///
    /// # Errors
    /// The first template that is wrong.
    pub fn compile(spec: &AgentSpec) -> Result<Self, PromptError> {
        let prompt_spec = spec.implementation.prompt.as_ref();
        let system = match prompt_spec.and_then(|prompt| prompt.system.as_deref()) {
            Some(text) => {
                let compiled = check("system", text, SYSTEM_ROOTS, spec)?;
                let agent = Constants::new(spec);
                render(&compiled, context! { agent }).map_err(|error| PromptError {
                    part: "system",
                    message: error.to_string(),
                    out_of_bounds: false,
                    line: 0,
                })?
            }
            None => format!("You are the {}. {}", spec.name, spec.description),
        };
        let user = prompt_spec.and_then(|prompt| prompt.user.as_deref());
        let user = user.map(|text| check("user", text, USER_ROOTS, spec)).transpose()?.map(Arc::new);
        Ok(Self { system, user })
    }

    /// Who the model is; the same for every caller.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }

    /// What the model is asked. Only what the definition declares should be among the inputs.
    ///
    /// # Errors
    /// `context_overflow`, if it would have more than [`PROMPT_BYTES_MAX`], with how many too many;
    /// `expression_failed`, if the template runs out of fuel or meets a value that does not fit.
    pub fn render_user(&self, inputs: &Values, context: &Values) -> Result<String, Cause> {
        let rendered = match &self.user {
            Some(compiled) => render(compiled, context! { inputs, context }),
            None => {
                let text = sections(inputs);
                if text.len() > PROMPT_BYTES_MAX { Err(TooLong { bytes: text.len() }.into()) } else { Ok(text) }
            }
        };
        rendered.map_err(RenderError::into_cause)
    }
}

/// A prompt, or a part of it, that has at least so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it would have {bytes} bytes or more, at most {PROMPT_BYTES_MAX} are given to a model")]
struct TooLong {
    bytes: usize,
}

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
enum RenderError {
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("{0}")]
    Failed(String),
}

impl RenderError {
    fn into_cause(self) -> Cause {
        let message = format!("the prompt cannot be rendered: {self}");
        match self {
            Self::TooLong(TooLong { bytes }) => {
                Cause::new(ErrorCode::ContextOverflow, message).with_details(serde_json::json!({
                    "bytes": bytes, "bytes_max": PROMPT_BYTES_MAX, "over": bytes.saturating_sub(PROMPT_BYTES_MAX),
                }))
            }
            Self::Failed(_) => Cause::new(ErrorCode::ExpressionFailed, message),
        }
    }
}

impl From<minijinja::Error> for RenderError {
    fn from(error: minijinja::Error) -> Self {
        let too_long = error.source().and_then(|source| source.downcast_ref::<TooLong>());
        let detail = || error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        too_long.map_or_else(|| Self::Failed(detail()), |too_long| Self::TooLong(*too_long))
    }
}

fn check(part: &'static str, text: &str, roots: &[&str], spec: &AgentSpec) -> Result<Compiled, PromptError> {
    check_template(text).map_err(|message| PromptError { part, message, out_of_bounds: true, line: 0 })?;
    let invalid = |message: String, line: usize| PromptError { part, message, out_of_bounds: false, line };
    let mut compiled = ENVIRONMENT.clone();
    let read = compiled.add_template_owned(TEMPLATE, text.to_owned()).and_then(|()| {
        let template = compiled.get_template(TEMPLATE)?;
        Ok(template.undeclared_variables(true).into_iter().collect())
    });
    let mut variables: Vec<String> = read.map_err(|error| {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        invalid(format!("cannot be read: {detail}"), error.line().unwrap_or_default())
    })?;
    variables.sort();
    for path in &variables {
        let mut names = path.split('.');
        let root = names.next().unwrap_or_default();
        if !roots.contains(&root) {
            let hint = did_you_mean(root, roots.iter().copied()).unwrap_or_default();
            let known = roots.join(", ");
            return Err(invalid(format!("looks at `{path}`{hint}; it may look at {known}"), line_of(text, path)));
        }
        if let ("inputs", Some(name)) = (root, names.next())
            && !spec.inputs.iter().any(|field| field.name == name)
        {
            let hint = did_you_mean(name, spec.inputs.iter().map(|field| field.name.as_str())).unwrap_or_default();
            return Err(invalid(
                format!("looks at the input `{name}`, which is not declared{hint}"),
                line_of(text, path),
            ));
        }
    }
    filters::check_names(text).map_err(|message| invalid(message, 0))?;
    Ok(compiled)
}

fn line_of(text: &str, path: &str) -> usize {
    text.lines().position(|line| line.contains(path)).map_or(0, |at| at + 1)
}

/// Renders into a writer that keeps no more than the bound.
fn render<S: Serialize>(compiled: &Compiled, values: S) -> Result<String, RenderError> {
    let mut bounded = Bounded::default();
    let rendered = compiled.get_template(TEMPLATE)?.render_captured_to(values, &mut bounded).map(drop);
    if bounded.written > PROMPT_BYTES_MAX {
        return Err(TooLong { bytes: bounded.written }.into());
    }
    rendered?;
    String::from_utf8(bounded.bytes).map_err(|error| RenderError::Failed(error.to_string()))
}

#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    written: usize,
}

impl io::Write for Bounded {
    /// What is too much is only counted, and not for long.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written = self.written.saturating_add(bytes.len());
        if self.written > COUNTED_BYTES_MAX {
            return Err(io::Error::other("the prompt is too long"));
        }
        if self.written <= PROMPT_BYTES_MAX {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
