# The policies that a definition names: every name is a rule that runs, and an unknown one denies.
package guard

policies_ok if {
	targets_hold
	speakers_hold
}

targets_hold if count(input.policies) == 0

targets_hold if {
	every name, one in input.policies {
		one == 1
		target_holds(name)
	}
}

target_holds(name) if data.access.holds(name)

target_holds(name) if data.quota.holds(name)

target_holds(name) if data.documents.holds(name)

target_holds(name) if data.messages.holds(name)

# It binds the agent when it speaks, not when it is called.
target_holds(name) if data.cfg.policies[name].binds == "speaker"

speakers_hold if count(bound) == 0

speakers_hold if {
	input.speaker == "agent"
	every name, one in bound {
		one == 1
		speaker_holds(name)
	}
}

# It was judged when the agent itself was called.
speaker_holds(name) if data.cfg.policies[name].binds == "target"

speaker_holds(name) if data.messages.binds(name)

speaker_holds(name) if data.context.binds(name)

speaker_holds(name) if data.tools.binds(name)

# What the host has to keep to while it does what was allowed.
obligations[obligation] := 1 if {
	some name, obligation in data.cfg.obligations
	input.policies[name] == 1
}
