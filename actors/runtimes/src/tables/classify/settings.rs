//! What is known about a table before its cells are read.

use super::notation::Notation;
use crate::tables::dates::DateSettings;

/// What the caller states about a table, and what the file suggests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClassifySettings {
    /// The dates.
    pub(crate) dates: DateSettings,
    /// The decimal mark of the columns whose figures do not show it, if the caller states it.
    pub(crate) notation: Option<Notation>,
}
