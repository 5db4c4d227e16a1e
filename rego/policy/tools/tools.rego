# The tools that an agent may call.
package tools

tool_allowed if {
	is_string(input.resource)
	input.facts.tool_declared == 1
}

# The policy binds every hop below the definition that names it.
caller_policy_ok(name) if {
	name == "no_tools"
	input.action != "call_tool"
}

# The source of a tool says whether its calls leave the organization.
caller_policy_ok(name) if {
	name == "no_external_tools"
	input.action != "call_tool"
}

caller_policy_ok(name) if {
	name == "no_external_tools"
	input.facts.internal_tool == 1
}

reasons contains {"check": "tool_allowed", "code": "tool_not_declared", "message": message} if {
	message := concat("", ["the agent does not name the tool ", input.resource, " in its definition"])
}
