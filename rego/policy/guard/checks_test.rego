package guard_checks_test

import data.fixtures
import data.guard

test_every_action_has_checks_and_a_kind if {
	every action, checks in guard.checks.actions {
		checks.input_ok == 1
		checks.access_allowed == 1
		checks.hops_ok == 1
		checks.message_allowed == 1
		has_policies_check(action, checks)
		is_string(data.cfg.kinds[action])
	}
	object.keys(data.cfg.kinds) == object.keys(guard.checks.actions)
}

has_policies_check(_, checks) if checks.policies_ok == 1

has_policies_check(action, checks) if {
	data.cfg.calls.exempt[action] == 1
	not checks.policies_ok
}

test_the_capabilities_that_rules_read_are_listed if {
	guard.checks.capabilities == {"pii_access": 1}
}

test_the_read_set_names_only_actions_policies_and_roles_that_exist if {
	object.keys(guard.checks.reads.actions) - object.keys(guard.checks.actions) == set()
	object.keys(guard.checks.reads.policies) - object.keys(data.cfg.policies) == set()
	object.keys(guard.checks.reads.binds) == object.keys(data.cfg.policies)
	object.keys(guard.checks.reads.callers) == {"user", "workflow", "agent", "team"}
	every role, _ in data.cfg.roles {
		guard.checks.reads.roles[role] == 1
	}
}

test_an_allow_has_passed_its_checks if {
	decision := guard.decision with input as fixtures.invoke
	{check.id | some check in decision.checks; check.pass} == object.keys(guard.checks.actions.invoke)
}
