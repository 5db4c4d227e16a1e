//! The question that policy answers: a request of a known user, and the host's facts about it,
//! flattened into the one small document that Rego sees.
//!
//! The document holds no input, no prompt and no secret: sizes and flags stand for them.

use std::sync::Arc;

use greenroom_protocol::{MicroUsd, Request, RunId};

use crate::facts::{Facts, Resource};
use crate::identity::authenticated::Authenticated;
use crate::identity::{AuthMethod, Caller, Limits};

pub mod input;
pub mod pruned_input;
pub mod read_set;

pub use input::{Action, Input};

use input::{AgentInput, FactFlags, Flag, InputIdentity, NO_LIMIT, PermissionsInput, UsageInput, UserInput};

/// A request that waits for its answer. Who and what come from [`Authenticated`]; the host adds only
/// facts.
#[must_use]
pub struct AccessRequest {
    pub(crate) request: Authenticated,
    pub(crate) resource: Resource,
    pub(crate) policies: crate::identity::NameSet,
    pub(crate) callee: Option<Caller>,
    pub(crate) resource_matches: bool,
    pub(crate) input: Arc<Input>,
}

impl AccessRequest {
    /// Puts the two together. Facts about another kind of target than the one that is asked for make
    /// a question that the guard refuses.
    pub fn new(request: Authenticated, facts: Facts) -> Self {
        let input = Arc::new(build_input(&request, &facts));
        let callee = callee_of(&request, &facts.resource);
        let resource_matches = resource_matches(request.request(), &facts.resource);
        Self { request, resource: facts.resource, policies: facts.policies, callee, resource_matches, input }
    }

    /// The document that Rego sees.
    #[must_use]
    pub const fn input(&self) -> &Arc<Input> {
        &self.input
    }

    /// Who asks what.
    pub const fn request(&self) -> &Authenticated {
        &self.request
    }

    /// What it is about.
    #[must_use]
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }
}

fn build_input(asked: &Authenticated, facts: &Facts) -> Input {
    let principal = asked.principal();
    let relation = &facts.relation;
    let capped = facts.cost_limited || has_cost_limit(asked.request());
    let internal_model = facts.agent.as_ref().is_some_and(|agent| agent.internal_model);
    Input {
        action: Action::from_request(asked.request()),
        agent: facts.agent.as_ref().map(|agent| AgentInput {
            id: agent.agent.clone(),
            category: agent.category.clone(),
            capabilities: agent.capabilities.clone(),
        }),
        caller_policies: facts.caller_policies.clone(),
        document_bytes: facts.document_bytes,
        hops: u32::try_from(asked.chain().len()).unwrap_or(u32::MAX),
        policies: facts.policies.clone(),
        facts: FactFlags {
            audited: Flag(facts.audited),
            authenticated: Flag(asked.auth_method() != AuthMethod::None),
            internal_model: Flag(internal_model),
            cost_limited: Flag(capped),
            own_tenant: Flag(relation.own_tenant),
            workflow_step: Flag(relation.workflow_step),
            team_workflow: Flag(relation.team_workflow),
            team_member: Flag(relation.team_member),
            can_work_with: Flag(relation.can_work_with),
            tool_declared: Flag(relation.tool_declared),
            provides_to_team: Flag(relation.provides_to_team),
            own_memory: Flag(relation.own_memory),
        },
        caller: asked.caller().kind().into(),
        resource: match &facts.resource {
            Resource::Agent { .. } => None,
            other => Some(other.name().to_owned()),
        },
        usage: usage(&principal.limits, &principal.tenant_limits, facts),
        user: UserInput {
            id: principal.user.clone(),
            tenant: principal.tenant.clone(),
            roles: principal.roles.clone(),
            permissions: PermissionsInput {
                allowed_categories: principal.permissions.allowed_categories.clone(),
                pii_access: principal.permissions.pii_access,
            },
            rate_limit: principal.rate_limit,
        },
        identity: InputIdentity::new(),
    }
}

/// What is left to the user or to the tenant, whichever is less; nothing if the ledger is silent.
fn usage(user: &Limits, tenant: &Limits, facts: &Facts) -> UsageInput {
    let spent = &facts.usage;
    if !spent.available {
        return UsageInput::default();
    }
    let left = |limit: Option<u64>, spent: u64| limit.map(|limit| limit.saturating_sub(spent));
    let less = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => i64::try_from(one.min(other)).unwrap_or(i64::MAX),
        (Some(one), None) | (None, Some(one)) => i64::try_from(one).unwrap_or(i64::MAX),
        (None, None) => NO_LIMIT,
    };
    let usd = |limits: &Limits, spent: MicroUsd| left(limits.usd.map(|usd| usd.0), spent.0);
    let tokens = less(left(user.tokens, spent.user.tokens), left(tenant.tokens, spent.tenant.tokens));
    let money = less(usd(user, spent.user.usd), usd(tenant, spent.tenant.usd));
    let limited = tokens != NO_LIMIT || money != NO_LIMIT;
    UsageInput {
        requests: Some(spent.requests),
        unlimited: Flag(!limited),
        tokens_left: limited.then_some(tokens),
        usd_left: limited.then_some(money),
    }
}

fn has_cost_limit(request: &Request) -> bool {
    match request {
        Request::Invoke(invoke) => invoke.options.cost_max.is_some(),
        Request::StartRun(start) => start.options.cost_max.is_some(),
        Request::StartTeam(start) => start.options.cost_max.is_some(),
        Request::SignalRun(_)
        | Request::ResumeRun(_)
        | Request::ContextRead(_)
        | Request::ContextWrite(_)
        | Request::MemoryRead(_)
        | Request::MemoryWrite(_)
        | Request::CallTool(_)
        | Request::Query(_) => false,
    }
}

/// Whom a permit for this would call on stage, to speak from there.
fn callee_of(asked: &Authenticated, target: &Resource) -> Option<Caller> {
    match (asked.request(), target) {
        (Request::Invoke(_), Resource::Agent { agent, version }) => {
            Some(Caller::Agent { agent: agent.clone(), version: *version })
        }
        (Request::StartRun(_), Resource::Workflow { workflow, version }) => Some(Caller::Workflow {
            run: RunId::for_request(asked.id()),
            workflow: workflow.clone(),
            version: *version,
            team: asked.team().cloned(),
        }),
        (Request::StartTeam(_), Resource::Team { team, version }) => {
            Some(Caller::Team { team: team.clone(), run: RunId::for_request(asked.id()), version: *version })
        }
        (Request::ResumeRun(_), Resource::Run { run, workflow, version, team }) => Some(Caller::Workflow {
            run: run.clone(),
            workflow: workflow.clone(),
            version: *version,
            team: team.clone(),
        }),
        _ => None,
    }
}

/// True if the facts are about the kind of thing that is asked for.
const fn resource_matches(request: &Request, target: &Resource) -> bool {
    match request {
        Request::Invoke(_) => matches!(target, Resource::Agent { .. }),
        Request::StartRun(_) => matches!(target, Resource::Workflow { .. }),
        Request::StartTeam(_) => matches!(target, Resource::Team { .. }),
        Request::SignalRun(_) | Request::ResumeRun(_) => matches!(target, Resource::Run { .. }),
        Request::ContextRead(_) | Request::ContextWrite(_) => matches!(target, Resource::Context { .. }),
        Request::MemoryRead(_) | Request::MemoryWrite(_) => matches!(target, Resource::Memory { .. }),
        Request::CallTool(_) => matches!(target, Resource::Tool { .. }),
        Request::Query(_) => true,
    }
}
