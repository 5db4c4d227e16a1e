package context_test

import data.fixtures
import data.guard

read(caller, hops) := object.union(fixtures.write, {"action": "context_read", "caller": caller, "hops": hops})

test_a_user_reads_the_contexts_of_the_tenant if {
	document := fixtures.without(read("user", 1), ["team_member", "provides_to_team"])
	guard.allowed with input as document
	not guard.allowed with input as fixtures.without(document, ["own_tenant"])
}

test_a_member_reads if {
	every caller in ["agent", "workflow", "team"] {
		guard.allowed with input as read(caller, 2)
		decision := guard.decision with input as fixtures.without(read(caller, 2), ["team_member"])
		fixtures.codes(decision) == {"not_a_member"}
	}
}

test_a_member_writes_what_it_provides if {
	guard.allowed with input as fixtures.write
	decision := guard.decision with input as fixtures.without(fixtures.write, ["provides_to_team"])
	decision.deny == {{
		"code": "key_not_provided",
		"message": "provides_to_team of the agent does not name the key summary_context",
	}}
}

test_the_team_and_its_run_write_every_key if {
	every caller in ["workflow", "team"] {
		document := object.union(fixtures.without(fixtures.write, ["provides_to_team"]), {"caller": caller})
		guard.allowed with input as document
		not guard.allowed with input as fixtures.without(document, ["team_member"])
	}
}

test_the_context_of_another_tenant_is_denied if {
	decision := guard.decision with input as fixtures.without(fixtures.write, ["own_tenant"])
	fixtures.codes(decision) == {"foreign_tenant"}
}

test_a_large_value_is_denied if {
	decision := guard.decision with input as object.union(fixtures.write, {"document_bytes": data.cfg.bytes_max + 1})
	fixtures.codes(decision) == {"document_too_large"}
}

test_read_only_context if {
	guard.allowed with input as fixtures.with_caller_policies(read("agent", 3), ["read_only_context"])
	decision := guard.decision with input as fixtures.with_caller_policies(fixtures.write, ["read_only_context"])
	fixtures.codes(decision) == {"read_only_context"}
}
