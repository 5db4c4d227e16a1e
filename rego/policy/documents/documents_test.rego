package documents_test

import data.fixtures
import data.guard

sized(bytes, policies) := fixtures.with_policies(object.union(fixtures.invoke, {"document_bytes": bytes}), policies)

test_a_policy_allows_its_size_and_no_byte_more if {
	cases := {"max_document_size_10mb": 10485760, "max_document_size_1mb": 1048576}
	every name, bytes in cases {
		guard.allowed with input as sized(bytes, [name])
		decision := guard.decision with input as sized(bytes + 1, [name])
		fixtures.codes(decision) == {name}
	}
}

test_a_policy_with_a_parameter_needs_the_fact_of_the_host if {
	limited := fixtures.with_policies(fixtures.invoke, ["max_document_size"])
	decision := guard.decision with input as limited
	fixtures.codes(decision) == {"max_document_size"}
	guard.allowed with input as fixtures.with_facts(limited, ["document_within_limit"])
}

test_without_a_policy_the_limit_of_the_platform_applies if {
	guard.allowed with input as sized(data.cfg.bytes_max, [])
	decision := guard.decision with input as sized(data.cfg.bytes_max + 1, [])
	fixtures.codes(decision) == {"document_too_large"}
}

external := fixtures.with_policies(fixtures.invoke, ["deny_external_models"])

test_deny_external_models if {
	decision := guard.decision with input as external
	fixtures.codes(decision) == {"deny_external_models"}
	allowed := guard.allowed with input as fixtures.with_facts(external, ["internal_model"])
	allowed.obligations == {"internal_models_only": 1}
}

test_only_an_agent_has_a_model if {
	guard.allowed with input as fixtures.with_policies(fixtures.act("start_team"), ["deny_external_models"])
}
