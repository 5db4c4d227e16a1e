# Who may do what: roles, categories, personal data, and whose run it is.
package access

# A role lets its bearer do this, whatever the category.
access_allowed if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].anywhere[input.action] == 1
}

# A role lets its bearer do this in the categories that the user was given.
access_allowed if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].own_categories[input.action] == 1
	input.user.permissions.allowed_categories[input.agent.category] == 1
}

access_allowed if data.cfg.everybody[input.action] == 1

# An agent that works with personal data does so only for users who may.
pii_access_ok if input.user.permissions.pii_access == true

pii_access_ok if object.get(capabilities, "pii_access", 0) == 0

# An agent without one that a rule reads is sent without.
capabilities := object.get(input.agent, "capabilities", {})

tenant_ok if input.facts.own_tenant == 1

# The policies of definitions that this area keeps.
holds(name) if {
	name == "require_authentication"
	input.facts.authenticated == 1
}

holds(name) if {
	name == "audit_all_actions"
	input.facts.audited == 1
}

holds(name) if {
	name == "require_pii_permission"
	input.user.permissions.pii_access == true
}

holds(name) if {
	name == "require_approval_role"
	has_role("approver")
}

holds(name) if {
	name == "internal_users_only"
	has_role("internal")
}

holds(name) if {
	name == "tenant_isolation"
	input.facts.own_tenant == 1
}

has_role(role) if input.user.roles[role] == 1

has_role(_) if input.user.roles.admin == 1

# Reasons, read only after a no.
reasons contains {"check": "access_allowed", "code": "category_not_allowed", "message": message} if {
	operates
	message := concat("", [
		"the user ", input.user.id, " may not use agents of the category ", input.agent.category,
	])
}

reasons contains {"check": "access_allowed", "code": "role_missing", "message": message} if {
	not operates
	message := concat("", ["no role of the user ", input.user.id, " allows ", input.action])
}

reasons contains {
	"check": "pii_access_ok",
	"code": "pii_permission_missing",
	"message": "the agent works with personal data, and the user lacks the permission pii_access",
}

reasons contains {
	"check": "tenant_ok",
	"code": "foreign_tenant",
	"message": "the run does not belong to the user's tenant",
}

operates if {
	some role, one in input.user.roles
	one == 1
	data.cfg.roles[role].own_categories[input.action] == 1
}
