package guard

# METADATA
# title: The decision with its reasons
# description: Evaluated only after a denial, or when an explanation is requested.
# scope: document
# entrypoint: true
decision := {
	"allow": allow,
	"deny": deny,
	"checks": [{"id": name, "pass": name in passed} | some name, _ in required],
	"obligations": obligations,
}

default allow := false

allow if {
	count(required) > 0
	every name, _ in required {
		name in passed
	}
}

default required := {}

required := data.cfg.checks[input.action]

passed contains "input_ok" if input_ok

passed contains "agent_ok" if agent_ok

passed contains "policies_ok" if policies_ok

passed contains "access_allowed" if data.access.access_allowed

passed contains "pii_access_ok" if data.access.pii_access_ok

passed contains "tenant_ok" if data.access.tenant_ok

passed contains "personal_data_ok" if data.access.personal_data_ok

passed contains "pod_tenant_ok" if data.access.pod_tenant_ok

passed contains "rate_limit_ok" if data.quota.rate_limit_ok

passed contains "query_limit_ok" if data.quota.query_limit_ok

passed contains "tokens_ok" if data.quota.tokens_ok

passed contains "budget_ok" if data.quota.budget_ok

passed contains "document_size_ok" if data.documents.document_size_ok

passed contains "hops_ok" if data.messages.hops_ok

passed contains "message_allowed" if data.messages.message_allowed

passed contains "context_allowed" if data.context.context_allowed

passed contains "memory_allowed" if data.memory.memory_allowed

passed contains "tool_allowed" if data.tools.tool_allowed

failed contains name if {
	some name, _ in required
	not name in passed
}

reasons := (((data.access.reasons | data.quota.reasons) | data.documents.reasons) | data.messages.reasons) | ((data.context.reasons | data.memory.reasons) | data.tools.reasons)

deny contains {"code": reason.code, "message": reason.message} if {
	some reason in reasons
	reason.check in failed
}

deny contains reason if {
	"policies_ok" in failed
	some reason in policy_reasons
}

policy_reasons contains {"code": name, "message": message} if {
	some name, _ in input.policies
	not resource_policy_ok(name)
	message := data.cfg.policies[name].message
}

policy_reasons contains {"code": name, "message": message} if {
	some name, _ in caller_policies
	not caller_policy_ok(name)
	message := data.cfg.policies[name].message
}

policy_reasons contains {"code": "policy_unknown", "message": message} if {
	some names in [input.policies, caller_policies]
	some name, _ in names
	not data.cfg.policies[name]
	message := concat("", ["no rule has the name ", name])
}

# A failed check always has a reason, even if none of the rules above produced one.
deny contains {"code": name, "message": concat("", ["the check ", name, " failed"])} if {
	some name in failed
	not explained(name)
}

explained(name) if {
	some reason in reasons
	reason.check == name
}

explained(name) if {
	name == "policies_ok"
	count(policy_reasons) > 0
}

deny contains {"code": "action_unknown", "message": "the action is unknown"} if {
	count(required) == 0
}
