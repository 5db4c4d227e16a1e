//! What a file describes: the bodies that are deployed, what has become of each key of the customer's file, and what it lacks.

use super::body::{EndpointBody, TemplateBody};

/// What a file leaves to the command.
#[derive(Debug, Clone)]
pub struct DeployOptions {
    /// The image of endpoints that name none.
    pub image: String,
    /// The credentials of its registry.
    pub registry: Option<String>,
}

/// What is deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The templates.
    pub templates: Vec<TemplateBody>,
    /// The endpoints.
    pub endpoints: Vec<EndpointBody>,
    /// What has become of each key of the customer's file; empty for another one.
    pub mappings: Vec<Mapping>,
    /// What the customer's file does not name and its workers need; empty for another one.
    pub requirements: Vec<Requirement>,
}

/// A variable that was added to the environment of the pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub variable: String,
    /// The reference to the secret of RunPod with its value, which has to be created.
    pub value: String,
    /// Why it is needed.
    pub reason: String,
}

/// What has become of one key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The key, with dots.
    pub key: String,
    /// The member that it becomes; `None` if it has no counterpart.
    pub target: Option<String>,
    /// The value of the member, or the reason.
    pub note: String,
}
