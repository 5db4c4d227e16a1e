# A policy of one's own: its `reads` omits two fields that its rules read.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if permitted

# METADATA
# scope: document
# entrypoint: true
decision := {"allow": count(deny) == 0, "deny": deny, "checks": [], "obligations": {}}

default permitted := false

permitted if {
	input.user.roles.admin == 1
	input.user.tenant == "default"
	not blocked
}

blocked if input.user.id == "mallory"

deny contains {"code": "not_permitted", "message": "this user may do nothing"} if not permitted

# METADATA
# scope: document
# entrypoint: true
checks := {
	"actions": {action: {"everything": 1} | some action in actions},
	"capabilities": {},
	"reads": {"roles": {"admin": 1}, "binds": {}, "actions": {}, "callers": {}, "policies": {}},
}

actions := [
	"prune_runs", "resume_runs", "verify_audit", "prune_audit", "check_store", "back_up_store", "apply_definitions", "apply_policy", "restore_store", "manage_keys",
	"invoke", "start_run", "start_team", "resume_run", "cancel_run", "approve_step", "reject_step",
	"context_read", "context_write", "memory_read", "memory_write", "memory_forget", "memory_ingest", "forget_memories", "call_tool", "query_catalogue", "query_runs", "query_audit", "query_costs",
]
