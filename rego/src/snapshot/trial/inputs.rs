//! The inputs of a trial: every action of every kind of caller with everything that may support an allow,
//! then inputs of which one thing is changed. They are the same at every run.

use std::borrow::Cow;

use greenroom_protocol::{AgentId, CategoryId, TenantId, UserId};

use super::vocabulary::Vocabulary;
use crate::access_request::input::{
    Action, AgentInput, FactFlags, Flag, Input, InputIdentity, PermissionsInput, UsageInput, UserInput,
};
use crate::identity::NameSet;

/// Maximum inputs of a trial.
const INPUTS_MAX: usize = 420;
/// The kinds of callers.
const CALLERS: [&str; 4] = ["user", "workflow", "agent", "team"];
/// A step through the actions that visits each of them before it repeats one.
const ACTION_STRIDE: usize = 5;

/// A change of an input.
type Change = Box<dyn Fn(&mut Input)>;

/// Every fact.
const FACTS: [fn(&mut FactFlags) -> &mut Flag; 18] = [
    |facts| &mut facts.audited,
    |facts| &mut facts.authenticated,
    |facts| &mut facts.internal_model,
    |facts| &mut facts.cost_limited,
    |facts| &mut facts.own_tenant,
    |facts| &mut facts.without_run,
    |facts| &mut facts.workflow_step,
    |facts| &mut facts.team_workflow,
    |facts| &mut facts.team_member,
    |facts| &mut facts.can_work_with,
    |facts| &mut facts.tool_declared,
    |facts| &mut facts.provides_to_team,
    |facts| &mut facts.own_memory,
    |facts| &mut facts.no_personal_data,
    |facts| &mut facts.resumes,
    |facts| &mut facts.compensates,
    |facts| &mut facts.document_within_limit,
    |facts| &mut facts.internal_tool,
];

/// Generates the inputs, at most [`INPUTS_MAX`].
pub(super) fn generate(vocabulary: &Vocabulary) -> Vec<Input> {
    let mut inputs: Vec<_> = Action::ALL
        .into_iter()
        .flat_map(|action| CALLERS.into_iter().filter_map(move |caller| baseline(action, caller, vocabulary)))
        .collect();
    let resumption = |action| without_quota(action, "user", |facts| &mut facts.resumes, vocabulary);
    let compensation = |action| without_quota(action, "workflow", |facts| &mut facts.compensates, vocabulary);
    inputs.extend(Action::ALL.into_iter().filter_map(resumption));
    inputs.extend(Action::ALL.into_iter().filter_map(compensation));
    let changes = changes(vocabulary);
    let actions = (0..).step_by(ACTION_STRIDE).map(|number| Action::ALL.get(number % Action::ALL.len()));
    // Each change of a call of an agent, and of one more action.
    let calls = changes.iter().filter_map(|change| changed(Action::Invoke, vocabulary, change));
    let others = changes.iter().zip(actions).filter_map(|(change, action)| changed(*action?, vocabulary, change));
    let pairs = calls.zip(others).flat_map(|(call, other)| [call, other]);
    inputs.extend(pairs.take(INPUTS_MAX.saturating_sub(inputs.len())));
    inputs
}

/// An input of a user that is changed.
fn changed(action: Action, vocabulary: &Vocabulary, change: &Change) -> Option<Input> {
    let mut input = baseline(action, "user", vocabulary)?;
    change(&mut input);
    Some(input)
}

/// An input of work that was permitted before, as this fact states, of a user who has nothing left.
fn without_quota(
    action: Action,
    caller: &'static str,
    fact: fn(&mut FactFlags) -> &mut Flag,
    vocabulary: &Vocabulary,
) -> Option<Input> {
    let mut input = baseline(action, caller, vocabulary)?;
    *fact(&mut input.facts) = Flag(true);
    (input.usage.unlimited, input.usage.tokens_left, input.usage.usd_left) = (Flag(false), Some(0), Some(0));
    Some(input)
}

/// An input with the roles, the permissions and the facts that support an allow of new work.
fn baseline(action: Action, caller: &'static str, vocabulary: &Vocabulary) -> Option<Input> {
    let names = |names: &[String]| names.iter().map(String::as_str).collect::<NameSet>();
    let category = CategoryId::new("business_ops").ok()?;
    let mut facts = FactFlags::default();
    FACTS.iter().for_each(|fact| *fact(&mut facts) = Flag(true));
    // These two lift the limits of the usage, on which the decision has to depend.
    (facts.resumes, facts.compensates) = (Flag(false), Flag(false));
    let agent = AgentInput {
        id: AgentId::new("an_agent").ok()?,
        category: category.clone(),
        capabilities: NameSet::from_iter(["text_generation"]),
    };
    Some(Input {
        action,
        agent: Some(agent),
        caller_policies: NameSet::default(),
        document_bytes: 100,
        hops: if caller == "user" { 1 } else { 2 },
        policies: NameSet::default(),
        facts,
        caller: Cow::Borrowed(caller),
        resource: (action != Action::Invoke).then(|| "a_resource".to_owned()),
        usage: UsageInput { requests: Some(1), queries: Some(1), unlimited: Flag(true), ..UsageInput::default() },
        user: UserInput {
            id: UserId::new("a_user").ok()?,
            tenant: TenantId::default(),
            roles: names(&vocabulary.roles),
            permissions: PermissionsInput {
                allowed_categories: [category.as_str(), "security_risk"].into_iter().collect(),
                pii_access: true,
            },
            rate_limit: 100,
            query_limit: Some(100),
        },
        identity: InputIdentity::new(),
    })
}

/// Every change, those of the named policies first.
fn changes(vocabulary: &Vocabulary) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for policy in &vocabulary.policies {
        changes.push(with_name(policy, |input, name| {
            input.policies = name.clone();
            input.caller_policies = name;
        }));
    }
    for fact in FACTS {
        changes.push(Box::new(move |input| *fact(&mut input.facts) = Flag(false)));
    }
    changes.push(Box::new(|input| input.facts = FactFlags::default()));
    changes.extend(user_changes(vocabulary));
    changes.extend(usage_changes());
    for number in vocabulary.numbers.iter().flat_map(|number| [*number, number.saturating_add(1)]) {
        changes.push(Box::new(move |input| input.document_bytes = number));
        changes.push(Box::new(move |input| {
            input.hops = u32::try_from(number).unwrap_or(u32::MAX);
            input.caller = Cow::Borrowed("agent");
        }));
        changes.push(Box::new(move |input| {
            (input.usage.requests, input.usage.queries) = (Some(number), Some(number));
        }));
        changes.push(Box::new(move |input| (input.user.rate_limit, input.user.query_limit) = (number, Some(number))));
    }
    changes.extend(vocabulary.texts.iter().flat_map(|text| text_changes(text)));
    changes
}

fn user_changes(vocabulary: &Vocabulary) -> Vec<Change> {
    let mut changes: Vec<Change> = vec![
        Box::new(|input| input.user.roles = NameSet::default()),
        Box::new(|input| input.user.permissions = PermissionsInput::default()),
        Box::new(|input| input.user.permissions.pii_access = false),
        Box::new(|input| input.user.permissions.allowed_categories = NameSet::default()),
        Box::new(|input| input.user.permissions.allowed_categories = NameSet::from_iter(["security_risk"])),
        Box::new(|input| input.agent = None),
    ];
    for role in &vocabulary.roles {
        changes.push(with_name(role, |input, name| input.user.roles = name));
    }
    changes
}

fn usage_changes() -> Vec<Change> {
    let limited = |tokens, usd| UsageInput {
        unlimited: Flag(false),
        tokens_left: Some(tokens),
        usd_left: Some(usd),
        requests: Some(1),
        queries: Some(1),
    };
    [UsageInput::default(), limited(-1, 1), limited(1, -1), limited(0, 1), limited(1, 0), limited(5_000_000, 5_000_000)]
        .into_iter()
        .map(|usage| -> Change { Box::new(move |input| input.usage = usage) })
        .collect()
}

/// A constant of the text at each position of the input that may have it.
fn text_changes(text: &str) -> Vec<Change> {
    let (agent, category) = (AgentId::new(text).ok(), CategoryId::new(text).ok());
    let (user, tenant) = (UserId::new(text).ok(), TenantId::new(text).ok());
    let resource = text.to_owned();
    vec![
        Box::new(move |input| input.user.id = user.clone().unwrap_or_else(|| input.user.id.clone())),
        Box::new(move |input| input.user.tenant = tenant.clone().unwrap_or_default()),
        Box::new(move |input| input.resource = Some(resource.clone())),
        Box::new(move |input| {
            if let (Some(agent), Some(id)) = (&mut input.agent, &agent) {
                agent.id = id.clone();
            }
        }),
        Box::new(move |input| {
            if let (Some(agent), Some(category)) = (&mut input.agent, &category) {
                agent.category = category.clone();
            }
        }),
        with_name(text, |input, name| {
            if let Some(agent) = &mut input.agent {
                agent.capabilities = name;
            }
        }),
        with_name(text, |input, name| input.user.permissions.allowed_categories = name),
        with_name(text, |input, name| input.user.roles = name.union(&input.user.roles)),
    ]
}

fn with_name(name: &str, change: impl Fn(&mut Input, NameSet) + 'static) -> Change {
    let names = NameSet::from_iter([name]);
    Box::new(move |input| change(input, names.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn inputs() -> Vec<Value> {
        let mut vocabulary = Vocabulary::from_text(None);
        vocabulary.texts = vec!["mallory".to_owned()];
        vocabulary.policies = vec!["no_tools".to_owned(), "require_budget".to_owned()];
        generate(&vocabulary).iter().map(|input| serde_json::to_value(input).unwrap()).collect()
    }

    #[test]
    fn every_action_caller_fact_policy_and_constant_is_tried() {
        let inputs = inputs();
        let texts = |pointer: &str| {
            inputs
                .iter()
                .filter_map(|input| input.pointer(pointer)?.as_str())
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(texts("/action").len(), Action::ALL.len());
        assert_eq!(texts("/caller").len(), CALLERS.len());
        for pointer in ["/user/id", "/user/tenant", "/resource", "/agent/id", "/agent/category"] {
            assert!(texts(pointer).contains("mallory"), "{pointer}");
        }
        for pointer in [
            "/policies/no_tools",
            "/policies/require_budget",
            "/caller_policies/no_tools",
            "/agent/capabilities/mallory",
        ] {
            assert!(inputs.iter().any(|input| input.pointer(pointer).is_some()), "{pointer}");
        }
        let mut facts = FactFlags::default();
        FACTS.iter().for_each(|fact| *fact(&mut facts) = Flag(true));
        let facts = serde_json::to_value(facts).unwrap();
        assert_eq!(facts.as_object().unwrap().len(), FACTS.len());
        for fact in facts.as_object().unwrap().keys() {
            assert!(inputs.iter().any(|input| input["facts"].get(fact).is_none()), "{fact} is absent once");
        }
        for bytes in [0, 1, 2, 1_048_576, 1_048_577, 10_485_761, 268_435_457_u64] {
            assert!(inputs.iter().any(|input| input["document_bytes"] == bytes), "{bytes}");
        }
    }

    #[test]
    fn the_inputs_are_the_same_at_every_run_and_not_too_many() {
        assert_eq!(inputs(), inputs());
        let mut vocabulary = Vocabulary::from_text(None);
        vocabulary.texts = (0..500).map(|number| format!("text_{number}")).collect();
        assert_eq!(generate(&vocabulary).len(), INPUTS_MAX);
    }
}
