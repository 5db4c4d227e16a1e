package guard_decision_test

import data.fixtures
import data.guard

test_an_allow_has_no_reasons if {
	decision := guard.decision with input as fixtures.invoke
	decision.allow
	decision.deny == set()
}

test_a_denial_has_all_its_reasons if {
	document := object.union(fixtures.requested_by(fixtures.guest), {"document_bytes": 11000000, "usage": {"tokens_left": 0}})
	decision := guard.decision with input as fixtures.with_policies(document, ["max_document_size_10mb"])
	fixtures.codes(decision) == {"role_missing", "tokens_exhausted", "max_document_size_10mb"}
}

# The text of a number is undefined for a string and drops the reason; the failed check is still named.
test_a_failed_check_always_has_a_reason if {
	decision := guard.decision with input as object.union(fixtures.invoke, {"document_bytes": "many"})
	{"input_ok", "document_size_ok"} == fixtures.codes(decision)
}

test_an_unknown_action_is_denied_with_its_own_code if {
	decision := guard.decision with input as fixtures.act("unknown_action")
	fixtures.codes(decision) == {"action_unknown"}
	decision.checks == []
}
