# Inputs for the tests: policy allows each of them unchanged.
package fixtures

admin := {
	"id": "admin",
	"tenant": "default",
	"roles": {"admin": 1},
	"permissions": {},
	"rate_limit": 100,
	"query_limit": 100,
}

operator := {
	"id": "operator",
	"tenant": "default",
	"roles": {"agent_operator": 1},
	"permissions": {"allowed_categories": {"business_ops": 1}},
	"rate_limit": 100,
	"query_limit": 100,
}

guest := object.union(object.remove(admin, ["roles"]), {"id": "guest", "roles": {}})

agent := {"id": "executive_summary_agent_001", "category": "business_ops", "capabilities": {}}

# An administrator invokes an agent.
invoke := {
	"action": "invoke",
	"agent": agent,
	"caller_policies": {},
	"document_bytes": 4512,
	"hops": 1,
	"policies": {},
	"facts": {"audited": 1, "authenticated": 1, "no_personal_data": 1, "own_tenant": 1},
	"caller": "user",
	"usage": {"requests": 1, "queries": 1, "tokens_left": -1, "usd_left": -1},
	"user": admin,
}

# The same for an action whose resource is not an agent.
act(action) := object.union(object.remove(invoke, ["agent"]), {"action": action, "resource": "something"})

requested_by(user) := object.union(object.remove(invoke, ["user"]), {"user": user})

# A workflow calls an agent.
step := object.union(invoke, {
	"hops": 2,
	"caller": "workflow",
	"facts": object.union(invoke.facts, {"workflow_step": 1}),
})

# An agent calls an agent.
delegation := object.union(invoke, {
	"hops": 3,
	"caller": "agent",
	"facts": object.union(invoke.facts, {"can_work_with": 1, "tool_declared": 1}),
})

# An agent calls a tool.
tool := object.union(invoke, {
	"action": "call_tool",
	"hops": 3,
	"caller": "agent",
	"resource": "native:calculator",
	"facts": object.union(invoke.facts, {"tool_declared": 1}),
})

# An agent writes a key that it provides to its team's context.
write := object.union(invoke, {
	"action": "context_write",
	"hops": 3,
	"caller": "agent",
	"resource": "summary_context",
	"facts": object.union(invoke.facts, {"team_member": 1, "provides_to_team": 1}),
})

with_policies(document, names) := object.union(document, {"policies": {name: 1 | some name in names}})

with_caller_policies(document, names) := object.union(document, {"caller_policies": {name: 1 | some name in names}})

with_facts(document, names) := object.union(document, {"facts": {name: 1 | some name in names}})

# object.union merges, so a fact can only be removed by building the object again.
without(document, names) := object.union(
	object.remove(document, ["facts"]),
	{"facts": object.remove(document.facts, names)},
)

codes(decision) := {reason.code | some reason in decision.deny}
