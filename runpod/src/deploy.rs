//! Deployment: descriptions of endpoints in files become endpoints of RunPod, by version 2 of its API. A plan is made first;
//! applying it is a step of its own, so that `--dry-run` shows exactly what would happen.
//!
//! No output has a secret: values of environments are shown only if they are references to secrets.

mod api;
mod body;
mod client_config;
mod client_requirements;
mod deployment;
mod description;
mod difference;
mod plan;
mod price;
mod status;
mod validate;

pub use api::{API_URL, RunPodApi};
pub use body::{
    CpuChoice, EndpointBody, EndpointType, FlashBoot, GpuChoice, Scaling, TemplateBody, Workers, is_secret_reference,
};
pub use client_config::REQUESTS_PER_WORKER;
pub use deployment::{DeployOptions, Description, Mapping, Requirement};
pub use description::read_description;
pub use plan::{Action, Plan, PlannedEndpoint, apply_plan, make_plan};
pub use price::{EndpointPrice, add_prices};
pub use status::{EndpointStatus, read_status};
pub use validate::{looks_like_secret, validate_endpoint, validate_template};
