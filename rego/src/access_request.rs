//! The question that policy answers: a request of a known user, and the host's facts about it,
//! flattened into the one small document that Rego sees.
//!
//! The document holds no input, no prompt and no secret: sizes and flags stand for them.

use std::sync::Arc;

use greenroom_protocol::{MicroUsd, Request, RunId};

use crate::facts::{Facts, Target};
use crate::identity::authenticated::Authenticated;
use crate::identity::{Limits, Proof, Speaker};

pub mod input;
pub mod pruned_input;
pub mod read_set;

pub use input::{Action, Input};

use input::{AgentInput, Flag, NO_LIMIT, PermissionsInput, Proven, Seal, UsageInput, UserInput};

/// A request that waits for its answer. Who and what come from [`Authenticated`]; the host adds only
/// facts.
#[must_use]
pub struct Question {
    pub(crate) asked: Authenticated,
    pub(crate) target: Target,
    pub(crate) policies: crate::identity::Names,
    pub(crate) stage: Option<Speaker>,
    pub(crate) fits: bool,
    pub(crate) input: Arc<Input>,
}

impl Question {
    /// Puts the two together. Facts about another kind of target than the one that is asked for make
    /// a question that the guard refuses.
    pub fn new(asked: Authenticated, facts: Facts) -> Self {
        let input = Arc::new(flatten(&asked, &facts));
        let stage = called_on_stage(&asked, &facts.target);
        let fits = fits(asked.request(), &facts.target);
        Self { asked, target: facts.target, policies: facts.policies, stage, fits, input }
    }

    /// The document that Rego sees.
    #[must_use]
    pub const fn input(&self) -> &Arc<Input> {
        &self.input
    }

    /// Who asks what.
    pub const fn asked(&self) -> &Authenticated {
        &self.asked
    }

    /// What it is about.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }
}

fn flatten(asked: &Authenticated, facts: &Facts) -> Input {
    let principal = asked.principal();
    let relation = &facts.relation;
    let capped = facts.capped || own_limit(asked.request());
    let internal_model = facts.agent.as_ref().is_some_and(|agent| agent.internal_model);
    Input {
        action: Action::of(asked.request()),
        agent: facts.agent.as_ref().map(|agent| AgentInput {
            id: agent.agent.clone(),
            category: agent.category.clone(),
            capabilities: agent.capabilities.clone(),
        }),
        bound: facts.speaker_policies.clone(),
        bytes: facts.document_bytes,
        hops: u32::try_from(asked.chain().len()).unwrap_or(u32::MAX),
        policies: facts.policies.clone(),
        proven: Proven {
            audited: Flag(facts.audited),
            authenticated: Flag(asked.proof() != Proof::Nothing),
            internal_model: Flag(internal_model),
            capped: Flag(capped),
            own_tenant: Flag(relation.own_tenant),
            workflow_step: Flag(relation.workflow_step),
            team_workflow: Flag(relation.team_workflow),
            team_member: Flag(relation.team_member),
            can_work_with: Flag(relation.can_work_with),
            tool_declared: Flag(relation.tool_declared),
            provides_to_team: Flag(relation.provides_to_team),
            own_memory: Flag(relation.own_memory),
        },
        speaker: asked.speaker().kind().into(),
        target: match &facts.target {
            Target::Agent { .. } => None,
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
        seal: Seal::fresh(),
    }
}

/// What is left to the user or to the tenant, whichever is less; nothing if the ledger is silent.
fn usage(user: &Limits, tenant: &Limits, facts: &Facts) -> UsageInput {
    let spent = &facts.usage;
    if !spent.fresh {
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

fn own_limit(request: &Request) -> bool {
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
        | Request::Look(_) => false,
    }
}

/// Whom a permit for this would call on stage, to speak from there.
fn called_on_stage(asked: &Authenticated, target: &Target) -> Option<Speaker> {
    match (asked.request(), target) {
        (Request::Invoke(_), Target::Agent { agent, version }) => {
            Some(Speaker::Agent { agent: agent.clone(), version: *version })
        }
        (Request::StartRun(_), Target::Workflow { workflow, version }) => Some(Speaker::Workflow {
            run: RunId::of(asked.id()),
            workflow: workflow.clone(),
            version: *version,
            team: asked.team().cloned(),
        }),
        (Request::StartTeam(_), Target::Team { team, version }) => {
            Some(Speaker::Team { team: team.clone(), run: RunId::of(asked.id()), version: *version })
        }
        (Request::ResumeRun(_), Target::Run { run, workflow, version, team }) => Some(Speaker::Workflow {
            run: run.clone(),
            workflow: workflow.clone(),
            version: *version,
            team: team.clone(),
        }),
        _ => None,
    }
}

/// True if the facts are about the kind of thing that is asked for.
const fn fits(request: &Request, target: &Target) -> bool {
    match request {
        Request::Invoke(_) => matches!(target, Target::Agent { .. }),
        Request::StartRun(_) => matches!(target, Target::Workflow { .. }),
        Request::StartTeam(_) => matches!(target, Target::Team { .. }),
        Request::SignalRun(_) | Request::ResumeRun(_) => matches!(target, Target::Run { .. }),
        Request::ContextRead(_) | Request::ContextWrite(_) => matches!(target, Target::Context { .. }),
        Request::MemoryRead(_) | Request::MemoryWrite(_) => matches!(target, Target::Memory { .. }),
        Request::CallTool(_) => matches!(target, Target::Tool { .. }),
        Request::Look(_) => true,
    }
}
