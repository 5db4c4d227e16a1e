//! What a table says about a period: the document that `native.data_collection` gives and that
//! narratives, charts and the report are made from. Every figure is computed exactly and written
//! once, here; nothing downstream adds up again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use greenroom_protocol::Json;

pub(crate) mod compute;

/// Named totals.
pub type Totals = BTreeMap<String, Number>;

/// The facts of one file about one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFacts {
    /// What the file is called; never a path.
    pub file: String,
    /// Rows of the file.
    pub rows: u64,
    /// Its columns, in its order.
    pub columns: Vec<ColumnFact>,
    /// The column that says when a row happened.
    pub date_column: Option<String>,
    /// What the measures are about.
    pub period: PeriodFact,
    /// The quarter before, if the file has rows of it.
    pub previous: Option<PeriodFact>,
    /// What growth compares; none if there is nothing to compare.
    pub growth: Option<GrowthFact>,
    /// One for each number column, in the file's order.
    pub measures: Vec<Measure>,
    /// The measures that a headline takes, the most telling first.
    pub headline: Vec<String>,
    /// Totals of each month of the file, the oldest first.
    pub by_month: Vec<Month>,
    /// Totals of the period by each column that groups rows.
    pub breakdowns: Vec<Breakdown>,
    /// A few records of the period, as they stand in the file.
    pub sample: Vec<BTreeMap<String, String>>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFact {
    /// Its name.
    pub name: String,
    /// `date`, `number`, `category` or `text`.
    pub kind: String,
}

/// A period that has rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodFact {
    /// `Q4 2024`, or the range of the whole file.
    pub label: String,
    /// Its first day; none without a date column.
    pub from: Option<String>,
    /// Its last day.
    pub to: Option<String>,
    /// Rows in it.
    pub rows: u64,
}

/// What growth compares: the labels of the two periods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowthFact {
    /// The later one.
    pub now: String,
    /// The earlier one.
    pub before: String,
}

/// One number column over the period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The column.
    pub name: String,
    /// Its sign, such as `$`.
    pub unit: Option<String>,
    /// Cells that have a figure.
    pub count: u64,
    /// Their sum.
    pub total: Number,
    /// Their mean.
    pub mean: Option<Number>,
    /// The least.
    pub min: Option<Number>,
    /// The greatest.
    pub max: Option<Number>,
    /// The total of the later period of the comparison.
    pub compared_total: Option<Number>,
    /// The total of the earlier one.
    pub previous_total: Option<Number>,
    /// By how many per cent the later one differs; none where there is nothing to compare with.
    pub growth_pct: Option<Number>,
    /// True if less of it is better.
    #[serde(default)]
    pub lower_is_better: bool,
}

/// One month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Month {
    /// `2024-11`
    pub month: String,
    /// Rows in it.
    pub rows: u64,
    /// True if it lies in the period.
    pub in_period: bool,
    /// The totals of the headline's measures.
    pub totals: Totals,
}

/// The period by one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// The column.
    pub column: String,
    /// Its groups, the largest first.
    pub groups: Vec<Group>,
}

/// One group of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What the column says.
    pub value: String,
    /// Rows in it.
    pub rows: u64,
    /// Its part of the first measure of the headline, in per cent.
    pub share_pct: Option<Number>,
    /// Growth of the first measure of the headline, in per cent.
    pub growth_pct: Option<Number>,
    /// The totals of the headline's measures.
    pub totals: Totals,
}

impl TableFacts {
    /// Reads a value as facts; `None` if it is something else.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        // Two members that no other document has, looked at before anything is copied.
        let object = value.as_object()?;
        if !(object.contains_key("measures") && object.contains_key("by_month")) {
            return None;
        }
        Self::deserialize(value).ok()
    }

    /// The measure of this name.
    #[must_use]
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// The headline's measures, the most telling first.
    pub fn headline(&self) -> impl Iterator<Item = &Measure> {
        self.headline.iter().filter_map(|name| self.measure(name))
    }
}
