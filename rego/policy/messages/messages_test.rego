package messages_test

import data.fixtures
import data.guard
import data.messages

test_a_user_begins_the_chain if {
	guard.allowed with input as fixtures.invoke
	decision := guard.decision with input as object.union(fixtures.invoke, {"hops": 2})
	fixtures.codes(decision) == {"caller_not_allowed"}
}

test_a_user_calls_no_tool_and_writes_no_context if {
	every document in [fixtures.tool, fixtures.write] {
		not guard.allowed with input as object.union(document, {"caller": "user", "hops": 1})
	}
}

test_a_workflow_calls_its_steps if {
	guard.allowed with input as fixtures.step
	decision := guard.decision with input as fixtures.without(fixtures.step, ["workflow_step"])
	decision.deny == {{
		"code": "caller_not_allowed",
		"message": "this workflow may not request invoke here: none of its steps calls this resource",
	}}
}

test_a_workflow_starts_sub_workflows_and_teams if {
	every action in ["start_run", "start_team"] {
		guard.allowed with input as object.union(
			fixtures.with_facts(fixtures.act(action), ["workflow_step"]),
			{"caller": "workflow", "hops": 2},
		)
	}
}

team(action, facts) := object.union(
	fixtures.with_facts(object.union(fixtures.invoke, {"action": action}), facts),
	{"caller": "team", "hops": 2},
)

test_a_team_runs_its_workflows_and_calls_its_members if {
	guard.allowed with input as team("start_run", ["team_workflow"])
	guard.allowed with input as team("invoke", ["team_member"])
	every action in ["start_run", "invoke", "cancel_run"] {
		decision := guard.decision with input as team(action, [])
		fixtures.codes(decision) == {"caller_not_allowed"}
	}
}

test_an_agent_calls_agents_that_can_work_with_and_tools_name if {
	guard.allowed with input as fixtures.delegation
	not messages.message_allowed with input as fixtures.without(fixtures.delegation, ["can_work_with"])
	not messages.message_allowed with input as fixtures.without(fixtures.delegation, ["tool_declared"])
}

test_the_reason_names_the_missing_declaration if {
	first := guard.decision with input as fixtures.without(fixtures.delegation, ["can_work_with"])
	[reason.message | some reason in first.deny] == ["this agent may not request invoke here: can_work_with does not name the agent"]
	second := guard.decision with input as fixtures.without(fixtures.delegation, ["tool_declared"])
	[reason.message | some reason in second.deny] == ["this agent may not request invoke here: its tools do not name the agent"]
}

test_an_agent_starts_no_run if {
	not guard.allowed with input as object.union(fixtures.delegation, {"action": "start_run"})
}

test_no_other_caller_is_allowed if {
	every caller in ["none", "", "root"] {
		every document in [fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool, fixtures.write] {
			not guard.allowed with input as object.union(document, {"caller": caller})
		}
	}
}

test_the_length_of_a_call_chain_is_limited if {
	guard.allowed with input as object.union(fixtures.step, {"hops": 8})
	decision := guard.decision with input as object.union(fixtures.step, {"hops": 9})
	decision.deny == {{
		"code": "hops_exceeded",
		"message": "the call chain has 9 callers, 8 are allowed",
	}}
	not guard.allowed with input as object.union(fixtures.step, {"hops": 0})
}

test_team_members_only if {
	document := fixtures.with_policies(fixtures.step, ["team_members_only"])
	guard.allowed with input as fixtures.with_facts(document, ["team_member"])
	decision := guard.decision with input as document
	fixtures.codes(decision) == {"team_members_only"}
	guard.allowed with input as fixtures.with_policies(fixtures.act("start_team"), ["team_members_only"])
}

test_no_agent_delegation_binds_the_caller if {
	decision := guard.decision with input as fixtures.with_caller_policies(fixtures.delegation, ["no_agent_delegation"])
	fixtures.codes(decision) == {"no_agent_delegation"}
	guard.allowed with input as fixtures.with_caller_policies(fixtures.tool, ["no_agent_delegation"])
	guard.allowed with input as fixtures.with_policies(fixtures.delegation, ["no_agent_delegation"])
}
