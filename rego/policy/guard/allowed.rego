package guard

# METADATA
# title: The hot decision
# description: Allow with its obligations, or undefined, which is a denial. One conjunction without texts.
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": obligations} if {
	input_ok
	data.messages.hops_ok
	data.access.access_allowed
	data.messages.message_allowed
	kind_ok
	definition_policies_ok
}

kind := data.cfg.kinds[input.action]

kind_ok if {
	kind == "agent"
	agent_ok
	data.access.pii_access_ok
	data.quota.rate_limit_ok
	data.quota.tokens_ok
	data.quota.budget_ok
	data.documents.document_size_ok
}

kind_ok if {
	kind == "start"
	data.quota.rate_limit_ok
	data.quota.tokens_ok
	data.quota.budget_ok
	data.documents.document_size_ok
}

# The run continues at the expense of its owner.
kind_ok if {
	kind == "resume"
	data.access.tenant_ok
	data.quota.rate_limit_ok
}

kind_ok if {
	kind == "tool"
	agent_ok
	data.access.pii_access_ok
	data.tools.tool_allowed
	data.quota.tokens_ok
	data.quota.budget_ok
	data.documents.document_size_ok
}

kind_ok if {
	kind == "read"
	data.access.tenant_ok
	data.quota.query_limit_ok
	data.context.context_allowed
	data.access.personal_data_ok
}

kind_ok if {
	kind == "write"
	data.access.tenant_ok
	data.context.context_allowed
	data.documents.document_size_ok
}

kind_ok if {
	kind == "recall"
	agent_ok
	data.access.pii_access_ok
	data.quota.query_limit_ok
	data.memory.memory_allowed
}

kind_ok if {
	kind == "memory"
	agent_ok
	data.access.pii_access_ok
	data.memory.memory_allowed
	memory_size_ok
}

kind_ok if {
	kind == "run"
	data.access.tenant_ok
}

kind_ok if {
	kind == "history"
	data.access.tenant_ok
	data.access.personal_data_ok
	data.quota.query_limit_ok
}

kind_ok if {
	kind == "pod"
	data.access.pod_tenant_ok
}

kind_ok if {
	kind == "list"
	data.access.tenant_ok
	data.quota.query_limit_ok
}

kind_ok if {
	kind == "query"
	data.quota.query_limit_ok
}

# Only actions with the check document_size_ok carry a value.
memory_size_ok if not data.cfg.checks[input.action].document_size_ok

memory_size_ok if data.documents.document_size_ok
