//! From the paths that rules read to the fields and names that the host sends them.

use super::read_set::{CategoryReads, ConditionalFields, InputField, InputFields, NameReads, PolicyReadSet};
use crate::identity::NameSet;
use crate::rego_text::{Extent, InputRead};

/// Makes the read set of rules that read these paths.
pub(crate) fn from_paths<'a>(reads: impl IntoIterator<Item = &'a InputRead>) -> PolicyReadSet {
    let mut read_set = PolicyReadSet {
        capabilities: NameReads::none(),
        roles: NameReads::none(),
        categories: CategoryReads::None,
        policies: NameReads::none(),
        caller_policies: NameReads::none(),
        unconditional: InputFields::default(),
        conditional: ConditionalFields::default(),
    };
    for (path, extent) in reads {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        // An object that every input has is an object however much of it is sent.
        if *extent == Extent::Type && is_never_absent(&path) {
            continue;
        }
        add(&mut read_set, &path, *extent);
    }
    read_set
}

/// True for the objects that are sent even if they are empty.
fn is_never_absent(path: &[&str]) -> bool {
    matches!(path, [] | ["agent" | "facts" | "policies" | "usage" | "user"] | ["user", "roles" | "permissions"])
}

/// Adds a path and everything below it.
fn add(read_set: &mut PolicyReadSet, path: &[&str], extent: Extent) {
    let fields: &[InputField] = match path {
        [] => {
            *read_set = PolicyReadSet::whole();
            return;
        }
        ["agent"] => {
            read_set.capabilities = NameReads::All;
            &[InputField::AgentId]
        }
        ["agent", "id", ..] => &[InputField::AgentId],
        ["agent", "capabilities", name @ ..] => {
            add_name(&mut read_set.capabilities, name);
            &[]
        }
        ["caller_policies", name @ ..] => {
            add_name(&mut read_set.caller_policies, name);
            &[]
        }
        ["policies", name @ ..] => {
            add_name(&mut read_set.policies, name);
            &[]
        }
        ["resource", ..] => &[InputField::Resource],
        ["usage"] => &[InputField::RateLimit, InputField::QueryLimit],
        ["usage", "requests", ..] | ["user", "rate_limit", ..] => &[InputField::RateLimit],
        ["usage", "queries", ..] | ["user", "query_limit", ..] => &[InputField::QueryLimit],
        ["user"] => {
            read_set.roles = NameReads::All;
            read_set.categories = CategoryReads::All;
            &[
                InputField::UserId,
                InputField::Tenant,
                InputField::PiiAccess,
                InputField::RateLimit,
                InputField::QueryLimit,
            ]
        }
        ["user", "id", ..] => &[InputField::UserId],
        ["user", "tenant", ..] => &[InputField::Tenant],
        ["user", "roles", name @ ..] => {
            add_name(&mut read_set.roles, name);
            &[]
        }
        ["user", "permissions"] => {
            read_set.categories = CategoryReads::All;
            &[InputField::PiiAccess]
        }
        ["user", "permissions", "pii_access", ..] => &[InputField::PiiAccess],
        ["user", "permissions", "allowed_categories", ..] => {
            let is_of_agent = extent == Extent::AgentCategory && read_set.categories != CategoryReads::All;
            read_set.categories = if is_of_agent { CategoryReads::OfAgent } else { CategoryReads::All };
            &[]
        }
        ["facts", ..] => {
            add_facts(read_set, path);
            &[]
        }
        // The host sends the rest in every input, and nothing at a path that does not exist.
        _ => &[],
    };
    fields.iter().for_each(|field| read_set.unconditional.insert(*field));
}

fn add_facts(read_set: &mut PolicyReadSet, path: &[&str]) {
    let read = path.get(..2).unwrap_or(path).join(".");
    for (field, _, known) in InputField::ALL {
        if known == read || (read == "facts" && known.starts_with("facts.")) {
            read_set.unconditional.insert(field);
        }
    }
}

/// Adds one name of a set, or all of them.
fn add_name(reads: &mut NameReads, path: &[&str]) {
    match (&reads, path.first()) {
        (NameReads::Only(names), Some(name)) => {
            *reads = NameReads::Only(names.union(&NameSet::from_iter([*name])));
        }
        (NameReads::Only(_), None) => *reads = NameReads::All,
        (NameReads::All | NameReads::Except(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::access_request::Input;
    use crate::access_request::input_path::paths;

    /// An input that has every field, each set with several names.
    fn full_input() -> Input {
        let facts = InputField::ALL.iter().filter_map(|(_, _, path)| path.strip_prefix("facts."));
        let facts: serde_json::Map<_, _> = facts.map(|fact| (fact.to_owned(), json!(1))).collect();
        let names = json!({ "one": 1, "two": 1, "business_ops": 1 });
        serde_json::from_value(json!({
            "action": "invoke", "caller": "agent", "document_bytes": 7, "hops": 2, "resource": "something",
            "agent": { "id": "an_agent", "category": "business_ops", "capabilities": names },
            "policies": names, "caller_policies": names, "facts": facts,
            "usage": { "requests": 1, "queries": 2, "unlimited": 1, "tokens_left": 3, "usd_left": 4 },
            "user": {
                "id": "a_user", "tenant": "acme", "roles": names, "rate_limit": 5, "query_limit": 6,
                "permissions": { "allowed_categories": names, "pii_access": true },
            },
        }))
        .unwrap()
    }

    fn pruned(read_set: &PolicyReadSet) -> Value {
        serde_json::from_slice(&full_input().to_pruned_json(read_set).unwrap()).unwrap()
    }

    fn read_set(paths: &[(&str, Extent)]) -> PolicyReadSet {
        let split = |path: &str| path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        from_paths(&paths.iter().map(|(path, extent)| (split(path), *extent)).collect::<Vec<InputRead>>())
    }

    #[test]
    fn every_path_that_is_read_is_sent_whole() {
        let whole = serde_json::to_value(full_input()).unwrap();
        for path in paths().iter().map(String::as_str).chain([
            "",
            "user.roles.two",
            "policies.one",
            "caller_policies.one",
            "agent.capabilities.two",
            "user.permissions.allowed_categories.one",
        ]) {
            let pointer: String =
                path.split('.').filter(|name| !name.is_empty()).map(|name| format!("/{name}")).collect();
            let expected = whole.pointer(&pointer);
            assert!(expected.is_some(), "{path} is not in the input");
            assert_eq!(pruned(&read_set(&[(path, Extent::Value)])).pointer(&pointer), expected, "{path}");
        }
    }

    #[test]
    fn a_field_that_is_not_read_is_not_sent() {
        let nothing = json!({
            "action": "invoke", "caller": "agent", "document_bytes": 7, "hops": 2,
            "agent": { "category": "business_ops" },
            "policies": {}, "facts": {}, "usage": { "unlimited": 1, "tokens_left": 3, "usd_left": 4 },
            "user": { "roles": {}, "permissions": {} },
        });
        assert_eq!(pruned(&read_set(&[])), nothing);
        let types = ["", "agent", "facts", "policies", "usage", "user", "user.roles", "user.permissions"];
        assert_eq!(pruned(&read_set(&types.map(|path| (path, Extent::Type)))), nothing);
        let some = pruned(&read_set(&[
            ("user.roles.two", Extent::Value),
            ("facts.audited", Extent::Value),
            ("user.permissions.allowed_categories", Extent::AgentCategory),
        ]));
        assert_eq!(some["user"]["roles"], json!({ "two": 1 }));
        assert_eq!(some["facts"], json!({ "audited": 1 }));
        assert_eq!(some["user"]["permissions"], json!({ "allowed_categories": { "business_ops": 1 } }));
    }

    #[test]
    fn the_type_of_a_value_that_may_be_absent_is_read_with_the_value() {
        for path in [
            "resource",
            "caller_policies",
            "agent.capabilities",
            "facts.audited",
            "user.permissions.allowed_categories",
        ] {
            assert_eq!(read_set(&[(path, Extent::Type)]), read_set(&[(path, Extent::Value)]), "{path}");
        }
    }

    #[test]
    fn a_whole_input_is_pruned_of_nothing() {
        assert!(read_set(&[("", Extent::Value), ("user.id", Extent::Value)]).is_whole());
        assert_eq!(pruned(&PolicyReadSet::whole()), serde_json::to_value(full_input()).unwrap());
    }
}
