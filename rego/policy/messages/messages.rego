# Who may speak to whom, and how long a chain of calls may be.
package messages

hops_ok if {
	input.hops >= 1
	input.hops <= data.cfg.hops_max
}

# A user begins the chain.
message_allowed if {
	input.caller == "user"
	input.hops == 1
	data.cfg.user_actions[input.action] == 1
}

# A workflow calls what its steps name.
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

# Whose memory it is, is judged by the area of that name.
message_allowed if {
	input.caller == "agent"
	data.cfg.calls.memory[input.action] == 1
}

# Whose context it is, is judged by the area of that name.
message_allowed if {
	data.cfg.callers.inner[input.caller] == 1
	data.cfg.calls.context[input.action] == 1
}

holds(name) if {
	name == "team_members_only"
	input.facts.team_member == 1
}

# A team and a workflow have no members to be one of; it binds the agents.
holds(name) if {
	name == "team_members_only"
	input.action != "invoke"
}

# Bound is the agent that carries the policy, whenever it speaks.
binds(name) if {
	name == "no_agent_delegation"
	data.cfg.calls.silent[input.action] == 1
}

reasons contains {"check": "hops_ok", "code": "hops_exceeded", "message": message} if {
	message := concat("", [
		"the chain of calls has ", format_int(input.hops, 10), " callers, ",
		format_int(data.cfg.hops_max, 10), " are allowed",
	])
}

reasons contains {"check": "message_allowed", "code": "caller_not_allowed", "message": message} if {
	message := concat("", ["this ", input.caller, " may not ask for ", input.action, " here", hint])
}

default hint := ""

hint := ": no step of it calls this" if {
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

hint := ": it is not one of the team's" if {
	input.caller == "team"
	not input.facts.team_workflow == 1
	not input.facts.team_member == 1
}
