# Access to the context that a team shares.
package context

# A user may read a team's context; tenant_ok checks that the run belongs to the user's tenant.
context_allowed if {
	input.caller == "user"
	input.action == "context_read"
}

context_allowed if {
	data.cfg.callers.inner[input.caller] == 1
	input.action == "context_read"
	input.facts.team_member == 1
}

# The team itself and its run may write every key.
context_allowed if {
	data.cfg.callers.owners[input.caller] == 1
	input.action == "context_write"
	input.facts.team_member == 1
}

# A member may write the keys that its definition provides to the team.
context_allowed if {
	input.caller == "agent"
	input.action == "context_write"
	input.facts.team_member == 1
	input.facts.provides_to_team == 1
}

# The policy binds every hop below the definition that names it.
caller_policy_ok(name) if {
	name == "read_only_context"
	input.action != "context_write"
}

reasons contains {
	"check": "context_allowed",
	"code": "not_a_member",
	"message": "only members of the team may use its context",
} if {
	not input.facts.team_member == 1
}

reasons contains {"check": "context_allowed", "code": "key_not_provided", "message": message} if {
	input.facts.team_member == 1
	input.action == "context_write"
	not input.facts.provides_to_team == 1
	message := concat("", ["provides_to_team of the agent does not name the key ", input.resource])
}
