//! The facts about a table in a period: the document that `native.data_collection` returns, and the source
//! of narratives, charts and the report. Every figure is computed here, once and exactly; no consumer adds
//! figures up again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use greenroom_protocol::Json;

use super::note::Note;

pub(crate) mod compute;

/// Maximum depth to which a value is searched for facts.
const DEPTH_MAX: usize = 5;

/// Named totals.
pub type Totals = BTreeMap<String, Number>;

/// The facts of one file about one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFacts {
    /// The name of the file; never a path.
    pub file: String,
    /// Rows of the file.
    pub rows: u64,
    /// Its columns, in its order.
    #[serde(default)]
    pub columns: Vec<ColumnFact>,
    /// The column that dates the rows.
    pub date_column: Option<String>,
    /// The period of the measures.
    pub period: PeriodFact,
    /// The previous quarter, if the file has rows of it.
    pub previous: Option<PeriodFact>,
    /// The periods that growth compares, if there are two.
    pub growth: Option<GrowthFact>,
    /// One for each number column, in the file's order.
    pub measures: Vec<Measure>,
    /// The names of the most important measures, the most important first.
    pub headline: Vec<String>,
    /// The totals of each month of the file, the oldest first.
    pub by_month: Vec<Month>,
    /// The totals of the period by each column that groups rows.
    pub breakdowns: Vec<Breakdown>,
    /// A few records of the period, as in the file.
    #[serde(default)]
    pub sample: Vec<BTreeMap<String, String>>,
    /// How the file was read, as far as another reading was possible.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What a reader of the figures must know: something is missing in them, or may be wrong.
    #[serde(default)]
    pub warnings: Vec<Note>,
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

/// The labels of the two periods that growth compares.
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
    /// Its unit, such as `$`.
    pub unit: Option<String>,
    /// Cells that have a figure.
    pub count: u64,
    /// Their sum.
    pub total: Number,
    /// Their mean.
    pub mean: Option<Number>,
    /// The minimum.
    pub min: Option<Number>,
    /// The maximum.
    pub max: Option<Number>,
    /// The total of the later period of the comparison.
    pub compared_total: Option<Number>,
    /// The total of the earlier one.
    pub previous_total: Option<Number>,
    /// The difference of the later one in per cent, if there is a comparison.
    pub growth_pct: Option<Number>,
    /// True if a lower value is better.
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
    /// True if the period contains rows of it.
    pub in_period: bool,
    /// The totals of the headline's measures.
    pub totals: Totals,
}

/// The totals of the period by one column.
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
    /// The value of the column.
    pub value: String,
    /// Rows in it.
    pub rows: u64,
    /// Its share of the first measure of the headline, in per cent.
    pub share_pct: Option<Number>,
    /// Growth of the first measure of the headline, in per cent.
    pub growth_pct: Option<Number>,
    /// The totals of the headline's measures.
    pub totals: Totals,
}

impl TableFacts {
    /// Reads facts from a value; `None` if the value is another document.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        // Tests for two members that only facts have, before anything is copied.
        let object = value.as_object()?;
        if !(object.contains_key("measures") && object.contains_key("by_month")) {
            return None;
        }
        Self::deserialize(value).ok()
    }

    /// Finds facts in a value, at any depth up to [`DEPTH_MAX`].
    #[must_use]
    pub fn find_in(value: &Json) -> Option<Self> {
        Self::find_within(value, DEPTH_MAX)
    }

    fn find_within(value: &Json, depth: usize) -> Option<Self> {
        let inner = |member: &Json| depth.checked_sub(1).and_then(|depth| Self::find_within(member, depth));
        Self::from_json(value).or_else(|| match value {
            Json::Array(items) => items.iter().find_map(inner),
            Json::Object(members) => members.values().find_map(inner),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
        })
    }

    /// The measure of this name.
    #[must_use]
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// The measures of the headline, the most important first.
    pub fn headline(&self) -> impl Iterator<Item = &Measure> {
        self.headline.iter().filter_map(|name| self.measure(name))
    }
}
