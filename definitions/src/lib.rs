//! What an agent, a team and a workflow is: the files as written, the checks on them, and the
//! compiled forms that the rest of the platform works with.
//!
//! One file is followed from its text to the catalogue: [`yaml`] reads bounded text into a tree with
//! places, `read` turns trees into the structs of [`agent`], [`workflow`], [`team`], [`category`] and
//! [`models`], `check` compares them with each other and with the [`vocabulary`], [`plan`] compiles a
//! workflow, and [`catalogue`] holds it all, immutable and indexed by content hash. [`binding`] gives
//! a step its inputs, [`prompt`] renders what a model is asked.
//!
//! Nothing here knows an actor, a database, the network, the clock or a policy's text.

pub mod agent;
pub mod binding;
pub mod bounds;
mod canonical;
pub mod catalogue;
pub mod category;
mod check;
pub mod condition;
mod decode;
mod definition_set;
pub mod embedded;
pub mod expr;
pub mod known_names;
pub mod loader;
pub mod models;
pub mod plan;
pub mod problem;
pub mod prompt;
pub mod schema;
pub mod scope;
mod spec;
pub mod team;
pub mod types;
pub mod workflow;
pub mod yaml;

pub use agent::{Agent, AgentSpec};
pub use catalogue::Catalogue;
pub use category::Category;
pub use known_names::KnownNames;
pub use loader::{LoadOutcome, Source, check_file, load};
pub use models::{ModelRef, Models};
pub use plan::{Plan, PlanStep, StepTarget};
pub use problem::{Problem, Report};
pub use prompt::Prompt;
pub use scope::Scope;
pub use team::{Team, TeamSpec};
pub use types::{Field, FieldType};
pub use workflow::{Workflow, WorkflowSpec};
