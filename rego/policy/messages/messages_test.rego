package messages_test

import data.fixtures
import data.guard
import data.messages

test_a_user_begins_the_chain if {
	guard.allowed with input as fixtures.invoke
	decision := guard.decision with input as object.union(fixtures.invoke, {"hops": 2})
	fixtures.codes(decision) == {"caller_not_allowed"}
}

test_a_user_uses_no_tool_and_writes_no_context if {
	every document in [fixtures.tool, fixtures.write] {
		not guard.allowed with input as object.union(document, {"caller": "user", "hops": 1})
	}
}

test_a_workflow_calls_its_steps if {
	guard.allowed with input as fixtures.step
	decision := guard.decision with input as fixtures.without(fixtures.step, ["workflow_step"])
	decision.deny == {{
		"code": "caller_not_allowed",
		"message": "this workflow may not ask for invoke here: no step of it calls this",
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

team(action, proven) := object.union(
	fixtures.with_facts(object.union(fixtures.invoke, {"action": action}), proven),
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

test_an_agent_calls_whom_it_may_work_with_and_names_as_a_tool if {
	guard.allowed with input as fixtures.delegation
	not messages.message_allowed with input as fixtures.without(fixtures.delegation, ["can_work_with"])
	not messages.message_allowed with input as fixtures.without(fixtures.delegation, ["tool_declared"])
}

test_an_agent_is_told_what_is_missing if {
	one := guard.decision with input as fixtures.without(fixtures.delegation, ["can_work_with"])
	[rule.message | some rule in one.deny] == ["this agent may not ask for invoke here: can_work_with does not name the agent"]
	other := guard.decision with input as fixtures.without(fixtures.delegation, ["tool_declared"])
	[rule.message | some rule in other.deny] == ["this agent may not ask for invoke here: its tools do not name the agent"]
}

test_an_agent_starts_no_run if {
	not guard.allowed with input as object.union(fixtures.delegation, {"action": "start_run"})
}

test_nobody_else_says_anything if {
	every caller in ["nobody", "", "root"] {
		every document in [fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool, fixtures.write] {
			not guard.allowed with input as object.union(document, {"caller": caller})
		}
	}
}

test_a_chain_has_an_end if {
	guard.allowed with input as object.union(fixtures.step, {"hops": 8})
	decision := guard.decision with input as object.union(fixtures.step, {"hops": 9})
	decision.deny == {{
		"code": "hops_exceeded",
		"message": "the chain of calls has 9 callers, 8 are allowed",
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

test_no_agent_delegation_binds_the_one_that_speaks if {
	decision := guard.decision with input as fixtures.caller_bound_by(fixtures.delegation, ["no_agent_delegation"])
	fixtures.codes(decision) == {"no_agent_delegation"}
	guard.allowed with input as fixtures.caller_bound_by(fixtures.tool, ["no_agent_delegation"])
	guard.allowed with input as fixtures.with_policies(fixtures.delegation, ["no_agent_delegation"])
}
