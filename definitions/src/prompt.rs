//! The prompt of a model: two templates, checked when they are loaded.
//!
//! The system prompt is rendered at load from the definition and its snippets alone, so that no text of a caller, a
//! document or a model can reach it. The user prompt is rendered over values, and a value is never
//! parsed as a template.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::sync::{Arc, LazyLock};

use greenroom_protocol::{Cause, ErrorCode, Values};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::binding::sections;
use crate::bounds::{PROMPT_BYTES_MAX, TEMPLATE_FUEL, TemplateError, check_template};
use crate::expr::Segment;
use crate::problem::did_you_mean;
use crate::snippet::{expand, includes, without_includes};
use crate::spec::agent::AgentSpec;
use crate::types::{Field, UndeclaredProperty};

mod filters;
mod placeholders;

pub(crate) use placeholders::find_placeholders;

/// Bytes up to which the size of an oversized prompt is counted, for the error message.
const COUNTED_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// The name of the single template of an environment.
const TEMPLATE: &str = "prompt";
/// Recursion limit of the engine. Templates cannot recurse, so it only bounds nested values.
const RECURSION_MAX: usize = 64;
/// The variables of a user template.
const USER_ROOTS: &[&str] = &["inputs", "context", "agent"];
/// The variables of a system template.
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

/// The prompts of an agent. The user template is compiled once, because parsing takes several times
/// as long as rendering.
#[derive(Debug, Clone)]
pub struct Prompt {
    system: String,
    user: Option<Arc<CheckedTemplate>>,
}

/// A template that references only what it may.
#[derive(Debug)]
struct CheckedTemplate {
    compiled: Compiled,
    /// The variables that it references, such as `inputs.document`, or `inputs` for all of them.
    variables: BTreeSet<String>,
}

/// A checked template in an environment of its own, which shares the filters.
type Compiled = Environment<'static>;

/// A problem of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {part} template {message}")]
pub struct PromptError {
    /// `system` or `user`.
    pub part: &'static str,
    /// The message, without its subject.
    pub message: String,
    /// True if the template exceeds a bound, false if it is invalid.
    pub out_of_bounds: bool,
    /// The line in the template, from 1; 0 if unknown.
    pub line: usize,
}

impl PromptError {
    pub(crate) fn new(part: &'static str, error: TemplateError) -> Self {
        let TemplateError { message, line, out_of_bounds } = error;
        Self { part, message, out_of_bounds, line }
    }
}

/// The names of [`Constants`].
const CONSTANTS: &[&str] = &["id", "name", "category", "description", "capabilities", "inputs", "outputs"];

/// The constants of the definition that both templates can use.
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
    /// Checks the templates of an agent and renders the system prompt with its snippets. Without templates, the
    /// system prompt is the name and description, and the user prompt is the inputs as sections.
    ///
    /// # Errors
    /// The problem of the first invalid template.
    pub fn compile(spec: &AgentSpec) -> Result<Self, PromptError> {
        let system = with_appended(own_prompt(spec)?, spec)?;
        Ok(Self { system, user: user_template(spec)? })
    }

    /// As [`Prompt::compile`], of an agent as its file has it: its includes are left out, because the snippets are in
    /// other files.
    pub(crate) fn compile_own(spec: &AgentSpec) -> Result<Self, PromptError> {
        let system = match own_system(spec) {
            Some(text) => {
                let own = without_includes(text).map_err(|error| PromptError::new("system", error))?;
                render_system(&own, spec)?
            }
            None => default_system(spec),
        };
        Ok(Self { system, user: user_template(spec)? })
    }

    /// The same prompt, which was compiled by [`Prompt::compile_own`], with the system part rendered for what the agent has
    /// from outside of its file. Text without includes is as it was.
    pub(crate) fn with_system_of(&self, spec: &AgentSpec) -> Result<Self, PromptError> {
        let is_rendered = own_system(spec).is_none_or(|text| includes(text).is_ok_and(|found| found.is_empty()));
        let own = if is_rendered { self.system.clone() } else { own_prompt(spec)? };
        Ok(Self { system: with_appended(own, spec)?, user: self.user.clone() })
    }

    /// Checks the text of a snippet by itself, without those that it includes.
    pub(crate) fn check_snippet(text: &str) -> Result<(), PromptError> {
        let own = without_includes(text).map_err(|error| PromptError::new("snippet", error))?;
        check("snippet", &own, SYSTEM_ROOTS, &[], None).map(drop)
    }

    /// The system prompt; the same for every caller.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }

    /// True if the user prompt depends on this input. Without a user template it is made of all inputs.
    #[must_use]
    pub fn uses_input(&self, name: &str) -> bool {
        let Some(user) = &self.user else { return true };
        user.variables.iter().any(|path| match path.split_once('.') {
            Some(("inputs", rest)) => rest.split('.').next() == Some(name),
            Some(_) => false,
            None => path == "inputs",
        })
    }

    /// Renders the user prompt. The inputs should contain only declared inputs.
    ///
    /// # Errors
    /// `context_overflow` if it would exceed [`PROMPT_BYTES_MAX`]; `details.over` is the excess.
    /// `expression_failed` if the template runs out of fuel or a value has the wrong type.
    pub fn render_user(&self, inputs: &Values, context: &Values) -> Result<String, Cause> {
        let rendered = match &self.user {
            Some(user) => render(&user.compiled, context! { inputs, context }),
            None => {
                let text = sections(inputs);
                if text.len() > PROMPT_BYTES_MAX { Err(TooLong { bytes: text.len() }.into()) } else { Ok(text) }
            }
        };
        rendered.map_err(RenderError::into_cause)
    }
}

/// A prompt, or a part of it, exceeds the size limit; `bytes` is a lower bound of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it would have at least {bytes} bytes, {PROMPT_BYTES_MAX} are allowed")]
struct TooLong {
    bytes: usize,
}

/// The error of a rendering.
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

/// The system template of an agent as its file has it.
fn own_system(spec: &AgentSpec) -> Option<&str> {
    spec.implementation.prompt.as_ref()?.system.as_deref()
}

/// The system prompt of an agent without a template for it.
fn default_system(spec: &AgentSpec) -> String {
    format!("You are the {}. {}", spec.name, spec.description)
}

/// Renders the agent's own system prompt with the snippets in it.
fn own_prompt(spec: &AgentSpec) -> Result<String, PromptError> {
    match own_system(spec) {
        Some(text) => render_system(&expanded(text, spec)?, spec),
        None => Ok(default_system(spec)),
    }
}

/// Appends the snippets of the category of the agent.
fn with_appended(own: String, spec: &AgentSpec) -> Result<String, PromptError> {
    if spec.inherited.appended.is_empty() {
        return Ok(own);
    }
    let tags: Vec<String> = spec.inherited.appended.iter().map(|name| format!("{{% include \"{name}\" %}}")).collect();
    let appended = render_system(&expanded(&tags.join("\n\n"), spec)?, spec)?;
    Ok(format!("{}\n\n{}\n", own.trim_end(), appended.trim_end()))
}

fn expanded(text: &str, spec: &AgentSpec) -> Result<String, PromptError> {
    expand(text, &spec.inherited.snippets).map_err(|error| PromptError::new("system", error))
}

fn render_system(text: &str, spec: &AgentSpec) -> Result<String, PromptError> {
    if !text.contains('{') {
        // As the engine, which needs ten times as long for most system prompts, it omits the last line end.
        check_template(text).map_err(|error| PromptError::new("system", error))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        return Ok(text.strip_suffix('\r').unwrap_or(text).to_owned());
    }
    let template = check("system", text, SYSTEM_ROOTS, &spec.inputs, Some(spec))?;
    render(&template.compiled, context! {}).map_err(|error| PromptError {
        part: "system",
        message: error.to_string(),
        out_of_bounds: false,
        line: 0,
    })
}

fn user_template(spec: &AgentSpec) -> Result<Option<Arc<CheckedTemplate>>, PromptError> {
    let user = spec.implementation.prompt.as_ref().and_then(|prompt| prompt.user.as_deref());
    let template = user.map(|text| check("user", text, USER_ROOTS, &spec.inputs, Some(spec))).transpose()?;
    Ok(template.map(Arc::new))
}

/// Checks a template, and compiles it with the constants of its agent, if there is one and the template names them.
fn check(
    part: &'static str,
    text: &str,
    roots: &[&str],
    inputs: &[Field],
    agent: Option<&AgentSpec>,
) -> Result<CheckedTemplate, PromptError> {
    let in_part = |error: TemplateError| PromptError::new(part, error);
    check_template(text).map_err(in_part)?;
    let invalid = |message: String, line: usize| PromptError { part, message, out_of_bounds: false, line };
    let mut compiled = ENVIRONMENT.clone();
    let read = compiled.add_template_owned(TEMPLATE, text.to_owned()).and_then(|()| {
        let template = compiled.get_template(TEMPLATE)?;
        Ok(template.undeclared_variables(true).into_iter().collect())
    });
    let variables: BTreeSet<String> = read.map_err(|error| {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        invalid(format!("cannot be parsed: {detail}"), error.line().unwrap_or_default())
    })?;
    for path in &variables {
        let mut names = path.split('.');
        let root = names.next().unwrap_or_default();
        if !roots.contains(&root) {
            let is_input = roots.contains(&"inputs") && inputs.iter().any(|field| field.name == root);
            let hint = if is_input {
                format!(", did you mean `inputs.{root}`?")
            } else {
                did_you_mean(root, roots.iter().copied()).unwrap_or_default()
            };
            let known = roots.join(", ");
            return Err(invalid(format!("references `{path}`{hint}; it may reference {known}"), line_of(text, path)));
        }
        let found = match root {
            "inputs" => undeclared_input(inputs, &mut names),
            "agent" => unknown_constant(&mut names),
            _ => None,
        };
        if let Some(found) = found {
            return Err(invalid(format!("references {found}"), line_of(text, path)));
        }
    }
    filters::check_names(text).map_err(in_part)?;
    let names_agent = variables.iter().any(|path| path.split('.').next() == Some("agent"));
    if let Some(spec) = agent.filter(|_| names_agent) {
        compiled.add_global("agent", minijinja::Value::from_serialize(Constants::new(spec)));
    }
    Ok(CheckedTemplate { compiled, variables })
}

/// Describes the first name of a path below `inputs` that no type declares.
fn undeclared_input<'p>(inputs: &[Field], names: &mut impl Iterator<Item = &'p str>) -> Option<String> {
    let name = names.next()?;
    let Some(field) = inputs.iter().find(|field| field.name == name) else {
        let hint = did_you_mean(name, inputs.iter().map(|field| field.name.as_str())).unwrap_or_default();
        return Some(format!("the input `{name}`, which is not declared{hint}"));
    };
    let path: Vec<Segment> = names.map(|name| Segment::Name(name.to_owned())).collect();
    let UndeclaredProperty { object, name: property, hint } = field.value_type.find_undeclared(&path)?;
    Some(format!("the property `{property}` of `{name}{object}`, which is not declared{hint}"))
}

/// Describes a name below `agent` that is no constant.
fn unknown_constant<'p>(names: &mut impl Iterator<Item = &'p str>) -> Option<String> {
    let name = names.next().filter(|name| !CONSTANTS.contains(name))?;
    let hint = did_you_mean(name, CONSTANTS.iter().copied()).unwrap_or_default();
    Some(format!("`agent.{name}`, which does not exist{hint}; an agent has {}", CONSTANTS.join(", ")))
}

fn line_of(text: &str, path: &str) -> usize {
    text.lines().position(|line| line.contains(path)).map_or(0, |at| at + 1)
}

/// Renders into a writer with a bounded buffer.
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
    /// Bytes beyond the bound are counted, up to a second bound, and dropped.
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
