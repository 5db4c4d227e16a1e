//! The scope of an expression: the values of a run that references and conditions can name.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, StepId, Values};

/// The values that an expression can reference.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The run's inputs.
    pub inputs: &'a Values,
    /// The run's or team's context.
    pub context: &'a Values,
    /// The outputs of each finished step, from [`crate::binding::step_outputs`]. A step that is not there was skipped,
    /// and what refers to it is absent.
    pub steps: &'a BTreeMap<StepId, Values>,
    /// The item of a `for_each`.
    pub item: Option<&'a Json>,
    /// The index of the item, from 0.
    pub index: Option<u32>,
}

impl<'a> Scope<'a> {
    /// Creates a scope outside of a `for_each`.
    #[must_use]
    pub const fn new(inputs: &'a Values, context: &'a Values, steps: &'a BTreeMap<StepId, Values>) -> Self {
        Self { inputs, context, steps, item: None, index: None }
    }

    /// Returns the scope of one item of a `for_each`.
    #[must_use]
    pub const fn with_item(self, item: &'a Json, index: u32) -> Self {
        Self { item: Some(item), index: Some(index), ..self }
    }
}
