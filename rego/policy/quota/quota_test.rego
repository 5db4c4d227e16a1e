package quota_test

import data.fixtures
import data.guard
import data.quota

used(usage) := object.union(fixtures.invoke, {"usage": usage})

test_the_limit_itself_is_still_allowed if {
	guard.allowed with input as used({"requests": 100})
	decision := guard.decision with input as used({"requests": 101})
	decision.deny == {{
		"code": "rate_limit_exceeded",
		"message": "101 requests in the last hour, 100 are allowed",
	}}
}

test_what_a_request_leads_to_is_not_counted_again if {
	guard.allowed with input as object.union(fixtures.step, {"usage": {"requests": 101}})
}

test_looking_and_cancelling_are_not_limited if {
	every action in ["query_runs", "cancel_run", "query_catalogue"] {
		guard.allowed with input as object.union(
			fixtures.act(action),
			{"usage": {"requests": 101, "tokens_left": 0, "usd_left": 0}},
		)
	}
}

test_nothing_left_denies_at_every_hop if {
	every document in [fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool] {
		tokens := guard.decision with input as object.union(document, {"usage": {"tokens_left": 0}})
		fixtures.codes(tokens) == {"tokens_exhausted"}
		money := guard.decision with input as object.union(document, {"usage": {"usd_left": 0}})
		fixtures.codes(money) == {"budget_exhausted"}
	}
}

test_something_left_allows if {
	guard.allowed with input as used({"tokens_left": 1, "usd_left": 1})
}

test_what_is_unlimited_needs_no_numbers if {
	unlimited := object.union(object.remove(fixtures.invoke, ["usage"]), {"usage": {"requests": 1, "unlimited": 1}})
	guard.allowed with input as unlimited
	every value in [null, true, 0, "1"] {
		not guard.allowed with input as object.union(unlimited, {"usage": {"unlimited": value}})
	}
}

test_a_silent_ledger_denies if {
	request := object.union(object.remove(fixtures.invoke, ["usage"]), {"usage": {}})
	not guard.allowed with input as request
	decision := guard.decision with input as request
	fixtures.codes(decision) == {"usage_unknown"}
}

test_numbers_of_another_type_deny if {
	every value in [null, true, "5", {}] {
		every name in ["requests", "tokens_left", "usd_left"] {
			not guard.allowed with input as used({name: value})
		}
	}
}

test_a_debt_denies if {
	not quota.tokens_ok with input as used({"tokens_left": -2})
}

test_require_budget if {
	bounded := fixtures.with_policies(used({"usd_left": 5}), ["require_budget"])
	guard.allowed with input as bounded
	unbounded := fixtures.with_policies(fixtures.invoke, ["require_budget"])
	decision := guard.decision with input as unbounded
	fixtures.codes(decision) == {"require_budget"}
	guard.allowed with input as fixtures.with_facts(unbounded, ["cost_limited"])
}
