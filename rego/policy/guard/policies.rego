# The policies that definitions name: every name has a rule, and an unknown name denies. They bind the
# definition that names them and every hop below it; the host adds those of all callers to the input.
package guard

policies_ok if {
	resource_policies_ok
	caller_policies_ok
}

definition_policies_ok if policies_ok

# A run can always be cancelled, approved, rejected and resumed, whatever its definition names: the policies
# bind what the run does next.
definition_policies_ok if data.cfg.calls.exempt[input.action] == 1

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

# This policy binds the hops below its definition, not the call of it.
resource_policy_ok(name) if data.cfg.policies[name].binds == "caller"

caller_policies_ok if count(caller_policies) == 0

caller_policies_ok if {
	every name, one in caller_policies {
		one == 1
		caller_policy_ok(name)
	}
}

# This policy is one of `input.policies` too, and checked there.
caller_policy_ok(name) if data.cfg.policies[name].binds == "resource"

caller_policy_ok(name) if data.messages.caller_policy_ok(name)

caller_policy_ok(name) if data.context.caller_policy_ok(name)

caller_policy_ok(name) if data.tools.caller_policy_ok(name)

# The obligations of the host while it executes the allowed request.
obligations[obligation] := 1 if {
	some name, obligation in data.cfg.obligations
	input.policies[name] == 1
}
