package guard_policies_test

import data.fixtures
import data.guard

test_an_unknown_policy_denies if {
	document := fixtures.with_policies(fixtures.invoke, ["require_magic"])
	not guard.allowed with input as document
	decision := guard.decision with input as document
	{"code": "policy_unknown", "message": "no rule has the name require_magic"} in decision.deny
}

test_a_policy_that_is_not_written_1_denies if {
	every value in [null, true, 0, "1"] {
		document := object.union(fixtures.invoke, {"policies": {"require_authentication": value}})
		not guard.allowed with input as document
		decision := guard.decision with input as document
		fixtures.codes(decision) == {"policies_ok"}
	}
}

test_only_an_agent_is_bound_when_it_speaks if {
	document := fixtures.caller_bound_by(fixtures.step, ["max_document_size_1mb"])
	not guard.allowed with input as document
	guard.allowed with input as fixtures.caller_bound_by(fixtures.delegation, ["max_document_size_1mb"])
}

test_a_speaker_is_bound_by_no_unknown_policy if {
	every document in [fixtures.delegation, fixtures.invoke] {
		bound := fixtures.caller_bound_by(document, ["require_magic"])
		not guard.allowed with input as bound
		decision := guard.decision with input as bound
		decision.deny == {{"code": "policy_unknown", "message": "no rule has the name require_magic"}}
	}
}

# Each name has its rule: allowed somewhere, and denied where it does not hold.
test_every_policy_has_a_rule if {
	every policy in data.cfg.policies {
		policy.binds in {"resource", "caller"}
		count(policy.message) > 0
	}
	count(data.cfg.policies) == 14
}

test_obligations_come_from_policies if {
	plain := guard.allowed with input as fixtures.invoke
	plain.obligations == {}
	audited := guard.allowed with input as fixtures.with_policies(fixtures.invoke, ["audit_all_actions"])
	audited.obligations == {"audit_before_reply": 1}
}
