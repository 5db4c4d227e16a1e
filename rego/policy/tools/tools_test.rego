package tools_test

import data.fixtures
import data.guard

test_an_agent_calls_the_tools_that_it_declares if {
	guard.allowed with input as fixtures.tool
	decision := guard.decision with input as fixtures.without(fixtures.tool, ["tool_declared"])
	decision.deny == {{
		"code": "tool_not_declared",
		"message": "the agent does not name the tool native:calculator in its definition",
	}}
}

test_a_tool_without_a_name_is_denied if {
	not guard.allowed with input as object.remove(fixtures.tool, ["resource"])
	every value in [null, 1, true] {
		not guard.allowed with input as object.union(fixtures.tool, {"resource": value})
	}
}

test_no_tools if {
	decision := guard.decision with input as fixtures.with_caller_policies(fixtures.tool, ["no_tools"])
	fixtures.codes(decision) == {"no_tools"}
	guard.allowed with input as fixtures.with_caller_policies(fixtures.delegation, ["no_tools"])
}

test_no_external_tools if {
	external := fixtures.with_caller_policies(fixtures.tool, ["no_external_tools"])
	decision := guard.decision with input as external
	fixtures.codes(decision) == {"no_external_tools"}
	guard.allowed with input as fixtures.with_facts(external, ["internal_tool"])
	guard.allowed with input as fixtures.with_caller_policies(fixtures.delegation, ["no_external_tools"])
}

test_a_fact_that_is_not_1_makes_no_tool_internal if {
	external := fixtures.with_caller_policies(fixtures.tool, ["no_external_tools"])
	every value in [null, true, 0, "1"] {
		not guard.allowed with input as object.union(external, {"facts": {"internal_tool": value}})
	}
}
