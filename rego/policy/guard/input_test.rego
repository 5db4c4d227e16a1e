package guard_input_test

import data.fixtures
import data.guard

test_a_complete_input_passes if {
	guard.input_ok with input as fixtures.invoke
	guard.agent_ok with input as fixtures.invoke
}

test_an_empty_input_is_denied if {
	every empty in [{}, null, [], "", 0] {
		not guard.allowed with input as empty
		decision := guard.decision with input as empty
		not decision.allow
		fixtures.codes(decision) == {"action_unknown"}
	}
}

# Each field that an invocation of an agent requires, missing and of the wrong type.
fields := [
	["action"], ["agent"], ["agent", "category"], ["document_bytes"], ["hops"], ["policies"], ["facts"], ["caller"],
	["usage"], ["usage", "requests"], ["usage", "tokens_left"], ["usage", "usd_left"],
	["user"], ["user", "roles"], ["user", "permissions"], ["user", "rate_limit"],
]

# Sets that the host omits if they are empty.
sets := [["agent", "capabilities"], ["caller_policies"]]

removed(path) := object.remove(fixtures.invoke, [path[0]]) if count(path) == 1

removed(path) := object.union(
	object.remove(fixtures.invoke, [path[0]]),
	{path[0]: object.remove(fixtures.invoke[path[0]], [path[1]])},
) if {
	count(path) == 2
}

replaced(path, value) := object.union(removed(path), {path[0]: value}) if count(path) == 1

replaced(path, value) := object.union(removed(path), {path[0]: {path[1]: value}}) if count(path) == 2

test_a_missing_field_denies if {
	every path in fields {
		not guard.allowed with input as removed(path)
		decision := guard.decision with input as removed(path)
		not decision.allow
		count(decision.deny) > 0
	}
}

test_an_empty_set_may_be_omitted if {
	every path in sets {
		guard.allowed with input as removed(path)
	}
}

test_a_field_of_the_wrong_type_denies if {
	every path in array.concat(fields, sets) {
		every value in [null, true, [], [1]] {
			not guard.allowed with input as replaced(path, value)
		}
	}
}
