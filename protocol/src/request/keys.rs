//! API keys: what a user requests of them. A key acts for its owner, a user of the configuration, with at most the rights
//! of that user; its secret is in the reply to its creation only, and nowhere else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::id::{AgentId, CategoryId, UserId, WorkflowId};
use crate::limits::NAME_BYTES_MAX;
use crate::time::Timestamp;

/// Names in one list of a scope.
pub const SCOPE_NAMES_MAX: usize = 256;

/// What a key allows of the rights of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeyScope {
    /// The roles; without them, those of the owner. An owner with the role `admin` may give any role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The categories whose agents the key may call; without them, those of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_categories: Option<Vec<CategoryId>>,
    /// True if the key may process personal data, as its owner may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pii_access: bool,
    /// The agents that requests with the key may name. If both lists are empty, they may name any agent and workflow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// The workflows that requests with the key may name, by themselves or with a team.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<WorkflowId>,
}

/// A key that is to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// The user for whom it acts.
    pub owner: UserId,
    /// What it is for, in words; for people only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it allows.
    #[serde(default)]
    pub scope: KeyScope,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl NewKey {
    /// Checks the lengths of the lists.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if a list or a name is too long.
    pub fn check_size(&self) -> Result<(), Cause> {
        let KeyScope { roles, allowed_categories, agents, workflows, .. } = &self.scope;
        let roles = roles.as_deref().unwrap_or_default();
        let categories = allowed_categories.as_ref().map_or(0, Vec::len);
        let longest = roles.len().max(categories).max(agents.len()).max(workflows.len());
        if longest > SCOPE_NAMES_MAX || roles.iter().any(|role| role.len() > NAME_BYTES_MAX) {
            let message = format!(
                "a list of the scope of a key has at most {SCOPE_NAMES_MAX} names of at most {NAME_BYTES_MAX} bytes"
            );
            return Err(Cause::new(ErrorCode::InvalidRequest, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::{Maintenance, Request};

    fn request(scope: &serde_json::Value) -> Request {
        Request::from_json(json!({
            "verb": "maintain", "command": "create_key", "owner": "alice", "name": "nightly", "scope": scope,
            "expires_at": "2027-01-01T00:00:00Z",
        }))
        .unwrap_or_else(|cause| panic!("{cause}"))
    }

    #[test]
    fn a_scope_that_names_nothing_is_that_of_the_owner_without_personal_data() {
        let Request::Maintain(Maintenance::CreateKey(key)) = request(&json!({})) else { panic!("a key") };
        assert_eq!((key.owner.as_str(), &key.scope), ("alice", &KeyScope::default()));
    }

    #[test]
    fn the_lists_of_a_scope_are_bounded() {
        assert_eq!(request(&json!({ "agents": vec!["a"; SCOPE_NAMES_MAX] })).check_outside(), Ok(()));
        for scope in [
            json!({ "agents": vec!["a"; SCOPE_NAMES_MAX + 1] }),
            json!({ "roles": vec!["a"; SCOPE_NAMES_MAX + 1] }),
            json!({ "roles": ["r".repeat(NAME_BYTES_MAX + 1)] }),
        ] {
            let code = request(&scope).check_outside().map_err(|cause| cause.code);
            assert_eq!(code, Err(ErrorCode::InvalidRequest));
        }
    }

    #[test]
    fn a_creation_is_not_repeatable_because_no_store_may_have_its_reply() {
        let code = request(&json!({})).check_repeatable().map_err(|cause| cause.code);
        assert_eq!(code, Err(ErrorCode::InvalidRequest));
    }
}
