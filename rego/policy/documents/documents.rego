# The size of values, and whether an external model may receive them.
package documents

document_size_ok if input.document_bytes <= data.cfg.bytes_max

# The host compares the size with the parameter of the policy: that of the definition, and those of all callers.
resource_policy_ok(name) if {
	name == "max_document_size"
	input.facts.document_within_limit == 1
}

resource_policy_ok(name) if {
	name == "max_document_size_10mb"
	input.document_bytes <= 10485760
}

resource_policy_ok(name) if {
	name == "max_document_size_1mb"
	input.document_bytes <= 1048576
}

# The host also enforces it while it selects the model, see the obligation.
resource_policy_ok(name) if {
	name == "deny_external_models"
	model_is_internal
}

model_is_internal if input.facts.internal_model == 1

# Only an invocation calls a model.
model_is_internal if data.cfg.calls.free[input.action] == 1

model_is_internal if data.cfg.kinds[input.action] == "start"

reasons contains {"check": "document_size_ok", "code": "document_too_large", "message": message} if {
	message := concat("", [
		"a value has ", data.guard.number_text(input.document_bytes), " bytes, ",
		data.guard.number_text(data.cfg.bytes_max), " are allowed",
	])
}
