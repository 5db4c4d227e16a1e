# What a document must be before anything in it is compared: Rego orders across types, so that
# null is less than every number, and a text more.
package guard

input_ok if {
	is_string(input.action)
	is_number(input.bytes)
	is_number(input.hops)
	is_object(input.policies)
	is_object(input.proven)
	is_string(input.speaker.kind)
	is_object(input.speaker.policies)
	is_number(input.usage.requests)
	is_number(input.usage.tokens_left)
	is_number(input.usage.usd_left)
	is_string(input.user.id)
	is_string(input.user.tenant)
	is_object(input.user.roles)
	is_object(input.user.permissions.allowed_categories)
	is_boolean(input.user.permissions.pii_access)
	is_number(input.user.rate_limit)
}

agent_ok if {
	is_string(input.agent.id)
	is_string(input.agent.category)
	is_object(input.agent.capabilities)
}
