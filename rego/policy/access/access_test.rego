package access_test

import data.access
import data.fixtures
import data.guard

test_an_administrator_may_do_everything if {
	every action, _ in data.cfg.checks {
		access.access_allowed with input as fixtures.act(action)
	}
}

test_an_operator_works_in_the_given_categories if {
	guard.allowed with input as fixtures.requested_by(fixtures.operator)
}

test_an_operator_is_denied_elsewhere if {
	request := object.union(fixtures.requested_by(fixtures.operator), {"agent": {"category": "security_risk"}})
	not guard.allowed with input as request
	decision := guard.decision with input as request
	fixtures.codes(decision) == {"category_not_allowed"}
}

test_an_operator_starts_runs_but_approves_nothing if {
	access.access_allowed with input as object.union(fixtures.act("start_run"), {"user": fixtures.operator})
	user := {"user": object.union(object.remove(fixtures.operator, ["roles"]), {"roles": {"agent_operator": 1}})}
	request := object.union(object.remove(fixtures.act("approve_step"), ["user"]), user)
	not guard.allowed with input as request
}

test_a_guest_may_only_query_the_catalogue if {
	every action, _ in data.cfg.checks {
		request := object.union(object.remove(fixtures.act(action), ["user"]), {"user": fixtures.guest})
		allowed := {name | some name in ["query_catalogue"]; access.access_allowed with input as request}
		allowed == {name | some name in ["query_catalogue"]; name == action}
	}
}

test_a_guest_is_denied_with_a_reason if {
	decision := guard.decision with input as fixtures.requested_by(fixtures.guest)
	not decision.allow
	decision.deny == {{"code": "role_missing", "message": "no role of the user guest allows invoke"}}
}

user_with_role(role) := {"user": object.union(fixtures.guest, {"roles": {role: 1}})}

test_each_role_allows_its_own_actions if {
	cases := {
		"approver": {"approve_step", "reject_step", "query_runs", "query_catalogue"},
		"auditor": {"verify_audit", "query_audit", "query_costs", "query_runs", "query_catalogue"},
		"internal": {"query_catalogue"},
	}
	every role, actions in cases {
		every action, _ in data.cfg.checks {
			request := object.union(object.remove(fixtures.act(action), ["user"]), user_with_role(role))
			allowed := [1 | access.access_allowed with input as request]
			count(allowed) == count([1 | action in actions])
		}
	}
}

test_a_role_with_a_value_other_than_1_is_ignored if {
	every value in [null, true, 0, "1", {}] {
		user := object.union(fixtures.guest, {"roles": {"admin": value}})
		not guard.allowed with input as fixtures.requested_by(user)
	}
}

pii := object.union(fixtures.invoke, {"agent": {"capabilities": {"pii_access": 1}}})

test_personal_data_needs_the_permission if {
	not guard.allowed with input as pii
	decision := guard.decision with input as pii
	fixtures.codes(decision) == {"pii_permission_missing"}
	guard.allowed with input as object.union(pii, {"user": {"permissions": {"pii_access": true}}})
}

test_personal_data_of_a_run_is_read_with_the_permission_only if {
	every action in ["query_runs", "context_read"] {
		request := fixtures.act(action)
		guard.allowed with input as request
		private := fixtures.without(request, ["no_personal_data"])
		not guard.allowed with input as private
		decision := guard.decision with input as private
		fixtures.codes(decision) == {"pii_permission_missing"}
		guard.allowed with input as object.union(private, {"user": {"permissions": {"pii_access": true}}})
	}
}

maintenance := [
	"verify_audit", "prune_audit", "check_store", "back_up_store", "apply_definitions", "apply_policy",
	"restore_store",
]

test_only_the_pods_own_tenant_maintains_what_all_tenants_share if {
	every action in maintenance {
		request := fixtures.act(action)
		guard.allowed with input as request
		foreign := object.union(request, {"user": {"tenant": "acme"}})
		not guard.allowed with input as foreign
		decision := guard.decision with input as foreign
		fixtures.codes(decision) == {"not_the_pods_tenant"}
	}
}

test_each_tenant_maintains_its_own_runs_and_keys if {
	every action in ["prune_runs", "forget_memories", "resume_runs", "manage_keys"] {
		guard.allowed with input as object.union(fixtures.act(action), {"user": {"tenant": "acme"}})
	}
}

test_a_run_of_another_tenant_is_denied if {
	request := fixtures.act("cancel_run")
	guard.allowed with input as request
	decision := guard.decision with input as fixtures.without(request, ["own_tenant"])
	fixtures.codes(decision) == {"foreign_tenant"}
}

# Every policy of a definition that this package evaluates, once allowed and once denied.
policy_cases := {
	"require_authentication": [fixtures.invoke, fixtures.without(fixtures.invoke, ["authenticated"])],
	"audit_all_actions": [fixtures.invoke, fixtures.without(fixtures.invoke, ["audited"])],
	"require_pii_permission": [
		object.union(fixtures.invoke, {"user": {"permissions": {"pii_access": true}}}),
		fixtures.invoke,
	],
	"require_approval_role": [
		object.union(fixtures.requested_by(fixtures.operator), {"user": {"roles": {"approver": 1}}}),
		fixtures.requested_by(fixtures.operator),
	],
	"internal_users_only": [
		object.union(fixtures.requested_by(fixtures.operator), {"user": {"roles": {"internal": 1}}}),
		fixtures.requested_by(fixtures.operator),
	],
	"tenant_isolation": [fixtures.invoke, fixtures.without(fixtures.invoke, ["own_tenant"])],
}

test_a_list_concerns_no_run if {
	every action in ["query_runs", "query_audit", "query_costs"] {
		list := fixtures.without(fixtures.with_facts(fixtures.act(action), ["without_run"]), ["own_tenant"])
		guard.allowed with input as list
		not guard.allowed with input as fixtures.without(list, ["without_run"])
	}
	cancellation := fixtures.without(fixtures.with_facts(fixtures.act("cancel_run"), ["without_run"]), ["own_tenant"])
	not guard.allowed with input as cancellation
}

test_a_call_outside_a_run_crosses_no_tenant if {
	request := fixtures.with_policies(fixtures.invoke, ["tenant_isolation"])
	outside := fixtures.without(fixtures.with_facts(request, ["without_run"]), ["own_tenant"])
	guard.allowed with input as outside
}

test_policies_of_definitions if {
	every name, documents in policy_cases {
		guard.allowed with input as fixtures.with_policies(documents[0], [name])
		decision := guard.decision with input as fixtures.with_policies(documents[1], [name])
		not decision.allow
		fixtures.codes(decision) == {name}
	}
}
