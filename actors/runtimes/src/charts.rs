//! Facts → SVG charts, each with a description for readers who cannot see it.
//!
//! A chart has no font file and no fixed size: its text is text, its `viewBox` scales, and its `<title>` and
//! `<desc>` describe it. All text in it is escaped by the plotting crate or by this module.

use crate::tables::{Breakdown, Group, Measure, TableFacts, number_format};

mod canvas;

pub(crate) use canvas::escape_xml;
use canvas::{Bar, BarRow};

/// Maximum measures that are drawn by month.
const MONTHLY_MAX: usize = 2;
/// Maximum columns by which the first measure is drawn.
const BREAKDOWNS_MAX: usize = 3;
/// Maximum bars of one chart.
const BARS_MAX: usize = 24;
/// Maximum rows of one chart; the remaining groups are drawn as one row.
const ROWS_MAX: usize = 8;

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chart {
    /// Its heading.
    pub(crate) title: String,
    /// Its description, for readers who cannot see it.
    pub(crate) alt: String,
    /// The image.
    pub(crate) svg: String,
}

/// Renders every chart that the facts allow, the most important first. `headed` draws the title into the
/// image, for a chart outside of a page.
#[must_use]
pub(crate) fn render_all(facts: &TableFacts, headed: bool) -> Vec<Chart> {
    let mut charts: Vec<Chart> =
        facts.headline().take(MONTHLY_MAX).filter_map(|measure| draw_months(facts, measure, headed)).collect();
    if let Some(first) = facts.headline().next() {
        let breakdowns = facts.breakdowns.iter().take(BREAKDOWNS_MAX);
        charts.extend(breakdowns.filter_map(|breakdown| draw_groups(facts, breakdown, first, headed)));
    }
    charts.extend(draw_growth(facts, headed));
    if charts.is_empty() {
        charts.extend(draw_totals(facts, headed));
    }
    charts
}

/// Draws only the totals, for a file with a single month, no column that groups rows, and no comparison.
fn draw_totals(facts: &TableFacts, headed: bool) -> Option<Chart> {
    let row = |measure: &Measure| {
        let value = number_format::to_f64(measure.figure());
        let note = number_format::compact(value, measure.unit.as_deref());
        BarRow { label: measure.heading(), value, note, good: true }
    };
    let rows: Vec<BarRow> = facts.headline().map(row).collect();
    let title = format!("Totals, {}", facts.period.label);
    let descriptions: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.note)).collect();
    let alt = format!("{title}: {}.", descriptions.join(", "));
    let svg = canvas::rows(headed.then_some(&title), &title, &alt, &rows)?;
    Some(Chart { title, alt, svg })
}

fn draw_months(facts: &TableFacts, measure: &Measure, headed: bool) -> Option<Chart> {
    if facts.by_month.len() < 2 {
        return None;
    }
    let name = measure.heading();
    let unit = measure.unit.as_deref();
    let skipped = facts.by_month.len().saturating_sub(BARS_MAX);
    let bars: Vec<Bar> = facts
        .by_month
        .iter()
        .skip(skipped)
        .map(|month| Bar {
            label: month.month.clone(),
            value: number_format::to_f64(month.totals.get(&measure.name)),
            strong: month.in_period,
        })
        .collect();
    let descriptions: Vec<String> = bars
        .iter()
        .filter(|bar| bar.strong)
        .map(|bar| format!("{} {}", number_format::month(&bar.label), number_format::compact(bar.value, unit)))
        .collect();
    let title = match skipped {
        0 => format!("{name} by month"),
        _ => format!("{name} by month, the last {BARS_MAX} months"),
    };
    let alt = format!("{title}; in {}: {}.", facts.period.label, descriptions.join(", "));
    let svg = canvas::columns(headed.then_some(&title), &title, &alt, unit, &bars)?;
    Some(Chart { title, alt, svg })
}

fn draw_groups(facts: &TableFacts, breakdown: &Breakdown, measure: &Measure, headed: bool) -> Option<Chart> {
    if breakdown.groups.len() < 2 {
        return None;
    }
    let unit = measure.unit.as_deref();
    let total = |group: &Group| number_format::to_f64(group.totals.get(&measure.name));
    let mut rows: Vec<BarRow> = breakdown
        .groups
        .iter()
        .take(ROWS_MAX)
        .map(|group| BarRow {
            label: group.value.clone(),
            value: total(group),
            note: match &group.share_pct {
                Some(share) => {
                    format!("{} · {}", number_format::compact(total(group), unit), number_format::share(Some(share)))
                }
                None => number_format::compact(total(group), unit),
            },
            good: true,
        })
        .collect();
    let undrawn = breakdown.groups.get(ROWS_MAX..).unwrap_or_default();
    // Means of groups do not add up to the mean of all of them.
    if !undrawn.is_empty() && measure.additive {
        let remainder: f64 = undrawn.iter().map(total).sum();
        let count: u64 = undrawn.iter().map(|group| group.others.unwrap_or(1)).sum();
        let label = format!("{count} others");
        rows.push(BarRow { label, value: remainder, note: number_format::compact(remainder, unit), good: true });
    }
    let title = format!("{} by {}", measure.heading(), number_format::title(&breakdown.column).to_lowercase());
    let descriptions: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.note)).collect();
    let alt = format!("{title} in {}: {}.", facts.period.label, descriptions.join(", "));
    let svg = canvas::rows(headed.then_some(&title), &title, &alt, &rows)?;
    Some(Chart { title, alt, svg })
}

fn draw_growth(facts: &TableFacts, headed: bool) -> Option<Chart> {
    let compared = facts.growth.as_ref()?;
    let rows: Vec<BarRow> = facts
        .headline()
        .filter(|measure| measure.growth_pct.is_some())
        .map(|measure| {
            let value = number_format::to_f64(measure.growth_pct.as_ref());
            BarRow {
                label: number_format::title(&measure.name),
                value,
                note: number_format::change(measure.growth_pct.as_ref()),
                good: (value < 0.0) == measure.lower_is_better || value == 0.0,
            }
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let (now, before) = (number_format::month(&compared.now), number_format::month(&compared.before));
    let title = format!("Growth, {now} against {before}");
    let descriptions: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.note)).collect();
    let alt = format!("{title}: {}.", descriptions.join(", "));
    let svg = canvas::rows(headed.then_some(&title), &title, &alt, &rows)?;
    Some(Chart { title, alt, svg })
}

/// Draws named values as one chart, for inputs that have figures and no facts.
#[must_use]
pub(crate) fn chart_values(title: &str, values: &[(String, f64)]) -> Option<Chart> {
    let rows: Vec<BarRow> = values
        .iter()
        .take(ROWS_MAX)
        .map(|(label, value)| BarRow {
            label: label.clone(),
            value: *value,
            note: number_format::compact(*value, None),
            good: true,
        })
        .collect();
    let descriptions: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.note)).collect();
    let alt = format!("{title}: {}.", descriptions.join(", "));
    let svg = canvas::rows(Some(&title.to_owned()), title, &alt, &rows)?;
    Some(Chart { title: title.to_owned(), alt, svg })
}

#[cfg(test)]
mod tests {
    use super::{chart_values, render_all};
    use crate::tables::{self, TableFacts};

    fn facts_of(region: &str) -> TableFacts {
        let text = format!(
            "date,region,revenue,cost\n2024-07-05,\"{region}\",100,50\n2024-08-05,South,200,60\n2024-10-01,\"{region}\",300,70\n2024-11-14,South,-10,80\n"
        );
        tables::read_facts("x.csv", text.as_bytes(), &tables::TableOptions::for_quarter("Q4 2024")).unwrap()
    }

    #[test]
    fn a_file_with_a_single_month_is_drawn_by_its_totals() {
        let facts =
            tables::read_facts("x.csv", b"date,sold\n2025-01-02,3\n2025-01-05,4\n", &tables::TableOptions::default())
                .unwrap();
        let charts = render_all(&facts, true);
        let descriptions: Vec<_> = charts.iter().map(|chart| chart.alt.as_str()).collect();
        assert_eq!(descriptions, ["Totals, 2025-01-02 to 2025-01-05: Sold 7."]);
    }

    #[test]
    fn facts_are_drawn_by_month_by_group_and_by_growth() {
        let charts = render_all(&facts_of("North"), false);
        let titles: Vec<_> = charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(
            titles,
            ["Revenue by month", "Cost by month", "Revenue by region", "Growth, Q4 2024 against Q3 2024"]
        );
        for chart in &charts {
            assert!(chart.svg.starts_with("<svg viewBox="), "{}", chart.svg);
            assert!(chart.svg.contains("<title>") && chart.svg.trim_end().ends_with("</svg>"));
            assert!(chart.svg.len() < 24_000, "{} bytes", chart.svg.len());
        }
        assert!(charts[0].alt.contains("Oct 2024 300"), "{}", charts[0].alt);
        assert!(charts[3].alt.contains("Revenue −3.3%"), "{}", charts[3].alt);
    }

    #[test]
    fn text_of_the_data_is_escaped_in_the_image() {
        let charts = render_all(&facts_of("<script>alert(1)</script>"), true);
        assert!(charts.iter().all(|chart| !chart.svg.contains("<script")));
        assert!(charts[2].svg.contains("&lt;script"));
    }

    #[test]
    fn values_that_cannot_be_drawn_give_no_chart() {
        assert!(chart_values("x", &[]).is_none());
        assert!(chart_values("x", &[("a".into(), f64::NAN), ("b".into(), f64::INFINITY)]).is_none());
        assert!(chart_values("x", &[("a".into(), 0.0)]).is_some());
    }
}
