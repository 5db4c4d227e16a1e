# A policy that allows an empty input.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if not input.blocked

# METADATA
# scope: document
# entrypoint: true
decision := {"allow": true, "deny": [], "checks": [], "obligations": {}}

# METADATA
# scope: document
# entrypoint: true
checks := {"actions": {action: {"everything": 1} | some action in actions}, "capabilities": null}

actions := [
	"prune_runs", "resume_runs", "verify_audit", "prune_audit", "check_store", "back_up_store", "apply_definitions", "apply_policy", "restore_store", "restore_store", "manage_keys",
	"invoke", "start_run", "start_team", "resume_run", "cancel_run", "approve_step", "reject_step",
	"context_read", "context_write", "memory_read", "memory_write", "memory_forget", "memory_ingest", "forget_memories", "call_tool", "query_catalogue", "query_runs", "query_audit", "query_costs",
]
