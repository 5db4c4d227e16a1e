//! What the requests of a key may name: the scope of an API key beyond roles and permissions. It bounds what the holder
//! requests itself; what an agent or a workflow calls then is decided by policy alone, as for any other user.

use std::collections::BTreeSet;

use greenroom_protocol::request::MemoryRead;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Request, WorkflowId};
use serde_json::json;

/// The reason of a denial, as policies have reasons.
const REASON: &str = "key_scope";

/// The agents and workflows that the requests of a user may name. An agent is named with or without its trailing number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryPoints {
    agents: BTreeSet<String>,
    workflows: BTreeSet<String>,
}

impl EntryPoints {
    /// The entry points of a scope; `None` for one that names neither, which allows any.
    #[must_use]
    pub fn from_scope(agents: &[AgentId], workflows: &[WorkflowId]) -> Option<Self> {
        if agents.is_empty() && workflows.is_empty() {
            return None;
        }
        Some(Self {
            agents: agents.iter().map(|agent| without_ordinal(agent.as_str()).to_owned()).collect(),
            workflows: workflows.iter().map(ToString::to_string).collect(),
        })
    }

    /// Checks what a request names. Runs that exist, and what is only read, are decided by roles.
    ///
    /// # Errors
    /// [`ErrorCode::PolicyDenied`] for an agent or a workflow that is not among them.
    pub fn check(&self, request: &Request) -> Result<(), Cause> {
        match request {
            Request::Invoke(invoke) => self.check_agent(&invoke.agent),
            Request::MemoryRead(MemoryRead { agent, .. }) => self.check_agent(agent),
            Request::MemoryWrite(write) => self.check_agent(&write.agent),
            Request::StartRun(start) => self.check_workflow(&start.workflow),
            Request::StartTeam(start) => self.check_workflow(&start.workflow),
            // A key with a scope does not give others.
            Request::Maintain(maintenance) => Err(denied("maintenance", maintenance.verb())),
            Request::CallTool(call) => Err(denied("tool", &call.tool)),
            Request::SignalRun(_)
            | Request::ResumeRun(_)
            | Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::Query(_) => Ok(()),
        }
    }

    fn check_agent(&self, agent: &AgentId) -> Result<(), Cause> {
        let is_named = self.agents.contains(without_ordinal(agent.as_str()));
        if is_named { Ok(()) } else { Err(denied("agent", agent.as_str())) }
    }

    fn check_workflow(&self, workflow: &WorkflowId) -> Result<(), Cause> {
        let is_named = self.workflows.contains(workflow.as_str());
        if is_named { Ok(()) } else { Err(denied("workflow", workflow.as_str())) }
    }
}

/// `executive_summary_agent` of `executive_summary_agent_001`.
fn without_ordinal(agent: &str) -> &str {
    match agent.rsplit_once('_') {
        Some((name, ordinal)) if !name.is_empty() && is_number(ordinal) => name,
        Some(_) | None => agent,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn denied(kind: &str, name: &str) -> Cause {
    let message = format!("the scope of the key does not have the {kind} {name}");
    Cause::new(ErrorCode::PolicyDenied, message.clone())
        .with_details(json!({ "reasons": [{ "code": REASON, "message": message }] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(document: serde_json::Value) -> Request {
        Request::from_json(document).unwrap()
    }

    fn invoke(agent: &str) -> Request {
        request(json!({ "verb": "invoke", "agent": agent, "inputs": {} }))
    }

    fn start(workflow: &str) -> Request {
        request(json!({ "verb": "start_run", "workflow": workflow }))
    }

    #[test]
    fn a_scope_without_names_allows_any() {
        assert_eq!(EntryPoints::from_scope(&[], &[]), None);
    }

    #[test]
    fn only_what_the_scope_names_is_allowed_with_or_without_the_number_of_an_agent() {
        let agents = [AgentId::new("summary_agent_001").unwrap()];
        let entry_points = EntryPoints::from_scope(&agents, &[WorkflowId::new("report_2").unwrap()]).unwrap();
        for allowed in [invoke("summary_agent"), invoke("summary_agent_001"), start("report_2")] {
            assert_eq!(entry_points.check(&allowed), Ok(()), "{allowed:?}");
        }
        for other in [invoke("summary"), invoke("other_agent_001"), start("report"), start("summary_agent")] {
            let cause = entry_points.check(&other).unwrap_err();
            assert_eq!((cause.code, &cause.details["reasons"][0]["code"]), (ErrorCode::PolicyDenied, &json!(REASON)));
        }
        let list = request(json!({ "verb": "query", "query": "agents" }));
        assert_eq!(entry_points.check(&list), Ok(()));
        let keys = request(json!({ "verb": "maintain", "command": "list_keys" }));
        assert!(entry_points.check(&keys).is_err());
    }

    #[test]
    fn a_scope_with_agents_only_allows_no_workflow() {
        let entry_points = EntryPoints::from_scope(&[AgentId::new("a").unwrap()], &[]).unwrap();
        assert!(entry_points.check(&start("report")).is_err());
    }
}
