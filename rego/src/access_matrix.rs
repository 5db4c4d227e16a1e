//! The access matrix: action × category × role, as the active policy decides it.
//!
//! Each mark is a decision on a request in which every fact but the role and the category supports an
//! allow: so a ✔ is what a role can do at best, and a ✘ is what it can never do.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use greenroom_protocol::{AgentId, CategoryId, TenantId, UserId};
use serde::Serialize;

use crate::access_request::input::{
    Action, AgentInput, FactFlags, Flag, Input, InputIdentity, PermissionsInput, UsageInput, UserInput,
};
use crate::engine::Engine;
use crate::guard::Evaluator;
use crate::identity::{NameSet, Principal};
use crate::instance::EvaluationError;

/// A subject whose rights the matrix shows: a role by itself, or a user of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The heading of the column.
    pub name: String,
    /// The roles of the subject.
    pub roles: NameSet,
    /// The categories that the subject may use as an operator.
    pub categories: NameSet,
}

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessMatrixRow {
    /// The action.
    pub action: Action,
    /// The category of the agent; none if the decision does not depend on it.
    pub category: Option<CategoryId>,
    /// For each subject, true if policy allows the action.
    pub allowed: Vec<bool>,
}

/// The access matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessMatrix {
    /// The columns.
    pub subjects: Vec<String>,
    /// The rows: the actions in their order, and for each the categories in the order of the argument.
    pub rows: Vec<AccessMatrixRow>,
}

/// Decides every action, category and subject.
///
/// # Errors
/// [`EvaluationError`] if one of the evaluations fails.
pub async fn access_matrix(
    evaluator: &dyn Evaluator,
    subjects: &[Subject],
    categories: &[CategoryId],
) -> Result<AccessMatrix, EvaluationError> {
    let mut rows = Vec::new();
    for action in Action::ALL {
        let scopes: Vec<_> = if action.needs_agent() { categories.iter().map(Some).collect() } else { vec![None] };
        for category in scopes {
            let mut allowed = Vec::with_capacity(subjects.len());
            for subject in subjects {
                let input = baseline_input(action, category, subject)?;
                allowed.push(evaluator.decide(Arc::new(input)).await?.is_allowed());
            }
            rows.push(AccessMatrixRow { action, category: category.cloned(), allowed });
        }
    }
    Ok(AccessMatrix { subjects: subjects.iter().map(|subject| subject.name.clone()).collect(), rows })
}

/// Whether a policy allows an action that concerns no agent to a principal, if every fact supports an allow.
///
/// # Errors
/// [`EvaluationError`] if the evaluation fails.
pub async fn is_allowed_at_best(
    engine: &mut Engine,
    action: Action,
    principal: &Principal,
) -> Result<bool, EvaluationError> {
    let Principal { id, roles, permissions, .. } = principal;
    let categories = permissions.allowed_categories.clone();
    let subject = Subject { name: id.user.to_string(), roles: roles.clone(), categories };
    let mut input = baseline_input(action, None, &subject)?;
    input.user.id = id.user.clone();
    input.user.tenant = id.tenant.clone();
    input.user.permissions.pii_access = permissions.pii_access;
    Ok(engine.decide(&input).await?.is_allowed())
}

/// An input in which every fact but the subject's rights supports an allow.
fn baseline_input(action: Action, category: Option<&CategoryId>, subject: &Subject) -> Result<Input, EvaluationError> {
    let name = |error: greenroom_protocol::id::IdError| EvaluationError::Failed(error.to_string());
    let from_agent = matches!(action, Action::CallTool | Action::ContextWrite | Action::MemoryWrite);
    let agent = category
        .map(|category| {
            AgentId::new("an_agent").map(|id| AgentInput {
                id,
                category: category.clone(),
                capabilities: NameSet::default(),
            })
        })
        .transpose()
        .map_err(name)?;
    Ok(Input {
        action,
        agent,
        caller_policies: NameSet::default(),
        document_bytes: 1,
        hops: if from_agent { 2 } else { 1 },
        policies: NameSet::default(),
        facts: FactFlags {
            audited: Flag(true),
            authenticated: Flag(true),
            internal_model: Flag(true),
            cost_limited: Flag(true),
            own_tenant: Flag(true),
            without_run: Flag(true),
            workflow_step: Flag(false),
            team_workflow: Flag(false),
            team_member: Flag(from_agent),
            can_work_with: Flag(false),
            tool_declared: Flag(from_agent),
            provides_to_team: Flag(from_agent),
            own_memory: Flag(from_agent),
            no_personal_data: Flag(true),
            resumes: Flag(false),
            compensates: Flag(false),
            document_within_limit: Flag(true),
            internal_tool: Flag(true),
        },
        caller: Cow::Borrowed(if from_agent { "agent" } else { "user" }),
        resource: Some("a_resource".to_owned()),
        usage: UsageInput { requests: Some(1), queries: Some(1), unlimited: Flag(true), ..UsageInput::default() },
        user: UserInput {
            id: UserId::new("a_user").map_err(name)?,
            tenant: TenantId::default(),
            roles: subject.roles.clone(),
            permissions: PermissionsInput { allowed_categories: subject.categories.clone(), pii_access: false },
            rate_limit: 1,
            query_limit: Some(1),
        },
        identity: InputIdentity::new(),
    })
}

impl fmt::Display for AccessMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0) + 2;
        let actions = widest(&mut Action::ALL.iter().map(|action| action.as_str().len()));
        let category = |row: &AccessMatrixRow| row.category.as_ref().map_or("–", CategoryId::as_str).to_owned();
        let categories =
            widest(&mut self.rows.iter().map(|row| category(row).chars().count()).chain(["category".len()]));
        let columns: Vec<_> = self.subjects.iter().map(|name| name.chars().count() + 2).collect();
        let mut line = format!("{:<actions$}{:<categories$}", "action", "category");
        for (name, width) in self.subjects.iter().zip(&columns) {
            line.push_str(&format!("{name:<width$}"));
        }
        writeln!(f, "{}", line.trim_end())?;
        for row in &self.rows {
            let mut line = format!("{:<actions$}{:<categories$}", row.action.as_str(), category(row));
            for (allowed, width) in row.allowed.iter().zip(&columns) {
                line.push_str(&format!("{:<width$}", if *allowed { "✔" } else { "✘" }));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
