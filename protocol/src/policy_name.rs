//! The name of a policy as a definition and the guard exchange it: alone, or with its parameter.

/// Separates the name of a policy from its parameter: `max_document_size=5242880`.
pub const PARAMETER_MARK: char = '=';

/// Splits a policy into its name and its parameter. A policy without one, or whose parameter is not a whole number,
/// has none: whoever enforces the policy then denies, because the name alone proves nothing.
#[must_use]
pub fn split(policy: &str) -> (&str, Option<u64>) {
    match policy.split_once(PARAMETER_MARK) {
        Some((name, parameter)) => (name, parameter.parse().ok()),
        None => (policy, None),
    }
}

/// Joins the name of a policy and its parameter.
#[must_use]
pub fn join(name: &str, parameter: u64) -> String {
    format!("{name}{PARAMETER_MARK}{parameter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_with_a_parameter_is_split_where_it_was_joined() {
        assert_eq!(split(&join("max_document_size", 5_242_880)), ("max_document_size", Some(5_242_880)));
        assert_eq!(split("require_authentication"), ("require_authentication", None));
        assert_eq!(split("max_document_size=5mb"), ("max_document_size", None));
        assert_eq!(split("max_document_size="), ("max_document_size", None));
    }
}
