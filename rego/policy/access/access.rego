# Access rights: roles, categories, personal data, and the tenant of a run.
package access

# A role of the user allows the action in every category.
access_allowed if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].anywhere[input.action] == 1
}

# A role of the user allows the action in the user's allowed categories.
access_allowed if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].own_categories[input.action] == 1
	input.user.permissions.allowed_categories[input.agent.category] == 1
}

access_allowed if data.cfg.every_user[input.action] == 1

# An agent that processes personal data may be invoked only for users with the permission.
pii_access_ok if input.user.permissions.pii_access == true

pii_access_ok if object.get(capabilities, "pii_access", 0) == 0

# The host omits the capabilities if the agent has none that a rule reads.
capabilities := object.get(input.agent, "capabilities", {})

tenant_ok if input.facts.own_tenant == 1

# A list concerns no run; the host includes only those of the user's tenant.
tenant_ok if {
	data.cfg.calls.lists[input.action] == 1
	input.facts.without_run == 1
}

# What a run, a context or an artifact holds is read by users with the permission, unless the host has
# established that it is no personal data.
personal_data_ok if input.user.permissions.pii_access == true

personal_data_ok if input.facts.no_personal_data == 1

# The audit chain and the store hold the data of every tenant, and definitions and policy are those of every
# tenant: only users of the pod's own tenant maintain them.
pod_tenant_ok if input.user.tenant == "default"

# The policies of definitions that this package evaluates.
resource_policy_ok(name) if {
	name == "require_authentication"
	input.facts.authenticated == 1
}

resource_policy_ok(name) if {
	name == "audit_all_actions"
	input.facts.audited == 1
}

# It restricts nothing: it obliges the host to give the handler of the agent that names it the network.
resource_policy_ok(name) if name == "allow_network"

resource_policy_ok(name) if {
	name == "require_pii_permission"
	input.user.permissions.pii_access == true
}

resource_policy_ok(name) if {
	name == "require_approval_role"
	has_role("approver")
}

resource_policy_ok(name) if {
	name == "internal_users_only"
	has_role("internal")
}

resource_policy_ok(name) if {
	name == "tenant_isolation"
	input.facts.own_tenant == 1
}

resource_policy_ok(name) if {
	name == "tenant_isolation"
	input.facts.without_run == 1
}

has_role(role) if input.user.roles[role] == 1

has_role(_) if input.user.roles.admin == 1

# Reasons, evaluated only after a denial.
reasons contains {"check": "access_allowed", "code": "category_not_allowed", "message": message} if {
	has_operator_role
	message := concat("", [
		"the user ", input.user.id, " may not use agents of the category ", input.agent.category,
	])
}

reasons contains {"check": "access_allowed", "code": "role_missing", "message": message} if {
	not has_operator_role
	message := concat("", ["no role of the user ", input.user.id, " allows ", input.action])
}

reasons contains {
	"check": "pii_access_ok",
	"code": "pii_permission_missing",
	"message": "the agent processes personal data, and the user lacks the permission pii_access",
}

reasons contains {
	"check": "tenant_ok",
	"code": "foreign_tenant",
	"message": "the run does not belong to the user's tenant",
}

reasons contains {
	"check": "personal_data_ok",
	"code": "pii_permission_missing",
	"message": "this holds personal data, and the user lacks the permission pii_access",
}

reasons contains {
	"check": "pod_tenant_ok",
	"code": "not_the_pods_tenant",
	"message": "this concerns every tenant: only users of the tenant default may maintain it",
}

has_operator_role if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].own_categories[input.action] == 1
}
