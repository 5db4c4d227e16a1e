package guard_policies_test

import data.fixtures
import data.guard

test_an_unknown_policy_denies if {
	document := fixtures.with_policies(fixtures.invoke, ["require_magic"])
	not guard.allowed with input as document
	decision := guard.decision with input as document
	{"code": "policy_unknown", "message": "no rule has the name require_magic"} in decision.deny
}

test_a_policy_with_a_value_other_than_1_denies if {
	every value in [null, true, 0, "1"] {
		document := object.union(fixtures.invoke, {"policies": {"require_authentication": value}})
		not guard.allowed with input as document
		decision := guard.decision with input as document
		fixtures.codes(decision) == {"policies_ok"}
	}
}

test_caller_policies_bind_the_hops_below_every_caller if {
	every caller in ["workflow", "team", "agent"] {
		document := object.union(fixtures.tool, {"caller": caller})
		request := fixtures.with_caller_policies(document, ["no_tools"])
		decision := guard.decision with input as request
		"no_tools" in fixtures.codes(decision)
		not guard.allowed with input as request
	}
	guard.allowed with input as fixtures.with_caller_policies(fixtures.step, ["no_tools", "read_only_context"])
}

test_a_call_by_a_step_is_no_delegation if {
	guard.allowed with input as fixtures.with_caller_policies(fixtures.step, ["no_agent_delegation"])
	not guard.allowed with input as fixtures.with_caller_policies(fixtures.delegation, ["no_agent_delegation"])
}

# None of these depends on a policy that a definition names, not even on an unknown one.
test_no_policy_denies_a_signal_or_a_resumption if {
	every action in ["cancel_run", "approve_step", "reject_step", "resume_run"] {
		document := fixtures.without(fixtures.act(action), ["audited", "authenticated"])
		names := object.union(data.cfg.policies, {"require_magic": {}})
		request := object.union(document, {"policies": {name: 1 | some name, _ in names}})
		guard.allowed with input as request
		decision := guard.decision with input as request
		decision.allow == true
	}
}

test_an_unknown_caller_policy_denies if {
	every document in [fixtures.delegation, fixtures.invoke] {
		request := fixtures.with_caller_policies(document, ["require_magic"])
		not guard.allowed with input as request
		decision := guard.decision with input as request
		decision.deny == {{"code": "policy_unknown", "message": "no rule has the name require_magic"}}
	}
}

# Each policy has a scope and a message.
test_every_policy_has_a_scope_and_a_message if {
	every policy in data.cfg.policies {
		policy.binds in {"resource", "caller"}
		count(policy.message) > 0
	}
	count(data.cfg.policies) == 17
}

test_obligations_come_from_policies if {
	plain := guard.allowed with input as fixtures.invoke
	plain.obligations == {}
	audited := guard.allowed with input as fixtures.with_policies(fixtures.invoke, ["audit_all_actions"])
	audited.obligations == {"audit_before_reply": 1}
	networked := guard.allowed with input as fixtures.with_policies(fixtures.invoke, ["allow_network"])
	networked.obligations == {"network_allowed": 1}
}
