//! The scope of an expression: the values of a run that references and conditions can name.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, StepId, Values};

/// The values that a run has.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The run's inputs.
    pub inputs: &'a Values,
    /// The run's or team's context.
    pub context: &'a Values,
    /// What each finished step gave back, by [`crate::binding::step_outputs`]. A skipped step is not there.
    pub steps: &'a BTreeMap<StepId, Values>,
    /// The item of a `for_each`.
    pub item: Option<&'a Json>,
    /// Its place, from 0.
    pub index: Option<u32>,
}

impl<'a> Scope<'a> {
    /// A scope outside any `for_each`.
    #[must_use]
    pub const fn new(inputs: &'a Values, context: &'a Values, steps: &'a BTreeMap<StepId, Values>) -> Self {
        Self { inputs, context, steps, item: None, index: None }
    }

    /// The same scope for one item of a `for_each`.
    #[must_use]
    pub const fn with_item(self, item: &'a Json, index: u32) -> Self {
        Self { item: Some(item), index: Some(index), ..self }
    }
}
