# Who may read and change what an agent remembers. A memory belongs to one agent and one tenant: the
# host looks nowhere else than in that of the user's tenant.
package memory

# A user looks, and lets forget, as far as the roles say; what is remembered comes from agents only.
memory_allowed if {
	input.caller == "user"
	input.action != "memory_write"
}

# An agent reads and writes its own memory, and nobody else's.
memory_allowed if {
	input.caller == "agent"
	input.action != "memory_forget"
	input.facts.own_memory == 1
}

reasons contains {"check": "memory_allowed", "code": "not_its_memory", "message": message} if {
	input.caller == "agent"
	not input.facts.own_memory == 1
	message := concat("", ["an agent uses its own memory only, and not that of ", input.resource])
}
