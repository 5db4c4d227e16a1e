package guard_allowed_test

import data.fixtures
import data.guard

documents := [
	fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool, fixtures.write,
	fixtures.requested_by(fixtures.operator), fixtures.requested_by(fixtures.guest),
	fixtures.act("start_run"), fixtures.act("start_team"), fixtures.act("resume_run"), fixtures.act("cancel_run"),
	fixtures.act("query_audit"), fixtures.act("query_catalogue"), fixtures.act("unknown_action"),
	fixtures.without(fixtures.act("resume_run"), ["own_tenant"]),
	object.union(fixtures.act("resume_run"), {"usage": {"requests": 1000}}),
	{},
]

test_both_entrypoints_agree if {
	every document in documents {
		decision := guard.decision with input as document
		hot := [1 | allowed := guard.allowed with input as document; allowed.allow]
		count(hot) == 1 == decision.allow
	}
}

test_an_allow_has_only_obligations if {
	allowed := guard.allowed with input as fixtures.invoke
	allowed == {"allow": true, "obligations": {}}
}

test_an_unknown_action_is_undefined if {
	not guard.allowed with input as fixtures.act("unknown_action")
}
