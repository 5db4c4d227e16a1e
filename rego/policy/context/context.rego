# Who may read and write the context that a team shares.
package context

# A user may look at a team's context; whose run it is, is judged under tenant_ok.
context_allowed if {
	input.caller == "user"
	input.action == "context_read"
}

context_allowed if {
	data.cfg.callers.inner[input.caller] == 1
	input.action == "context_read"
	input.facts.team_member == 1
}

# The team itself and its run write what they have to.
context_allowed if {
	data.cfg.callers.owners[input.caller] == 1
	input.action == "context_write"
	input.facts.team_member == 1
}

# A member writes what its definition says that it provides.
context_allowed if {
	input.caller == "agent"
	input.action == "context_write"
	input.facts.team_member == 1
	input.facts.provides_to_team == 1
}

# Bound is the agent that carries the policy, whenever it speaks.
binds(name) if {
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
