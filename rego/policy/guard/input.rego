# The types of the fields, checked before any value is compared: Rego orders values across types, so
# that null is less than every number, and a string is more.
package guard

input_ok if {
	is_string(input.action)
	is_object(caller_policies)
	is_number(input.document_bytes)
	is_number(input.hops)
	is_object(input.policies)
	is_object(input.facts)
	is_string(input.caller)
	is_object(input.usage)
	is_object(input.user.roles)
	is_object(input.user.permissions)
}

agent_ok if {
	is_string(input.agent.category)
	is_object(data.access.capabilities)
}

# The host omits the caller's policies if there are none.
caller_policies := object.get(input, "caller_policies", {})
