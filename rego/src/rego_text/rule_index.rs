//! The rules of all files by their paths, and which of them a reference may mean.

use std::collections::BTreeMap;

use super::module::{Module, Rule};

/// The rules by their paths.
pub(super) struct RuleIndex<'m, 's> {
    rules: BTreeMap<&'m [String], Vec<(&'m Module<'s>, &'m Rule)>>,
}

impl<'m, 's> RuleIndex<'m, 's> {
    pub(super) fn new(modules: &'m [Module<'s>]) -> Self {
        let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for module in modules {
            for rule in &module.rules {
                rules.entry(rule.path.as_slice()).or_default().push((module, rule));
            }
        }
        Self { rules }
    }

    /// The rules of which a reference to this path reads a part: those at the path, below it, and above it.
    pub(super) fn matches(&self, path: &[String]) -> Vec<(&'m Module<'s>, &'m Rule)> {
        let below = self.rules.range(path..).take_while(|(found, _)| found.starts_with(path)).map(|(_, rules)| rules);
        let above = (1..path.len()).filter_map(|length| self.rules.get(path.get(..length)?));
        below.chain(above).flatten().copied().collect()
    }
}
