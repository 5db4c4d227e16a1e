//! The facts about a table in a period: the document that `native.data_collection` returns, and the source
//! of narratives, charts and the report. Every figure is computed here, once and exactly; no consumer adds
//! figures up again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use greenroom_protocol::Json;

use super::note::Note;
use super::number_format;

pub(crate) mod compute;

/// Maximum depth to which a value is searched for facts.
const DEPTH_MAX: usize = 5;

/// Named figures.
pub type Totals = BTreeMap<String, Number>;

/// The facts of one file about one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFacts {
    /// The name of the file; never a path.
    pub file: String,
    /// Rows of data of the file: without titles, repeated headers and totals.
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
    /// Choices about the file that may be wrong; a reader checks them.
    #[serde(default)]
    pub warnings: Vec<Note>,
    /// Choices about the file that are safe, but not the only possible ones.
    #[serde(default)]
    pub notes: Vec<Note>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFact {
    /// Its name.
    pub name: String,
    /// `date`, `number`, `unit`, `category`, `identifier` or `text`.
    pub kind: String,
    /// The reason for the kind.
    #[serde(default)]
    pub reason: String,
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

/// One number column over the period; of a column with several units, the figures of one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The column; with the unit, such as `amount ($)`, if the column has several.
    pub name: String,
    /// Its unit, such as `$` or `SEK`.
    pub unit: Option<String>,
    /// True if the figures add up. Percentages, prices, rates, ratios and balances do not: their mean stands for
    /// them.
    #[serde(default = "default_additive")]
    pub additive: bool,
    /// Cells that have a figure.
    pub count: u64,
    /// Their sum; none if a sum has no meaning.
    pub total: Option<Number>,
    /// Their mean.
    pub mean: Option<Number>,
    /// The minimum.
    pub min: Option<Number>,
    /// The maximum.
    pub max: Option<Number>,
    /// The total of the later period of the comparison; the mean of figures that do not add up.
    pub compared_total: Option<Number>,
    /// The total of the earlier one; the mean of figures that do not add up.
    pub previous_total: Option<Number>,
    /// The difference of the later one in per cent, if there is a comparison.
    pub growth_pct: Option<Number>,
    /// True if a lower value is better.
    #[serde(default)]
    pub lower_is_better: bool,
}

const fn default_additive() -> bool {
    true
}

impl Measure {
    /// The figure that stands for the measure: its total, or the mean of figures that do not add up.
    #[must_use]
    pub fn figure(&self) -> Option<&Number> {
        if self.additive { self.total.as_ref() } else { self.mean.as_ref() }
    }

    /// The figure that stands for the measure, with its unit and all of its digits.
    pub(crate) fn format_figure(&self) -> String {
        let unit = self.unit.as_deref();
        if self.additive {
            number_format::exact(self.total.as_ref(), unit)
        } else {
            number_format::rounded(self.mean.as_ref(), unit)
        }
    }

    /// The name as a heading: `Revenue`, `Mean of price`.
    pub(crate) fn heading(&self) -> String {
        if self.additive {
            number_format::title(&self.name)
        } else {
            format!("Mean of {}", number_format::title(&self.name).to_lowercase())
        }
    }
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
    /// The totals of the headline's measures; the means of those that do not add up.
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
    /// Its share of the first measure of the headline, in per cent; none if the measure does not add up, or if
    /// its groups have different signs.
    pub share_pct: Option<Number>,
    /// Growth of the first measure of the headline, in per cent.
    pub growth_pct: Option<Number>,
    /// The totals of the headline's measures; the means of those that do not add up.
    pub totals: Totals,
    /// How many groups this one sums up; only for the last one of a column with too many groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<u64>,
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
