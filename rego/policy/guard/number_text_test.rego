package guard_number_text_test

import data.fixtures
import data.guard

test_a_number_of_any_size_is_written_exactly if {
	guard.number_text(18446744073709551615) == "18446744073709551615"
	guard.number_text(-9007199254740993) == "-9007199254740993"
	guard.number_text(0) == "0"
}

test_only_a_number_has_the_text_of_a_number if {
	not guard.number_text("7")
	not guard.number_text(null)
}

test_a_reason_names_numbers_beyond_a_double if {
	document := object.union(fixtures.invoke, {"usage": {"requests": 9007199254740993}, "user": {"rate_limit": 9007199254740992}})
	decision := guard.decision with input as document
	decision.deny == {{
		"code": "rate_limit_exceeded",
		"message": "9007199254740993 requests in the last hour, 9007199254740992 are allowed",
	}}
}
