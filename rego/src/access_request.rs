//! The access request that policy decides: an authenticated request and the host's facts about it,
//! flattened into the one small document that Rego reads.
//!
//! The document contains no input, no prompt and no secret, only their sizes and flags.

use std::sync::Arc;

use greenroom_protocol::{MicroUsd, Request, RunId, TenantId};

use crate::facts::{Facts, Resource};
use crate::identity::authenticated::{Authenticated, Inherited, SpendingBound};
use crate::identity::{AuthMethod, Caller, Limits};

pub(crate) mod declared_reads;
pub(crate) mod derived_reads;
pub mod input;
pub mod input_path;
mod policy_parameters;
pub mod pruned_input;
pub mod read_set;

pub use input::{Action, Input};

use input::{AgentInput, FactFlags, Flag, InputIdentity, NO_LIMIT, PermissionsInput, UsageInput, UserInput};

/// A request that the guard has not decided yet. Caller, principal and action come from
/// [`Authenticated`]; the host adds only facts.
#[must_use]
pub struct AccessRequest {
    pub(crate) request: Authenticated,
    pub(crate) resource: Resource,
    pub(crate) inherited: Inherited,
    pub(crate) callee: Option<Caller>,
    pub(crate) resource_matches: bool,
    pub(crate) input: Arc<Input>,
}

impl AccessRequest {
    /// Combines a request with its facts. If the facts describe another kind of resource than the
    /// request names, the guard rejects the access request.
    pub fn new(request: Authenticated, facts: Facts) -> Self {
        let inherited = Inherited {
            policies: facts.policies.union(request.caller_policies()),
            run_tenant: run_tenant(&request, &facts.resource),
            root: root_run(&request, &facts.resource),
            is_compensation: is_compensation(&request, &facts),
            spending: request.spending().clone(),
        };
        let input = Arc::new(build_input(&request, &facts, &inherited));
        let callee = callee_of(&request, &facts.resource);
        let resource_matches = resource_matches(request.request(), &facts.resource);
        Self { request, resource: facts.resource, inherited, callee, resource_matches, input }
    }

    /// The policy input.
    #[must_use]
    pub const fn input(&self) -> &Arc<Input> {
        &self.input
    }

    /// The authenticated request.
    pub const fn request(&self) -> &Authenticated {
        &self.request
    }

    /// The resource of the request.
    #[must_use]
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }
}

fn build_input(request: &Authenticated, facts: &Facts, inherited: &Inherited) -> Input {
    let principal = request.principal();
    let relation = &facts.relation;
    let is_bounded = |bound: &SpendingBound| bound.limits.cost_max.is_some();
    let cost_limited =
        facts.cost_limited || has_cost_limit(request.request()) || request.spending().iter().any(is_bounded);
    let internal_model = facts.agent.as_ref().is_some_and(|agent| agent.internal_model);
    let usage = build_usage(&principal.limits, &principal.tenant_limits, facts);
    // Without limits nothing can be used up, so the fact would only make the input longer.
    let compensates = inherited.is_compensation && !usage.unlimited.0;
    Input {
        action: Action::from_request(request.request()),
        agent: facts.agent.as_ref().map(|agent| AgentInput {
            id: agent.agent.clone(),
            category: agent.category.clone(),
            capabilities: agent.capabilities.clone(),
        }),
        caller_policies: policy_parameters::names(request.caller_policies()),
        document_bytes: facts.document_bytes,
        hops: u32::try_from(request.chain().len()).unwrap_or(u32::MAX),
        policies: policy_parameters::names(&inherited.policies),
        facts: FactFlags {
            audited: Flag(facts.audited),
            authenticated: Flag(request.auth_method() != AuthMethod::None),
            internal_model: Flag(internal_model),
            cost_limited: Flag(cost_limited),
            own_tenant: Flag(relation.own_tenant),
            without_run: Flag(relation.without_run),
            workflow_step: Flag(relation.workflow_step),
            team_workflow: Flag(relation.team_workflow),
            team_member: Flag(relation.team_member),
            can_work_with: Flag(relation.can_work_with),
            tool_declared: Flag(relation.tool_declared),
            provides_to_team: Flag(relation.provides_to_team),
            own_memory: Flag(relation.own_memory),
            no_personal_data: Flag(relation.no_personal_data),
            resumes: Flag(facts.resumes || request.is_recovery()),
            compensates: Flag(compensates),
            document_within_limit: Flag(policy_parameters::is_document_within_limit(
                &inherited.policies,
                facts.document_bytes,
            )),
            internal_tool: Flag(facts.internal_tool),
        },
        caller: request.caller().kind().into(),
        resource: match &facts.resource {
            Resource::Agent { .. } => None,
            other => Some(other.name().to_owned()),
        },
        usage,
        user: UserInput {
            id: principal.id.user.clone(),
            tenant: principal.id.tenant.clone(),
            roles: principal.roles.clone(),
            permissions: PermissionsInput {
                allowed_categories: principal.permissions.allowed_categories.clone(),
                pii_access: principal.permissions.pii_access,
            },
            rate_limit: principal.rate_limit,
            query_limit: Some(principal.query_limit),
        },
        identity: InputIdentity::new(),
    }
}

/// What the user and the tenant may still use, the smaller of both; empty if the ledger is
/// unavailable.
fn build_usage(user: &Limits, tenant: &Limits, facts: &Facts) -> UsageInput {
    let spent = &facts.usage;
    if !spent.available {
        return UsageInput::default();
    }
    let remaining = |limit: Option<u64>, spent: u64| limit.map(|limit| limit.saturating_sub(spent));
    let smaller = |user: Option<u64>, tenant: Option<u64>| match (user, tenant) {
        (Some(user), Some(tenant)) => i128::from(user.min(tenant)),
        (Some(amount), None) | (None, Some(amount)) => i128::from(amount),
        (None, None) => NO_LIMIT,
    };
    let usd = |limits: &Limits, spent: MicroUsd| remaining(limits.usd.map(|usd| usd.0), spent.0);
    let tokens = smaller(remaining(user.tokens, spent.user.tokens), remaining(tenant.tokens, spent.tenant.tokens));
    let money = smaller(usd(user, spent.user.usd), usd(tenant, spent.tenant.usd));
    let limited = tokens != NO_LIMIT || money != NO_LIMIT;
    UsageInput {
        requests: Some(spent.requests),
        queries: Some(spent.queries),
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
        | Request::Query(_)
        | Request::Maintain(_) => false,
    }
}

/// The callee of the request: who acts next, and issues nested requests, if the guard permits it.
fn callee_of(request: &Authenticated, resource: &Resource) -> Option<Caller> {
    match (request.request(), resource) {
        (Request::Invoke(_), Resource::Agent { agent, version }) => {
            Some(Caller::Agent { agent: agent.clone(), version: *version })
        }
        (Request::StartRun(_), Resource::Workflow { workflow, version }) => Some(Caller::Workflow {
            run: RunId::for_request(request.id()),
            workflow: workflow.clone(),
            version: *version,
            team: request.team().cloned(),
        }),
        (Request::StartTeam(_), Resource::Team { team, version }) => {
            Some(Caller::Team { team: team.clone(), run: RunId::for_request(request.id()), version: *version })
        }
        (Request::ResumeRun(_), Resource::Run { run, workflow, version, team, .. }) => Some(Caller::Workflow {
            run: run.clone(),
            workflow: workflow.clone(),
            version: *version,
            team: team.clone(),
        }),
        _ => None,
    }
}

/// The tenant of the innermost run of the nested requests: of the run that the request starts or resumes,
/// else of the innermost one of the call chain.
fn run_tenant(request: &Authenticated, resource: &Resource) -> Option<TenantId> {
    match (request.request(), resource) {
        (Request::StartRun(_) | Request::StartTeam(_), _) => Some(request.principal().id.tenant.clone()),
        (Request::ResumeRun(_), Resource::Run { tenant, .. }) => Some(tenant.clone()),
        _ => request.run_tenant().cloned(),
    }
}

/// The root of the tree of the nested requests: that of the run that the request starts or resumes, else that of the
/// call chain.
fn root_run(request: &Authenticated, resource: &Resource) -> Option<RunId> {
    match (request.request(), resource) {
        (Request::StartRun(_) | Request::StartTeam(_), _) => {
            Some(request.root().cloned().unwrap_or_else(|| RunId::for_request(request.id())))
        }
        (Request::ResumeRun(_), Resource::Run { root, .. }) => Some(root.clone()),
        _ => request.root().cloned(),
    }
}

/// True for the compensation of a step, and for everything that it calls. A run that it starts is work of its own.
const fn is_compensation(request: &Authenticated, facts: &Facts) -> bool {
    match request.request() {
        Request::StartRun(_) | Request::StartTeam(_) | Request::ResumeRun(_) => false,
        Request::Invoke(_)
        | Request::SignalRun(_)
        | Request::ContextRead(_)
        | Request::ContextWrite(_)
        | Request::MemoryRead(_)
        | Request::MemoryWrite(_)
        | Request::CallTool(_)
        | Request::Query(_)
        | Request::Maintain(_) => facts.compensates || request.inherited.is_compensation,
    }
}

/// True if the facts describe the kind of resource that the request names.
const fn resource_matches(request: &Request, resource: &Resource) -> bool {
    match request {
        Request::Invoke(_) => matches!(resource, Resource::Agent { .. }),
        Request::StartRun(_) => matches!(resource, Resource::Workflow { .. }),
        Request::StartTeam(_) => matches!(resource, Resource::Team { .. }),
        Request::SignalRun(_) | Request::ResumeRun(_) => matches!(resource, Resource::Run { .. }),
        Request::ContextRead(_) | Request::ContextWrite(_) => matches!(resource, Resource::Context { .. }),
        Request::MemoryRead(_) | Request::MemoryWrite(_) => matches!(resource, Resource::Memory { .. }),
        Request::CallTool(_) => matches!(resource, Resource::Tool { .. }),
        Request::Query(_) => true,
        Request::Maintain(_) => matches!(resource, Resource::Collection { .. }),
    }
}
