//! For each policy and each level: a request that the policy allows, and one that it denies.

/// Every policy, in the order of its cases.
pub(super) const POLICIES: [&str; 17] = [
    "require_authentication",
    "audit_all_actions",
    "max_document_size",
    "max_document_size_10mb",
    "max_document_size_1mb",
    "require_pii_permission",
    "require_approval_role",
    "deny_external_models",
    "team_members_only",
    "no_agent_delegation",
    "require_budget",
    "tenant_isolation",
    "internal_users_only",
    "read_only_context",
    "no_tools",
    "allow_network",
    "no_external_tools",
];

/// The policy as a definition writes it.
pub(super) fn written(policy: &str) -> String {
    if policy == "max_document_size" { format!("{{ {policy}: 2mb }}") } else { policy.to_owned() }
}

/// The definition that names the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Agent,
    Workflow,
    Team,
}

impl Level {
    pub(super) const ALL: [Self; 3] = [Self::Agent, Self::Workflow, Self::Team];
}

/// What the agent of a case does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worker {
    /// Returns its input.
    Quiet,
    /// Returns its input, and provides it to its team.
    Publishing,
    /// Calls an internal model.
    Internal,
    /// Calls an external model.
    External,
    /// Calls a tool.
    Calculating,
    /// Calls a tool that communicates with the outside.
    Fetching,
    /// Calls another agent.
    Delegating,
}

/// The request of a user that reaches the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Agent,
    Workflow,
    Team,
}

impl Route {
    pub(super) const fn for_level(level: Level) -> Self {
        match level {
            Level::Agent => Self::Agent,
            Level::Workflow => Self::Workflow,
            Level::Team => Self::Team,
        }
    }
}

/// One request, and the agent that it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) worker: Worker,
    pub(super) route: Route,
    pub(super) user: &'static str,
    pub(super) document_bytes: u64,
    pub(super) has_cost_limit: bool,
    pub(super) is_member: bool,
}

impl Setup {
    pub(super) const fn new(worker: Worker, route: Route) -> Self {
        Self { worker, route, user: "admin", document_bytes: 100, has_cost_limit: false, is_member: true }
    }
}

/// The two requests of one case. Three of the policies deny what a pod with its own users and stores never
/// permits: their denials are those of another host, in `integration-tests/tests/all/definition_policies/host.rs`.
pub(super) struct Case {
    pub(super) allowed: Setup,
    pub(super) denied: Option<Setup>,
}

pub(super) fn case(policy: &str, level: Level) -> Case {
    let route = Route::for_level(level);
    let quiet = Setup::new(Worker::Quiet, route);
    let of_user = |user| Setup { user, ..quiet.clone() };
    let sized = |document_bytes| Setup { document_bytes, ..quiet.clone() };
    let (allowed, denied) = match policy {
        "max_document_size" => (sized(100), Some(sized(2_097_153))),
        "max_document_size_10mb" => (sized(100), Some(sized(10_485_761))),
        "max_document_size_1mb" => (sized(100), Some(sized(1_048_577))),
        "require_pii_permission" => (of_user("admin"), Some(of_user("plain_admin"))),
        "require_approval_role" => (of_user("admin"), Some(of_user("operator"))),
        "internal_users_only" => (of_user("insider"), Some(of_user("operator"))),
        "deny_external_models" => (Setup::new(Worker::Internal, route), Some(Setup::new(Worker::External, route))),
        "team_members_only" => {
            let denied = match level {
                Level::Agent | Level::Workflow => Setup::new(Worker::Quiet, Route::Workflow),
                Level::Team => Setup { is_member: false, ..Setup::new(Worker::Quiet, Route::Team) },
            };
            (Setup::new(Worker::Quiet, Route::Team), Some(denied))
        }
        "no_agent_delegation" => (Setup::new(Worker::Calculating, route), Some(Setup::new(Worker::Delegating, route))),
        "no_tools" => (Setup::new(Worker::Delegating, route), Some(Setup::new(Worker::Calculating, route))),
        "no_external_tools" => (Setup::new(Worker::Calculating, route), Some(Setup::new(Worker::Fetching, route))),
        "require_budget" => (Setup { has_cost_limit: true, ..quiet.clone() }, Some(quiet)),
        // Only a team has a context.
        "read_only_context" => {
            (Setup::new(Worker::Quiet, Route::Team), Some(Setup::new(Worker::Publishing, Route::Team)))
        }
        _ => (quiet, None),
    };
    Case { allowed, denied }
}
