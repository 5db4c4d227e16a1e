package quota_test

import data.fixtures
import data.guard
import data.quota

with_usage(usage) := object.union(fixtures.invoke, {"usage": usage})

test_a_count_equal_to_the_limit_is_allowed if {
	guard.allowed with input as with_usage({"requests": 100})
	decision := guard.decision with input as with_usage({"requests": 101})
	decision.deny == {{
		"code": "rate_limit_exceeded",
		"message": "101 requests in the last hour, 100 are allowed",
	}}
}

test_nested_requests_are_not_counted if {
	guard.allowed with input as object.union(fixtures.step, {"usage": {"requests": 101, "queries": 101}})
}

test_a_count_of_queries_has_a_limit_of_its_own if {
	every action in ["query_runs", "query_audit", "query_costs", "query_catalogue", "context_read"] {
		query := object.union(fixtures.act(action), {"usage": {"requests": 101, "queries": 100}})
		guard.allowed with input as query
		above := object.union(query, {"usage": {"queries": 101}})
		not guard.allowed with input as above
		decision := guard.decision with input as above
		decision.deny == {{
			"code": "query_limit_exceeded",
			"message": "101 queries in the last hour, 100 are allowed",
		}}
	}
	guard.allowed with input as with_usage({"queries": 101})
}

test_a_recollection_is_a_query if {
	recollection := object.union(fixtures.invoke, {"action": "memory_read", "usage": {"requests": 101}})
	guard.allowed with input as recollection
	not guard.allowed with input as object.union(recollection, {"usage": {"queries": 101}})
}

test_an_unknown_count_or_limit_of_queries_denies if {
	query := fixtures.act("query_runs")
	unknown := object.union(object.remove(query, ["usage"]), {"usage": {"requests": 1}})
	not guard.allowed with input as unknown
	decision := guard.decision with input as unknown
	fixtures.codes(decision) == {"usage_unknown"}
	not guard.allowed with input as object.union(query, {"user": {"query_limit": null}})
}

test_queries_and_cancellations_need_no_quota_of_calls if {
	every action in ["query_runs", "cancel_run", "query_catalogue"] {
		guard.allowed with input as object.union(
			fixtures.act(action),
			{"usage": {"requests": 101, "tokens_left": 0, "usd_left": 0}},
		)
	}
}

test_an_exhausted_quota_denies_at_every_hop if {
	every document in [fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool] {
		tokens := guard.decision with input as object.union(document, {"usage": {"tokens_left": 0}})
		fixtures.codes(tokens) == {"tokens_exhausted"}
		money := guard.decision with input as object.union(document, {"usage": {"usd_left": 0}})
		fixtures.codes(money) == {"budget_exhausted"}
	}
}

test_work_that_is_resumed_needs_no_quota if {
	nothing_left := {"usage": {"requests": 101, "tokens_left": 0, "usd_left": 0}}
	every action in ["resume_run", "start_run", "start_team"] {
		resumed := fixtures.with_facts(object.union(fixtures.act(action), nothing_left), ["resumes"])
		guard.allowed with input as resumed
		decision := guard.decision with input as resumed
		decision.allow
	}
	not guard.allowed with input as object.union(fixtures.act("start_run"), nothing_left)
}

test_only_work_that_can_be_resumed_needs_no_quota if {
	nothing_left := {"usage": {"tokens_left": 0}}
	every document in [fixtures.invoke, fixtures.step, fixtures.delegation, fixtures.tool] {
		not guard.allowed with input as fixtures.with_facts(object.union(document, nothing_left), ["resumes"])
	}
}

compensation(document) := fixtures.with_facts(
	object.union(document, {"usage": {"requests": 101, "tokens_left": 0, "usd_left": 0}}),
	["compensates"],
)

test_a_compensation_needs_no_quota if {
	every document in [fixtures.step, fixtures.delegation, fixtures.tool] {
		guard.allowed with input as compensation(document)
		decision := guard.decision with input as compensation(document)
		decision.allow
	}
}

test_a_fact_with_another_value_is_no_compensation if {
	every document in [fixtures.step, fixtures.delegation, fixtures.tool] {
		not guard.allowed with input as object.union(compensation(document), {"facts": {"compensates": 0}})
		not guard.allowed with input as object.union(compensation(document), {"facts": {"compensates": true}})
	}
}

test_every_other_rule_binds_a_compensation if {
	step := compensation(fixtures.step)
	by_a_guest := object.union(object.remove(step, ["user"]), {"user": fixtures.guest})
	role := guard.decision with input as by_a_guest
	fixtures.codes(role) == {"role_missing"}
	caller := guard.decision with input as fixtures.without(step, ["workflow_step"])
	fixtures.codes(caller) == {"caller_not_allowed"}
	large := object.union(fixtures.with_policies(step, ["max_document_size_1mb"]), {"document_bytes": 2000000})
	size := guard.decision with input as large
	fixtures.codes(size) == {"max_document_size_1mb"}
	tools := guard.decision with input as fixtures.with_caller_policies(compensation(fixtures.tool), ["no_tools"])
	"no_tools" in fixtures.codes(tools)
}

test_only_a_nested_call_of_an_agent_or_a_tool_is_a_compensation if {
	decision := guard.decision with input as compensation(fixtures.invoke)
	{"tokens_exhausted", "budget_exhausted"} - fixtures.codes(decision) == set()
	every action in ["start_run", "start_team"] {
		start := object.union(
			fixtures.with_facts(fixtures.act(action), ["workflow_step"]),
			{"caller": "workflow", "hops": 2},
		)
		guard.allowed with input as start
		not guard.allowed with input as compensation(start)
	}
}

test_a_user_who_resumes_a_run_needs_no_money_of_their_own if {
	resumed := object.union(fixtures.act("resume_run"), {"usage": {"tokens_left": 0, "usd_left": 0}})
	guard.allowed with input as resumed
	above := object.union(resumed, {"usage": {"requests": 101}})
	decision := guard.decision with input as above
	fixtures.codes(decision) == {"rate_limit_exceeded"}
}

test_a_remaining_amount_allows if {
	guard.allowed with input as with_usage({"tokens_left": 1, "usd_left": 1})
}

test_unlimited_usage_needs_no_numbers if {
	unlimited := object.union(object.remove(fixtures.invoke, ["usage"]), {"usage": {"requests": 1, "unlimited": 1}})
	guard.allowed with input as unlimited
	every value in [null, true, 0, "1"] {
		not guard.allowed with input as object.union(unlimited, {"usage": {"unlimited": value}})
	}
}

test_an_unavailable_ledger_denies if {
	request := object.union(object.remove(fixtures.invoke, ["usage"]), {"usage": {}})
	not guard.allowed with input as request
	decision := guard.decision with input as request
	fixtures.codes(decision) == {"usage_unknown"}
}

test_numbers_of_another_type_deny if {
	every value in [null, true, "5", {}] {
		every name in ["requests", "tokens_left", "usd_left"] {
			not guard.allowed with input as with_usage({name: value})
		}
	}
}

test_a_negative_amount_denies if {
	not quota.tokens_ok with input as with_usage({"tokens_left": -2})
}

test_require_budget if {
	bounded := fixtures.with_policies(with_usage({"usd_left": 5}), ["require_budget"])
	guard.allowed with input as bounded
	unbounded := fixtures.with_policies(fixtures.invoke, ["require_budget"])
	decision := guard.decision with input as unbounded
	fixtures.codes(decision) == {"require_budget"}
	guard.allowed with input as fixtures.with_facts(unbounded, ["cost_limited"])
}
