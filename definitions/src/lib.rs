//! Definitions of agents, teams and workflows: their files, the checks on them, and the compiled
//! forms that the other crates use.
//!
//! From a file to the catalogue: [`yaml`] parses bounded text into a tree with positions, `decode`
//! turns trees into the structs of `spec`, [`category`], [`capability`] and [`models`], [`agent`] and
//! [`workflow`] compile them ([`prompt`], [`plan`]), `check` compares a whole set of definitions with itself and
//! with the [`known_names`], and [`catalogue`] indexes the result, immutable and with content hashes. An invalid
//! file is [`quarantine`]d with what needs it; the others are in service. The shipped definitions are [`compiled`] into
//! the binary, and decoded when they are first used.
//! At run time, [`binding`] binds the inputs of a step and [`prompt`] renders the prompt of a model.
//!
//! This crate knows no actor, database, network, clock or policy text.

pub mod agent;
pub mod binding;
pub mod bounds;
mod canonical;
pub mod capability;
pub mod catalogue;
pub mod category;
mod check;
pub mod compiled;
pub mod condition;
mod decode;
mod definition_set;
pub mod embedded;
pub mod expectation;
pub mod expr;
pub mod graph;
pub mod index_page;
pub mod inline_team;
pub mod kind;
pub mod known_names;
pub mod loader;
pub mod models;
pub mod named_values;
pub mod needs;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod prompt;
pub mod python_handler;
pub mod quarantine;
pub mod report;
pub mod samples;
pub mod schema;
pub mod scope;
pub mod similarity;
pub mod snippet;
mod spec;
pub mod statistics;
pub mod team;
pub mod types;
pub mod workflow;
pub mod yaml;

pub use agent::{Agent, AgentSpec};
pub use capability::Capability;
pub use catalogue::{AgentSummary, Catalogue, StoredDefinition, WorkflowSummary};
pub use category::Category;
pub use inline_team::parse_inline_team;
pub use kind::DefinitionKind;
pub use known_names::KnownNames;
pub use loader::{FileSet, LoadOutcome, Source, check_file, compile, load, load_after_restart, load_over};
pub use models::{ModelRef, Models};
pub use plan::{Plan, PlanStep, StepTarget};
pub use problem::Problem;
pub use prompt::Prompt;
pub use python_handler::PythonHandler;
pub use quarantine::Quarantined;
pub use report::Report;
pub use scope::Scope;
pub use team::{Team, TeamSpec};
pub use types::{Field, FieldType};
pub use workflow::{Workflow, WorkflowSpec};
