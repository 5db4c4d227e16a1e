# Access to the memory of agents. A memory belongs to one agent and one tenant: the host reads and
# writes only that of the user's tenant.
package memory

# A user may read, delete and let documents be read as far as the roles allow; only agents may write what they remember.
memory_allowed if {
	input.caller == "user"
	input.action != "memory_write"
}

# An agent may read and write its own memory only.
memory_allowed if {
	input.caller == "agent"
	input.action != "memory_forget"
	input.action != "memory_ingest"
	input.facts.own_memory == 1
}

reasons contains {"check": "memory_allowed", "code": "not_its_memory", "message": message} if {
	input.caller == "agent"
	not input.facts.own_memory == 1
	message := concat("", ["an agent uses its own memory only, and not that of ", input.resource])
}
