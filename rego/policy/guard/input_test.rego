package guard_input_test

import data.fixtures
import data.guard

test_a_document_in_order if {
	guard.input_ok with input as fixtures.invoke
	guard.agent_ok with input as fixtures.invoke
}

test_nothing_is_not_a_document if {
	every nothing in [{}, null, [], "", 0] {
		not guard.allowed with input as nothing
		decision := guard.decision with input as nothing
		not decision.allow
		fixtures.codes(decision) == {"action_unknown"}
	}
}

# Each field that a call of an agent cannot do without, missing and of the wrong type.
fields := [
	["action"], ["agent"], ["agent", "category"], ["document_bytes"], ["hops"], ["policies"], ["facts"], ["caller"],
	["usage"], ["usage", "requests"], ["usage", "tokens_left"], ["usage", "usd_left"],
	["user"], ["user", "roles"], ["user", "permissions"], ["user", "rate_limit"],
]

# Sets that are left out where they are empty.
sets := [["agent", "capabilities"], ["caller_policies"]]

cut(path) := object.remove(fixtures.invoke, [path[0]]) if count(path) == 1

cut(path) := object.union(
	object.remove(fixtures.invoke, [path[0]]),
	{path[0]: object.remove(fixtures.invoke[path[0]], [path[1]])},
) if {
	count(path) == 2
}

put(path, value) := object.union(cut(path), {path[0]: value}) if count(path) == 1

put(path, value) := object.union(cut(path), {path[0]: {path[1]: value}}) if count(path) == 2

test_a_missing_field_denies if {
	every path in fields {
		not guard.allowed with input as cut(path)
		decision := guard.decision with input as cut(path)
		not decision.allow
		count(decision.deny) > 0
	}
}

test_an_empty_set_may_be_left_out if {
	every path in sets {
		guard.allowed with input as cut(path)
	}
}

test_a_field_of_the_wrong_type_denies if {
	every path in array.concat(fields, sets) {
		every value in [null, true, [], [1]] {
			not guard.allowed with input as put(path, value)
		}
	}
}
