# The policies that a definition names: every name has a rule, and an unknown name denies.
package guard

policies_ok if {
	resource_policies_ok
	caller_policies_ok
}

resource_policies_ok if count(input.policies) == 0

resource_policies_ok if {
	every name, one in input.policies {
		one == 1
		resource_policy_ok(name)
	}
}

resource_policy_ok(name) if data.access.resource_policy_ok(name)

resource_policy_ok(name) if data.quota.resource_policy_ok(name)

resource_policy_ok(name) if data.documents.resource_policy_ok(name)

resource_policy_ok(name) if data.messages.resource_policy_ok(name)

# This policy binds the agent as a caller, not as the resource of a call.
resource_policy_ok(name) if data.cfg.policies[name].binds == "caller"

caller_policies_ok if count(caller_policies) == 0

caller_policies_ok if {
	input.caller == "agent"
	every name, one in caller_policies {
		one == 1
		caller_policy_ok(name)
	}
}

# This policy was checked when the agent itself was called.
caller_policy_ok(name) if data.cfg.policies[name].binds == "resource"

caller_policy_ok(name) if data.messages.caller_policy_ok(name)

caller_policy_ok(name) if data.context.caller_policy_ok(name)

caller_policy_ok(name) if data.tools.caller_policy_ok(name)

# The obligations of the host while it executes the allowed request.
obligations[obligation] := 1 if {
	some name, obligation in data.cfg.obligations
	input.policies[name] == 1
}
