//! The resource of a request, as logs and the audit name it.

use super::{Query, Request};

impl Request {
    /// The resource of the request, for logs and audit: an id, never an input.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::Invoke(invoke) => invoke.agent.to_string(),
            Self::StartRun(start) => start.workflow.to_string(),
            Self::StartTeam(start) => start.team.to_string(),
            Self::SignalRun(signal) => signal.run.to_string(),
            Self::ResumeRun(resume) => resume.run.to_string(),
            Self::ContextRead(read) => read.run.to_string(),
            Self::ContextWrite(write) => write.key.to_string(),
            Self::MemoryRead(read) => read.agent.to_string(),
            Self::MemoryWrite(write) => write.agent.to_string(),
            Self::CallTool(call) => call.tool.clone(),
            Self::Query(query) => query.resource(),
            Self::Maintain(maintenance) => maintenance.resource().to_owned(),
        }
    }
}

impl Query {
    /// The resource of the query: an id, or the name of a collection.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::Agents => "agents".into(),
            Self::Agent { id } => id.to_string(),
            Self::Workflows => "workflows".into(),
            Self::Workflow { id } => id.to_string(),
            Self::Teams => "teams".into(),
            Self::Team { id } => id.to_string(),
            Self::Runs { .. } => "runs".into(),
            Self::Run { run } | Self::Events { run, .. } => run.to_string(),
            Self::Audit { .. } => "audit".into(),
            Self::AuditEntry { id } => id.clone(),
            Self::Artifact { hash, .. } => hash.to_string(),
            Self::Costs { .. } => "costs".into(),
        }
    }
}
