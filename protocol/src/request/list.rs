//! The arguments of the queries that list: the page, and what the list has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::event::RunStatus;
use crate::id::WorkflowId;
use crate::limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// The cursor from the previous page; absent for the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The maximum number of rows; 0 means the default.
    pub limit: u32,
}

impl Page {
    /// Returns the limit, with the default and the maximum applied.
    #[must_use]
    pub const fn effective_limit(&self) -> u32 {
        match self.limit {
            0 => PAGE_ROWS_DEFAULT,
            1..PAGE_ROWS_MAX => self.limit,
            PAGE_ROWS_MAX.. => PAGE_ROWS_MAX,
        }
    }

    /// Parses the cursor: the number after which the page begins.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if it is not a cursor of a previous page.
    pub fn cursor(&self) -> Result<Option<u64>, Cause> {
        let number = self.after.as_deref().map(str::parse).transpose();
        number.map_err(|_| {
            let found = self.after.as_deref().unwrap_or_default();
            Cause::new(ErrorCode::InvalidInput, format!("`{found}` is not a cursor; use `next` of the previous page"))
        })
    }
}

/// Which runs a list has. An absent member does not restrict it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunListFilter {
    /// Only runs with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// Only runs of this workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
}
