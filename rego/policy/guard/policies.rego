# The policies that a definition names: every name is a rule that runs, and an unknown one denies.
package guard

policies_ok if {
	resources_hold
	callers_hold
}

resources_hold if count(input.policies) == 0

resources_hold if {
	every name, one in input.policies {
		one == 1
		resource_holds(name)
	}
}

resource_holds(name) if data.access.holds(name)

resource_holds(name) if data.quota.holds(name)

resource_holds(name) if data.documents.holds(name)

resource_holds(name) if data.messages.holds(name)

# It binds the agent when it speaks, not when it is called.
resource_holds(name) if data.cfg.policies[name].binds == "caller"

callers_hold if count(caller_policies) == 0

callers_hold if {
	input.caller == "agent"
	every name, one in caller_policies {
		one == 1
		caller_holds(name)
	}
}

# It was judged when the agent itself was called.
caller_holds(name) if data.cfg.policies[name].binds == "resource"

caller_holds(name) if data.messages.binds(name)

caller_holds(name) if data.context.binds(name)

caller_holds(name) if data.tools.binds(name)

# What the host has to keep to while it does what was allowed.
obligations[obligation] := 1 if {
	some name, obligation in data.cfg.obligations
	input.policies[name] == 1
}
