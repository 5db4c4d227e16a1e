//! Whether the name of a column promises dates. Such a column is never added up, even if it has numbers.

/// What a name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// Dates: `order_date`, `createdAt`.
    Date,
    /// Periods: `Month`. They may be numbers without their year.
    Period,
    /// Times: `event_time`. They may be durations as well.
    Time,
}

/// Words for a date.
const DATES: [&str; 8] = ["date", "dates", "datum", "datetime", "timestamp", "fecha", "päivä", "dato"];
/// Words for a period, at the end of a name: `fiscal_month`, but not `month_total`.
const PERIODS: [&str; 24] = [
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "period",
    "kw",
    "woche",
    "monat",
    "quartal",
    "jahr",
    "periode",
    "jour",
    "mois",
    "semaine",
    "trimestre",
    "année",
    "día",
    "dia",
    "semana",
    "mes",
    "año",
    "calendarweek",
    "yearmonth",
];
/// Words for a time, at the end of a name, and participles that are a complete name.
const TIMES: [&str; 5] = ["time", "ts", "epoch", "zeit", "unix"];
const EVENTS: [&str; 4] = ["created", "updated", "modified", "closed"];
/// Words of names of figures about dates and periods: `days_to_date`, `revenue per month`, `Last year`.
const FIGURES: [&str; 36] = [
    "count",
    "number",
    "total",
    "sum",
    "amount",
    "revenue",
    "sales",
    "cost",
    "price",
    "rate",
    "value",
    "diff",
    "difference",
    "days",
    "hours",
    "minutes",
    "age",
    "pct",
    "percent",
    "units",
    "avg",
    "duration",
    "per",
    "by",
    "last",
    "prior",
    "previous",
    "current",
    "this",
    "next",
    "same",
    "vs",
    "budget",
    "actual",
    "plan",
    "forecast",
];

/// What the name of a column promises.
pub(super) fn promise(name: &str) -> Option<Promise> {
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let is_last = |list: &[&str]| words.last().is_some_and(|word| list.contains(&word.as_str()));
    // Figures of a year to date.
    if words.array_windows::<2>().any(|[first, second]| first == "to" && second == "date") {
        return None;
    }
    let is_figure = has(&FIGURES);
    if is_last(&DATES) || (!is_figure && (has(&DATES) || (words.len() > 1 && is_last(&["at", "on"])))) {
        return Some(Promise::Date);
    }
    if is_figure {
        return None;
    }
    let is_time = is_last(&TIMES) || (words.len() == 1 && is_last(&EVENTS));
    is_last(&PERIODS).then_some(Promise::Period).or_else(|| is_time.then_some(Promise::Time))
}

/// The words of a name, in lower case: also those of `orderDate`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous = ' ';
    for c in name.chars() {
        let begins = c.is_uppercase() && previous.is_lowercase();
        if c.is_alphabetic() {
            match words.last_mut() {
                Some(word) if previous.is_alphabetic() && !begins => word.extend(c.to_lowercase()),
                Some(_) | None => words.push(c.to_lowercase().collect()),
            }
        }
        previous = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{Promise, promise};

    #[test]
    fn a_name_promises_dates_by_its_words() {
        for name in [
            "Date",
            "order_date",
            "OrderDate",
            "Sales date",
            "Date of order",
            "Datum",
            "created_at",
            "paidOn",
            "DATE (UTC)",
        ] {
            assert_eq!(promise(name), Some(Promise::Date), "{name}");
        }
        for name in ["Month", "Fiscal Year", "KW", "invoice_week"] {
            assert_eq!(promise(name), Some(Promise::Period), "{name}");
        }
        for name in ["event_time", "Time", "ts", "created"] {
            assert_eq!(promise(name), Some(Promise::Time), "{name}");
        }
    }

    #[test]
    fn a_name_of_figures_promises_no_dates() {
        for name in [
            "revenue",
            "update",
            "candidate",
            "monthly_revenue",
            "month_total",
            "days",
            "day_rate",
            "At",
            "date_diff",
            "Days to date",
            "Revenue year to date",
            "Last year",
            "sales_by_month",
        ] {
            assert_eq!(promise(name), None, "{name}");
        }
    }
}
