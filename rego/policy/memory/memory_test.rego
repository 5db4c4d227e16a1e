package memory_test

import data.fixtures
import data.guard

# An agent accesses its own memory for an administrator.
own(action) := object.union(fixtures.invoke, {
	"action": action,
	"hops": 2,
	"caller": "agent",
	"resource": "executive_summary_agent_001",
	"facts": {"own_memory": 1},
})

by_user(action, user) := object.union(
	object.remove(fixtures.invoke, ["user"]),
	{"action": action, "resource": "executive_summary_agent_001", "user": user},
)

test_an_agent_uses_its_own_memory if {
	guard.allowed with input as own("memory_read")
	guard.allowed with input as own("memory_write")
}

test_an_agent_does_not_use_the_memory_of_another if {
	every action in ["memory_read", "memory_write"] {
		decision := guard.decision with input as fixtures.without(own(action), ["own_memory"])
		decision.deny == {{
			"code": "not_its_memory",
			"message": "an agent uses its own memory only, and not that of executive_summary_agent_001",
		}}
	}
}

test_an_agent_deletes_nothing if {
	not guard.allowed with input as own("memory_forget")
}

test_an_agent_lets_no_document_be_read if {
	not guard.allowed with input as own("memory_ingest")
}

test_an_administrator_reads_and_deletes_and_lets_documents_be_read if {
	guard.allowed with input as by_user("memory_read", fixtures.admin)
	guard.allowed with input as by_user("memory_forget", fixtures.admin)
	guard.allowed with input as by_user("memory_ingest", fixtures.admin)
}

test_a_user_writes_to_no_memory if {
	decision := guard.decision with input as by_user("memory_write", fixtures.admin)
	fixtures.codes(decision) == {"caller_not_allowed", "memory_allowed"}
}

test_an_operator_reads_in_the_given_categories if {
	guard.allowed with input as by_user("memory_read", fixtures.operator)
	elsewhere := object.union(by_user("memory_read", fixtures.operator), {"agent": {"category": "security_risk"}})
	decision := guard.decision with input as elsewhere
	fixtures.codes(decision) == {"category_not_allowed"}
	every action in ["memory_forget", "memory_ingest"] {
		denied := guard.decision with input as by_user(action, fixtures.operator)
		fixtures.codes(denied) == {"role_missing"}
	}
}

test_other_roles_read_nothing if {
	every role in ["approver", "auditor", "internal"] {
		user := object.union(fixtures.guest, {"roles": {role: 1}})
		not guard.allowed with input as by_user("memory_read", user)
	}
	decision := guard.decision with input as by_user("memory_read", fixtures.guest)
	decision.deny == {{"code": "role_missing", "message": "no role of the user guest allows memory_read"}}
}

test_the_memory_of_an_agent_with_personal_data_needs_the_permission if {
	every document in [own("memory_read"), own("memory_write"), by_user("memory_read", fixtures.admin)] {
		private := object.union(document, {"agent": {"capabilities": {"pii_access": 1}}})
		decision := guard.decision with input as private
		fixtures.codes(decision) == {"pii_permission_missing"}
		guard.allowed with input as object.union(private, {"user": {"permissions": {"pii_access": true}}})
	}
}

test_no_other_caller_uses_a_memory if {
	every caller in ["workflow", "team", "none", ""] {
		every action in ["memory_read", "memory_write", "memory_forget", "memory_ingest"] {
			not guard.allowed with input as object.union(own(action), {"caller": caller})
		}
	}
}

test_policies_of_the_agent_apply_to_its_memory if {
	guard.allowed with input as fixtures.with_policies(own("memory_read"), ["require_budget", "deny_external_models"])
	decision := guard.decision with input as fixtures.with_policies(own("memory_read"), ["internal_users_only"])
	decision.allow
	other_user := fixtures.with_policies(by_user("memory_read", fixtures.operator), ["internal_users_only"])
	denied := guard.decision with input as other_user
	fixtures.codes(denied) == {"internal_users_only"}
}

test_an_agent_without_delegation_and_tools_still_writes_its_memory if {
	guard.allowed with input as fixtures.with_caller_policies(own("memory_write"), ["no_agent_delegation", "no_tools"])
}

test_a_large_text_is_denied if {
	decision := guard.decision with input as object.union(own("memory_write"), {"document_bytes": data.cfg.bytes_max + 1})
	fixtures.codes(decision) == {"document_too_large"}
	ingested := object.union(by_user("memory_ingest", fixtures.admin), {"document_bytes": data.cfg.bytes_max + 1})
	refused := guard.decision with input as ingested
	fixtures.codes(refused) == {"document_too_large"}
}
