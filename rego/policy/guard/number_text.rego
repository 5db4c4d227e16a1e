# Numbers in the messages of reasons.
package guard

# The digits of a number as the host wrote them. `format_int` traps in the module if a number needs more
# than 32 bits, so a document of 3 GB would have been an evaluation error instead of one that is too large.
number_text(number) := json.marshal(number) if is_number(number)
