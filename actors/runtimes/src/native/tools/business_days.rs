//! `native:business_days`: counts calendar and business days between two dates, and moves a date by days, months or
//! business days. The caller states the weekend and the public holidays: the tool knows no country.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;
use jiff::civil::Date;
use jiff::{Span, Unit, civil};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most, too_large};

/// Maximum days between two dates, and by which a date is moved: a hundred years.
const DAYS_MAX: i64 = 36_600;
/// Maximum months by which a date is moved.
const MONTHS_MAX: i64 = 1_200;
/// Maximum public holidays.
const HOLIDAYS_MAX: usize = 2_000;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<civil::Weekday> for Weekday {
    fn from(day: civil::Weekday) -> Self {
        match day {
            civil::Weekday::Monday => Self::Monday,
            civil::Weekday::Tuesday => Self::Tuesday,
            civil::Weekday::Wednesday => Self::Wednesday,
            civil::Weekday::Thursday => Self::Thursday,
            civil::Weekday::Friday => Self::Friday,
            civil::Weekday::Saturday => Self::Saturday,
            civil::Weekday::Sunday => Self::Sunday,
        }
    }
}

/// Where a date moves that is not a business day.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Roll {
    #[default]
    None,
    Following,
    Preceding,
    ModifiedFollowing,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The first date, written like 2024-12-31.
    #[schemars(with = "String")]
    start: Date,
    /// The last date: the days from the day after `start` up to and including it are counted.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    end: Option<Date>,
    /// Months by which `start` is moved, first; negative moves back. The 31st becomes the last day of a shorter month.
    #[serde(default)]
    months: i64,
    /// Calendar days by which it is moved then.
    #[serde(default)]
    calendar_days: i64,
    /// Business days by which it is moved last.
    #[serde(default)]
    business_days: i64,
    /// Where the moved date goes if it is not a business day.
    #[serde(default)]
    roll: Roll,
    /// The days of the week without work; Saturday and Sunday if absent.
    #[serde(default = "usual_weekend")]
    weekend: Vec<Weekday>,
    /// Public holidays and other days without work.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    holidays: Vec<Date>,
}

fn usual_weekend() -> Vec<Weekday> {
    vec![Weekday::Saturday, Weekday::Sunday]
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The day of the week of `start`.
    start_weekday: Weekday,
    /// Whether `start` is a business day.
    start_is_business_day: bool,
    /// The time from `start` to `end`, if there is an `end`.
    between: Option<Between>,
    /// `start` after it was moved, if it was.
    moved: Option<Moved>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Between {
    /// Days without `start`, with `end`; negative if `end` is earlier.
    calendar_days: i64,
    /// Business days among them.
    business_days: i64,
    /// The same time as years, months and days.
    years: i16,
    months: i32,
    days: i32,
    /// Holidays that fall on days of the week with work.
    holidays_counted: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Moved {
    #[schemars(with = "String")]
    date: Date,
    weekday: Weekday,
    is_business_day: bool,
    #[schemars(with = "String")]
    last_of_month: Date,
    iso_week: i8,
    quarter: i8,
}

/// The tool.
pub(crate) struct BusinessDays;

impl Computation for BusinessDays {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "business_days";
    const DESCRIPTION: &'static str = "Counts calendar and business days between two dates, or moves a date by months, \
                                       days or business days. Holidays are those that you state.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        require_at_most("holidays", arguments.holidays.len(), HOLIDAYS_MAX)?;
        let calendar = Calendar {
            weekend: arguments.weekend.iter().copied().collect(),
            holidays: arguments.holidays.iter().copied().collect(),
        };
        if calendar.weekend.len() >= 7 {
            return Err(invalid("a week without a business day has no business days"));
        }
        let start = arguments.start;
        let is_moved = arguments.months != 0 || arguments.calendar_days != 0 || arguments.business_days != 0;
        let is_rolled = !matches!(arguments.roll, Roll::None);
        let moved = if is_moved || is_rolled { Some(calendar.move_date(&arguments)?) } else { None };
        Ok(Output {
            start_weekday: start.weekday().into(),
            start_is_business_day: calendar.is_business_day(start),
            between: arguments.end.map(|end| calendar.count(start, end)).transpose()?,
            moved,
        })
    }
}

struct Calendar {
    weekend: BTreeSet<Weekday>,
    holidays: BTreeSet<Date>,
}

impl Calendar {
    fn is_business_day(&self, date: Date) -> bool {
        !self.weekend.contains(&date.weekday().into()) && !self.holidays.contains(&date)
    }

    fn count(&self, start: Date, end: Date) -> Result<Between, Cause> {
        let calendar_days = i64::from(days_between(start, end)?);
        if calendar_days.abs() > DAYS_MAX {
            return Err(too_large(format!("the dates are {calendar_days} days apart, at most {DAYS_MAX} are counted")));
        }
        let (mut date, mut business_days, mut holidays_counted) = (start, 0, 0);
        for _ in 0..calendar_days.abs() {
            date = step(date, calendar_days.signum())?;
            business_days += i64::from(self.is_business_day(date));
            let is_on_weekday = !self.weekend.contains(&date.weekday().into());
            holidays_counted += usize::from(is_on_weekday && self.holidays.contains(&date));
        }
        let span = start.until((Unit::Year, end)).map_err(|error| invalid(error.to_string()))?;
        Ok(Between {
            calendar_days,
            business_days: business_days * calendar_days.signum(),
            years: span.get_years(),
            months: span.get_months(),
            days: span.get_days(),
            holidays_counted,
        })
    }

    fn move_date(&self, arguments: &Arguments) -> Result<Moved, Cause> {
        let Arguments { months, calendar_days, business_days, .. } = *arguments;
        let is_bounded = |number: i64, max: i64| (-max..=max).contains(&number);
        if !is_bounded(months, MONTHS_MAX)
            || !is_bounded(calendar_days, DAYS_MAX)
            || !is_bounded(business_days, DAYS_MAX)
        {
            return Err(too_large(format!("a date is moved by at most {DAYS_MAX} days and {MONTHS_MAX} months")));
        }
        // One after the other, because a span has one sign for all of its units.
        let by_months = Span::new().try_months(months).and_then(|span| arguments.start.checked_add(span));
        let by_days = by_months.and_then(|date| date.checked_add(Span::new().try_days(calendar_days)?));
        let mut date = by_days.map_err(|error| invalid(error.to_string()))?;
        let mut missing = business_days.abs();
        while missing > 0 {
            date = step(date, business_days.signum())?;
            missing -= i64::from(self.is_business_day(date));
        }
        date = self.roll(date, arguments.roll)?;
        Ok(Moved {
            date,
            weekday: date.weekday().into(),
            is_business_day: self.is_business_day(date),
            last_of_month: date.last_of_month(),
            iso_week: date.iso_week_date().week(),
            quarter: (date.month() - 1) / 3 + 1,
        })
    }

    fn roll(&self, date: Date, roll: Roll) -> Result<Date, Cause> {
        match roll {
            Roll::None => Ok(date),
            Roll::Following => self.next_business_day(date, 1),
            Roll::Preceding => self.next_business_day(date, -1),
            Roll::ModifiedFollowing => {
                let following = self.next_business_day(date, 1)?;
                let is_same_month = following.month() == date.month() && following.year() == date.year();
                if is_same_month { Ok(following) } else { self.next_business_day(date, -1) }
            }
        }
    }

    fn next_business_day(&self, mut date: Date, direction: i64) -> Result<Date, Cause> {
        // Each day that is skipped is a day of a weekend or one of a bounded number of holidays, so this ends.
        while !self.is_business_day(date) {
            date = step(date, direction)?;
        }
        Ok(date)
    }
}

fn step(date: Date, direction: i64) -> Result<Date, Cause> {
    let next = if direction < 0 { date.yesterday() } else { date.tomorrow() };
    next.map_err(|error| invalid(error.to_string()))
}

/// The days from one date to another.
pub(super) fn days_between(start: Date, end: Date) -> Result<i32, Cause> {
    start.until((Unit::Day, end)).map(|span| span.get_days()).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::BusinessDays;

    fn compute(arguments: Value) -> Value {
        compute_json::<BusinessDays>(arguments).unwrap()
    }

    #[test]
    fn days_are_counted_without_the_first_and_with_the_last() {
        let output = compute(json!({
            "start": "2024-12-20", "end": "2025-01-03", "holidays": ["2024-12-25", "2025-01-01", "2024-12-28"]
        }));
        let between = &output["between"];
        assert_eq!((&between["calendar_days"], &between["business_days"]), (&json!(14), &json!(8)), "{output}");
        assert_eq!(between["holidays_counted"], json!(2));
        let back = compute(json!({ "start": "2025-01-03", "end": "2025-01-03" }));
        assert_eq!((&back["between"]["business_days"], &back["moved"]), (&json!(0), &json!(null)));
    }

    #[test]
    fn a_date_is_moved_and_rolled() {
        for (arguments, date) in [
            (json!({ "start": "2024-12-20", "business_days": 5, "holidays": ["2024-12-25"] }), "2024-12-30"),
            (json!({ "start": "2024-12-30", "business_days": -5, "holidays": ["2024-12-25"] }), "2024-12-20"),
            (json!({ "start": "2024-01-31", "months": 1 }), "2024-02-29"),
            (json!({ "start": "2024-01-15", "months": 1, "calendar_days": -20 }), "2024-01-26"),
            (json!({ "start": "2024-08-31", "roll": "modified_following" }), "2024-08-30"),
            (json!({ "start": "2024-08-31", "roll": "following" }), "2024-09-02"),
            (json!({ "start": "2024-05-31", "calendar_days": 1, "roll": "preceding" }), "2024-05-31"),
            (json!({ "start": "2024-05-30", "business_days": 1, "weekend": ["friday", "saturday"] }), "2024-06-02"),
        ] {
            assert_eq!(compute(arguments.clone())["moved"]["date"], json!(date), "{arguments}");
        }
    }

    #[test]
    fn what_has_no_date_or_no_bound_is_rejected() {
        for (arguments, code) in [
            (json!({ "start": "2024-02-30" }), ErrorCode::InvalidInput),
            (json!({ "start": "9999-12-31", "calendar_days": 1 }), ErrorCode::InvalidInput),
            (json!({ "start": "9999-12-31", "business_days": 9 }), ErrorCode::InvalidInput),
            (json!({ "start": "0001-01-01", "end": "9999-12-31" }), ErrorCode::PayloadTooLarge),
            (json!({ "start": "2024-01-01", "business_days": 9_000_000_000_000_i64 }), ErrorCode::PayloadTooLarge),
            (json!({ "start": "2024-01-01", "months": i64::MIN }), ErrorCode::PayloadTooLarge),
            (
                json!({ "start": "2024-01-01", "weekend": ["monday", "tuesday", "wednesday", "thursday", "friday",
                                                           "saturday", "sunday"] }),
                ErrorCode::InvalidInput,
            ),
        ] {
            assert_eq!(compute_json::<BusinessDays>(arguments.clone()).unwrap_err().code, code, "{arguments}");
        }
    }
}
