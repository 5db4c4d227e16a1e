# A policy that fails on demand: the resource selects the failure.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if {
	input.caller == "user"
	input.resource in {"good", "contradict"}
}

# More instructions than a decision may take.
allowed := {"allow": true, "obligations": {}} if {
	input.resource == "burn"
	many := numbers.range(1, 3000)
	count([1 | some one in many; some other in many; one == other]) > 0
}

# More memory than an instance may have.
allowed := {"allow": true, "obligations": {}} if {
	input.resource == "hoard"
	count(numbers.range(1, 10000000)) > 0
}

# Two values for one name: the module aborts.
allowed := {"allow": true, "obligations": {}} if input.resource == "conflict"

allowed := {"allow": false, "obligations": {}} if input.resource == "conflict"

allowed := {"allow": true, "obligations": {"dance": 1}} if input.resource == "oblige"

allowed := {"allow": "yes", "obligations": {}} if input.resource == "mistype"

# METADATA
# scope: document
# entrypoint: true
decision := {"allow": permitted, "deny": deny, "checks": [], "obligations": {}}

default permitted := false

permitted if input.resource == "good"

permitted if input.resource == "silent"

deny contains {"code": "not_good", "message": "only what is good is allowed"} if input.resource != "good"

deny contains {"code": "no_resource", "message": "there is no resource"} if not input.resource

# METADATA
# scope: document
# entrypoint: true
checks := {"actions": {action: {"everything": 1} | some action in actions}, "capabilities": null}

actions := [
	"prune_runs", "resume_runs", "verify_audit", "prune_audit", "check_store", "back_up_store", "apply_definitions", "apply_policy", "restore_store", "restore_store", "manage_keys",
	"invoke", "start_run", "start_team", "resume_run", "cancel_run", "approve_step", "reject_step",
	"context_read", "context_write", "memory_read", "memory_write", "memory_forget", "memory_ingest", "forget_memories", "call_tool", "query_catalogue", "query_runs", "query_audit", "query_costs",
]
