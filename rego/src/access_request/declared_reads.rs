//! The `reads` of a bundle's `guard/checks`: what its author declares that the rules read, by action, by
//! kind of caller, and by policy. Only the embedded bundle is pruned by it, because tests prove it; of any
//! other it is compared with what is derived.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::input::Action;
use super::input_path::did_you_mean;
use super::read_set::{CategoryReads, ConditionalFields, InputField, InputFields, NameReads, PolicyReadSet};
use crate::identity::NameSet;

/// The kinds of callers that any policy may allow.
const CALLERS: [&str; 4] = ["agent", "team", "user", "workflow"];

type FieldTable = BTreeMap<String, BTreeMap<String, u8>>;

/// The `reads` as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadsManifest {
    roles: NameSet,
    binds: BTreeMap<String, PolicyScope>,
    actions: FieldTable,
    callers: FieldTable,
    policies: FieldTable,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum PolicyScope {
    Resource,
    Caller,
}

/// What a bundle declares that its rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredReads {
    roles: NameSet,
    /// The policies that bind a definition as the resource of a call, and not as a caller.
    binds_resource: NameSet,
    /// The policies that bind a definition as a caller, and not as the resource of a call.
    binds_caller: NameSet,
    fields: ConditionalFields,
}

impl ReadsManifest {
    /// Looks the names up. The error names the first one that does not exist.
    pub(crate) fn resolve(self) -> Result<DeclaredReads, String> {
        let names_of = |scope| self.binds.iter().filter(|(_, binds)| **binds == scope).map(|(name, _)| name).collect();
        let (binds_resource, binds_caller) = (names_of(PolicyScope::Resource), names_of(PolicyScope::Caller));
        let callers = resolve_table("callers", self.callers, &CALLERS)?;
        let policies: Vec<_> = self.binds.keys().map(String::as_str).collect();
        let policies = resolve_table("policies", self.policies, &policies)?;
        let actions = resolve_table("actions", self.actions, &Action::ALL.map(Action::as_str))?;
        let actions = actions.into_iter().filter_map(|(name, fields)| {
            Some((Action::ALL.into_iter().find(|action| action.as_str() == name)?, fields))
        });
        let fields = ConditionalFields { actions: actions.collect(), callers, policies };
        Ok(DeclaredReads { roles: self.roles, binds_resource, binds_caller, fields })
    }
}

fn resolve_table(table: &str, rows: FieldTable, keys: &[&str]) -> Result<BTreeMap<String, InputFields>, String> {
    let resolve_row = |(key, names): (String, BTreeMap<String, u8>)| {
        if !keys.contains(&key.as_str()) {
            let hint = did_you_mean(&key, keys.iter().copied());
            return Err(format!("`reads.{table}` has the unknown name `{key}`{hint}"));
        }
        let fields = names.into_keys().map(|name| {
            InputField::from_name(&name).ok_or_else(|| {
                let hint = did_you_mean(&name, InputField::ALL.iter().map(|(_, known, _)| *known));
                format!("`reads.{table}.{key}` names the field `{name}`, which the input does not have{hint}")
            })
        });
        let fields = fields.collect::<Result<InputFields, String>>()?;
        Ok((key, fields))
    };
    rows.into_iter().map(resolve_row).collect()
}

impl DeclaredReads {
    /// The read set of a policy whose declaration is proven. `capabilities` are those that it declares.
    pub(crate) fn into_read_set(self, capabilities: Option<NameSet>) -> PolicyReadSet {
        PolicyReadSet {
            capabilities: capabilities.map_or(NameReads::All, NameReads::Only),
            roles: NameReads::Only(self.roles),
            categories: CategoryReads::OfAgent,
            policies: NameReads::Except(self.binds_caller),
            caller_policies: NameReads::Except(self.binds_resource),
            unconditional: InputFields::default(),
            conditional: self.fields,
        }
    }

    /// The paths below `input` that a policy with this read set receives more often than it is declared.
    pub(crate) fn narrower_than(&self, derived: &PolicyReadSet) -> Vec<String> {
        let mut paths: Vec<_> =
            derived.unconditional.difference(self.unconditional_fields()).paths().map(str::to_owned).collect();
        match &derived.roles {
            NameReads::Only(names) => {
                let missing = names.iter().filter(|name| !self.roles.contains(name));
                paths.extend(missing.map(|name| format!("user.roles.{name}")));
            }
            NameReads::All | NameReads::Except(_) => paths.push("user.roles".to_owned()),
        }
        if derived.categories == CategoryReads::All {
            paths.push("user.permissions.allowed_categories".to_owned());
        }
        let sets = [
            ("policies", &derived.policies, &self.binds_caller),
            ("caller_policies", &derived.caller_policies, &self.binds_resource),
        ];
        let omitted = sets.into_iter().filter(|(_, names, excluded)| !names.is_none() && !excluded.is_empty());
        paths.extend(omitted.map(|(path, _, _)| path.to_owned()));
        paths.sort_unstable();
        paths
    }

    /// The fields that are declared for every action, or for every kind of caller.
    fn unconditional_fields(&self) -> InputFields {
        let ConditionalFields { actions, callers, policies: _ } = &self.fields;
        let in_all = |rows: Vec<Option<&InputFields>>| {
            let rows = rows.into_iter().map(|fields| fields.copied().unwrap_or_default());
            rows.fold(InputFields::ALL, InputFields::intersection)
        };
        let by_action = in_all(Action::ALL.iter().map(|action| actions.get(action)).collect());
        by_action.union(in_all(CALLERS.iter().map(|caller| callers.get(*caller)).collect()))
    }
}
