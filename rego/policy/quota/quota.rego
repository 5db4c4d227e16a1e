# Quotas: requests and queries in the last hour, tokens, money.
package quota

# The host counts the request before the decision, so a count equal to the limit is allowed.
rate_limit_ok if {
	input.caller == "user"
	is_number(input.usage.requests)
	is_number(input.user.rate_limit)
	input.usage.requests <= input.user.rate_limit
}

# Nested requests are not counted: the user's request was.
rate_limit_ok if data.cfg.callers.inner[input.caller] == 1

rate_limit_ok if resumes

# Queries have a limit of their own: a dashboard that polls uses up no other request.
query_limit_ok if {
	input.caller == "user"
	is_number(input.usage.queries)
	is_number(input.user.query_limit)
	input.usage.queries <= input.user.query_limit
}

query_limit_ok if data.cfg.callers.inner[input.caller] == 1

tokens_ok if has_remaining(input.usage.tokens_left)

tokens_ok if input.usage.unlimited == 1

tokens_ok if resumes

tokens_ok if compensates

budget_ok if has_remaining(input.usage.usd_left)

budget_ok if input.usage.unlimited == 1

budget_ok if resumes

budget_ok if compensates

# The host continues work that was permitted before: it resumes a run after its process ended, or a run that
# is resumed calls an inner run that has started already. That is no request of the user, and needs no quota; each
# further call of the run does.
resumes if {
	input.facts.resumes == 1
	data.cfg.calls.resumable[input.action] == 1
}

# The host compensates a step of a run: the call of the step was permitted before, and what it did has to be reversible
# also if the user or the tenant has nothing left. What a compensation may spend is bounded by its own budget.
compensates if {
	input.facts.compensates == 1
	data.cfg.callers.inner[input.caller] == 1
	data.cfg.calls.compensating[input.action] == 1
}

# The host writes -1 for an amount without a limit if the other amount has one.
has_remaining(amount) if amount == -1

has_remaining(amount) if {
	is_number(amount)
	amount > 0
}

resource_policy_ok(name) if {
	name == "require_budget"
	is_number(input.usage.usd_left)
	input.usage.usd_left >= 0
}

resource_policy_ok(name) if {
	name == "require_budget"
	input.facts.cost_limited == 1
}

# These actions spend nothing: a run that is resumed has its budget at each of its calls.
resource_policy_ok(name) if {
	name == "require_budget"
	data.cfg.calls.free[input.action] == 1
}

reasons contains {"check": check, "code": "usage_unknown", "message": "the usage so far is unknown"} if {
	some check, name in {"rate_limit_ok": "requests", "query_limit_ok": "queries", "tokens_ok": "tokens_left", "budget_ok": "usd_left"}
	not has_number(name)
}

has_number(name) if is_number(input.usage[name])

reasons contains {"check": "rate_limit_ok", "code": "rate_limit_exceeded", "message": message} if {
	input.usage.requests > input.user.rate_limit
	message := concat("", [
		data.guard.number_text(input.usage.requests), " requests in the last hour, ",
		data.guard.number_text(input.user.rate_limit), " are allowed",
	])
}

reasons contains {"check": "query_limit_ok", "code": "query_limit_exceeded", "message": message} if {
	input.usage.queries > input.user.query_limit
	message := concat("", [
		data.guard.number_text(input.usage.queries), " queries in the last hour, ",
		data.guard.number_text(input.user.query_limit), " are allowed",
	])
}

reasons contains {
	"check": "tokens_ok",
	"code": "tokens_exhausted",
	"message": "the user or the tenant has no tokens left",
} if {
	input.usage.tokens_left == 0
}

reasons contains {
	"check": "budget_ok",
	"code": "budget_exhausted",
	"message": "the user or the tenant has no money left",
} if {
	input.usage.usd_left == 0
}
