# A policy that goes wrong on demand: what the target says decides how.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if {
	input.speaker == "user"
	input.target in {"good", "contradict"}
}

# More instructions than a decision may take.
allowed := {"allow": true, "obligations": {}} if {
	input.target == "burn"
	many := numbers.range(1, 3000)
	count([1 | some one in many; some other in many; one == other]) > 0
}

# More memory than an instance may have.
allowed := {"allow": true, "obligations": {}} if {
	input.target == "hoard"
	count(numbers.range(1, 10000000)) > 0
}

# Two values for one name: the module aborts.
allowed := {"allow": true, "obligations": {}} if input.target == "conflict"

allowed := {"allow": false, "obligations": {}} if input.target == "conflict"

allowed := {"allow": true, "obligations": {"dance": 1}} if input.target == "oblige"

allowed := {"allow": "yes", "obligations": {}} if input.target == "mistype"

# METADATA
# scope: document
# entrypoint: true
decision := {"allow": permitted, "deny": deny, "checks": [], "obligations": {}}

default permitted := false

permitted if input.target == "good"

permitted if input.target == "silent"

deny contains {"code": "not_good", "message": "only what is good is allowed"} if input.target != "good"

deny contains {"code": "untargeted", "message": "there is no target"} if not input.target

# METADATA
# scope: document
# entrypoint: true
checks := {"actions": {action: {"everything": 1} | some action in actions}, "capabilities": null}

actions := [
	"invoke", "start_run", "start_team", "resume_run", "cancel_run", "approve_step", "reject_step",
	"context_read", "context_write", "memory_read", "memory_write", "memory_forget", "call_tool", "look_catalogue", "look_runs", "look_audit", "look_costs",
]
