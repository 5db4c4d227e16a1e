//! The values that expressions name: an effect of a run loads these and no others.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::{StepId, Values};

use crate::expr::{Expr, ReferenceRoot};

/// Names of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Every name.
    All,
    /// These names; possibly none.
    Only(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Names {
    /// Adds a name; `None` adds every name.
    pub fn add(&mut self, name: Option<&str>) {
        match (&mut *self, name) {
            (Self::All, _) => {}
            (Self::Only(names), Some(name)) => {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
            (Self::Only(_), None) => *self = Self::All,
        }
    }

    /// True if no value is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only(names) if names.is_empty())
    }

    /// True if the value of this name is named.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// The named ones of these values.
    #[must_use]
    pub fn select(&self, values: &Values) -> Values {
        match self {
            Self::All => values.clone(),
            Self::Only(names) => {
                names.iter().filter_map(|name| Some((name.clone(), values.get(name)?.clone()))).collect()
            }
        }
    }

    /// Removes the values that are not named.
    pub fn retain(&self, values: &mut Values) {
        values.retain(|name, _| self.contains(name));
    }
}

/// The values of a run that expressions name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedValues {
    /// The run's inputs.
    pub inputs: Names,
    /// The keys of the context.
    pub context: Names,
    /// The outputs, by step. A step without a named output is there because it matters whether it was skipped.
    pub steps: BTreeMap<StepId, Names>,
}

impl NamedValues {
    /// Adds the values that these expressions name.
    pub(crate) fn add_exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        for reference in exprs.into_iter().flat_map(Expr::references) {
            let name = reference.name();
            match &reference.root {
                ReferenceRoot::Inputs => self.inputs.add(name),
                ReferenceRoot::Context => {
                    self.context.add(name);
                    name.into_iter().for_each(|name| self.inputs.add(Some(name)));
                }
                ReferenceRoot::Step(step) => self.steps.entry(step.clone()).or_default().add(name),
                ReferenceRoot::Item | ReferenceRoot::Index => {}
            }
        }
    }

    /// Adds an output of a step; `None` adds all of them. An id that no step can have names nothing.
    pub(crate) fn add_step(&mut self, step: &str, name: Option<&str>) {
        if let Ok(step) = StepId::new(step) {
            self.steps.entry(step).or_default().add(name);
        }
    }

    /// Adds a step without its outputs.
    pub(crate) fn add_step_only(&mut self, step: &str) {
        if let Ok(step) = StepId::new(step) {
            self.steps.entry(step).or_default();
        }
    }
}
