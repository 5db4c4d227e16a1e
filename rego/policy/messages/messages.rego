# Which caller may call what, and how long a call chain may be.
package messages

hops_ok if {
	input.hops >= 1
	input.hops <= data.cfg.hops_max
}

# A user begins the call chain.
message_allowed if {
	input.caller == "user"
	input.hops == 1
	data.cfg.user_actions[input.action] == 1
}

# A workflow calls the resources that its steps name.
message_allowed if {
	input.caller == "workflow"
	data.cfg.calls.step[input.action] == 1
	input.facts.workflow_step == 1
}

# A team runs its own workflows and calls its own members.
message_allowed if {
	input.caller == "team"
	input.action == "start_run"
	input.facts.team_workflow == 1
}

message_allowed if {
	input.caller == "team"
	input.action == "invoke"
	input.facts.team_member == 1
}

# An agent calls an agent that it may work with and that it names among its tools.
message_allowed if {
	input.caller == "agent"
	input.action == "invoke"
	input.facts.can_work_with == 1
	input.facts.tool_declared == 1
}

message_allowed if {
	input.caller == "agent"
	input.action == "call_tool"
}

# The package memory checks whose memory it is.
message_allowed if {
	input.caller == "agent"
	data.cfg.calls.memory[input.action] == 1
}

# The package context checks whose context it is.
message_allowed if {
	data.cfg.callers.inner[input.caller] == 1
	data.cfg.calls.context[input.action] == 1
}

resource_policy_ok(name) if {
	name == "team_members_only"
	input.facts.team_member == 1
}

# The policy restricts only calls of agents; starting a team or a workflow is not such a call.
resource_policy_ok(name) if {
	name == "team_members_only"
	input.action != "invoke"
}

# The policy binds every hop below the definition that names it. A call by a step of a workflow, or by a
# team, is no delegation: only an agent delegates.
caller_policy_ok(name) if {
	name == "no_agent_delegation"
	data.cfg.calls.without_delegation[input.action] == 1
}

caller_policy_ok(name) if {
	name == "no_agent_delegation"
	data.cfg.callers.owners[input.caller] == 1
}

reasons contains {"check": "hops_ok", "code": "hops_exceeded", "message": message} if {
	message := concat("", [
		"the call chain has ", data.guard.number_text(input.hops), " callers, ",
		data.guard.number_text(data.cfg.hops_max), " are allowed",
	])
}

reasons contains {"check": "message_allowed", "code": "caller_not_allowed", "message": message} if {
	message := concat("", ["this ", input.caller, " may not request ", input.action, " here", hint])
}

default hint := ""

hint := ": none of its steps calls this resource" if {
	input.caller == "workflow"
	not input.facts.workflow_step == 1
}

hint := ": can_work_with does not name the agent" if {
	input.caller == "agent"
	not input.facts.can_work_with == 1
}

hint := ": its tools do not name the agent" if {
	input.caller == "agent"
	input.facts.can_work_with == 1
	not input.facts.tool_declared == 1
}

hint := ": the team's definition does not name it" if {
	input.caller == "team"
	not input.facts.team_workflow == 1
	not input.facts.team_member == 1
}
