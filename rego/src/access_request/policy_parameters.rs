//! Policies with a parameter: their names for the rules, and the facts that follow from their parameters. A rule reads
//! no parameter, because the policy input has sets of names only.

use greenroom_protocol::policy_name;

use crate::identity::NameSet;

/// The policy that bounds the size of a value.
const DOCUMENT_SIZE: &str = "max_document_size";

/// The policies without their parameters.
pub(super) fn names(policies: &NameSet) -> NameSet {
    if policies.iter().all(|policy| policy_name::split(policy).0.len() == policy.len()) {
        return policies.clone();
    }
    policies.iter().map(|policy| policy_name::split(policy).0).collect()
}

/// True if one of the policies bounds the size, and all of those allow this number of bytes. A policy whose parameter
/// cannot be read allows nothing.
pub(super) fn is_document_within_limit(policies: &NameSet, document_bytes: u64) -> bool {
    let mut limits = policies
        .iter()
        .map(policy_name::split)
        .filter(|(name, _)| *name == DOCUMENT_SIZE)
        .map(|(_, limit)| limit.is_some_and(|limit| document_bytes <= limit))
        .peekable();
    limits.peek().is_some() && limits.all(|is_within| is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(policies: &[&str]) -> NameSet {
        policies.iter().copied().collect()
    }

    #[test]
    fn rules_read_names_only() {
        let with = set(&["max_document_size=1024", "max_document_size=2048", "no_tools"]);
        assert_eq!(names(&with), set(&["max_document_size", "no_tools"]));
        assert_eq!(names(&set(&["no_tools"])), set(&["no_tools"]));
    }

    #[test]
    fn the_smallest_limit_of_the_chain_holds() {
        let both = set(&["max_document_size=1024", "max_document_size=2048"]);
        assert!(is_document_within_limit(&both, 1_024));
        assert!(!is_document_within_limit(&both, 1_025));
    }

    #[test]
    fn without_a_readable_limit_nothing_is_proven() {
        for policies in [&[] as &[&str], &["no_tools"], &["max_document_size"], &["max_document_size=1mb"]] {
            assert!(!is_document_within_limit(&set(policies), 0), "{policies:?}");
        }
        assert!(!is_document_within_limit(&set(&["max_document_size=1024", "max_document_size"]), 0));
    }
}
