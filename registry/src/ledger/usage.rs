//! What has been used: by minute for the last hour, by day and in all for a budget.

use std::collections::{BTreeMap, VecDeque};

use greenroom_protocol as protocol;
use protocol::{MicroUsd, Timestamp};

use crate::ledger::{Amount, Exceeded, Limit, PERIOD_DAYS_MAX, Period, USAGE_WINDOW};

const MICROS_PER_MINUTE: i64 = 60 * 1_000_000;
const MICROS_PER_DAY: i64 = 24 * 60 * MICROS_PER_MINUTE;

/// The minute of a moment, counted from the epoch.
pub(crate) const fn minute_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MICROS_PER_MINUTE)
}

/// The day of a moment, counted from the epoch, UTC.
pub(crate) const fn day_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MICROS_PER_DAY)
}

/// A day's first moment.
pub(crate) const fn day_start(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY))
}

/// The first day of a day's month, both counted from the epoch, UTC.
const fn month_start(day: i64) -> i64 {
    // Years are counted from March on, in eras of 400 of them, so that the leap day is a year's last.
    const DAYS_BEFORE_EPOCH: i64 = 719_468;
    const ERA_DAYS: i64 = 146_097;
    let since = day.saturating_add(DAYS_BEFORE_EPOCH).rem_euclid(ERA_DAYS);
    let year = (since - since / 1_460 + since / 36_524 - since / 146_096) / 365;
    let of_year = since - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    day - (of_year - (153 * month + 2) / 5)
}

/// What was used within one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UsageCounts {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) cost: MicroUsd,
}

impl std::ops::AddAssign for UsageCounts {
    fn add_assign(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost += other.cost;
    }
}

/// The last hour of one user, minute by minute. A minute counts until it is a whole hour old, so a
/// request counts for sixty to sixty-one minutes.
#[derive(Debug, Default)]
pub(crate) struct Window {
    minutes: VecDeque<(i64, UsageCounts)>,
}

impl Window {
    /// Adds to a minute, and forgets what is older than the window.
    pub(crate) fn add(&mut self, minute: i64, counts: UsageCounts) {
        let place = self.minutes.partition_point(|(at, _)| *at < minute);
        match self.minutes.get_mut(place) {
            Some((at, sum)) if *at == minute => *sum += counts,
            Some(_) | None => self.minutes.insert(place, (minute, counts)),
        }
        while self.minutes.front().is_some_and(|(at, _)| *at <= minute.saturating_sub(window_minutes())) {
            self.minutes.pop_front();
        }
    }

    /// What was used in the hour before this minute, and in it.
    pub(crate) fn sum(&self, minute: i64) -> UsageCounts {
        let oldest = minute.saturating_sub(window_minutes());
        let mut sum = UsageCounts::default();
        self.minutes.iter().filter(|(at, _)| *at > oldest).for_each(|(_, counts)| sum += *counts);
        sum
    }
}

/// Minutes of the window, the present one included.
pub(crate) const fn window_minutes() -> i64 {
    (USAGE_WINDOW.as_secs() / 60) as i64 + 1
}

/// What one budget has spent and set aside.
#[derive(Debug, Default)]
pub(crate) struct BudgetUsage {
    days: BTreeMap<i64, Amount>,
    total: Amount,
    reserved: Amount,
    touched: i64,
}

impl BudgetUsage {
    /// The day of the last change.
    pub(crate) const fn touched(&self) -> i64 {
        self.touched
    }

    /// True if no call under way has set anything aside.
    pub(crate) fn is_settled(&self) -> bool {
        self.reserved == Amount::default()
    }

    /// Adds to what is spent.
    pub(crate) fn spend(&mut self, day: i64, amount: Amount) {
        self.total += amount;
        *self.days.entry(day).or_default() += amount;
        self.touched = self.touched.max(day);
        let oldest = self.touched.saturating_sub(i64::from(PERIOD_DAYS_MAX));
        while self.days.first_key_value().is_some_and(|(first, _)| *first <= oldest) {
            self.days.pop_first();
        }
    }

    /// Sets aside.
    pub(crate) fn reserve(&mut self, day: i64, worst: Amount) {
        self.reserved += worst;
        self.touched = self.touched.max(day);
    }

    /// Gives back what was set aside.
    pub(crate) fn release(&mut self, worst: Amount) {
        self.reserved.cost = self.reserved.cost.saturating_sub(worst.cost);
        self.reserved.tokens.input = self.reserved.tokens.input.saturating_sub(worst.tokens.input);
        self.reserved.tokens.output = self.reserved.tokens.output.saturating_sub(worst.tokens.output);
    }

    /// Says by what a limit would be exceeded if `worst` were set aside too.
    pub(crate) fn exceeded(&self, limit: &Limit, worst: Amount, today: i64) -> Option<Exceeded> {
        let spent = self.spent(limit.period, today);
        if let Some(max) = limit.cost_max
            && spent.cost + self.reserved.cost + worst.cost > max
        {
            let (spent, reserved, requested) = (spent.cost, self.reserved.cost, worst.cost);
            return Some(Exceeded::Cost { max, spent, reserved, requested });
        }
        let (spent, reserved, requested) = (spent.tokens.total(), self.reserved.tokens.total(), worst.tokens.total());
        let max = limit.tokens_max?;
        (spent.saturating_add(reserved).saturating_add(requested) > max).then_some(Exceeded::Tokens {
            max,
            spent,
            reserved,
            requested,
        })
    }

    /// What was spent in this period.
    pub(crate) fn spent(&self, period: Period, today: i64) -> Amount {
        let first = match period {
            Period::AllTime => return self.total,
            Period::Days(days) => today.saturating_sub(i64::from(days)).saturating_add(1),
            Period::Month => month_start(today),
        };
        let mut sum = Amount::default();
        self.days.range(first..).for_each(|(_, amount)| sum += *amount);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_leaves_the_window_after_an_hour() {
        let mut window = Window::default();
        let one = UsageCounts { requests: 1, ..UsageCounts::default() };
        window.add(100, one);
        window.add(130, one);
        assert_eq!(window.sum(160).requests, 2);
        assert_eq!(window.sum(161).requests, 1);
        window.add(500, one);
        assert_eq!(window.sum(500).requests, 1);
        assert_eq!(window.minutes.len(), 1);
    }

    #[test]
    fn a_sliding_budget_forgets_old_days_and_an_eternal_one_does_not() {
        let mut usage = BudgetUsage::default();
        let cent = Amount { cost: MicroUsd(10_000), ..Amount::default() };
        usage.spend(10, cent);
        usage.spend(12, cent);
        assert_eq!(usage.spent(Period::Days(1), 12).cost, MicroUsd(10_000));
        assert_eq!(usage.spent(Period::Days(3), 12).cost, MicroUsd(20_000));
        usage.spend(60, cent);
        assert_eq!(usage.days.len(), 1);
        assert_eq!(usage.spent(Period::AllTime, 60).cost, MicroUsd(30_000));
    }

    #[test]
    fn a_month_begins_with_its_first_day() {
        let mut day = 0;
        for year in 1970..2400 {
            let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
            for days in [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                assert!((day..day + days).all(|at| month_start(at) == day), "{year} {day}");
                day += days;
            }
        }
    }

    #[test]
    fn the_whole_of_the_longest_month_counts() {
        let mut usage = BudgetUsage::default();
        let cent = Amount { cost: MicroUsd(10_000), ..Amount::default() };
        // January 1970, and the first of February.
        (0..31).for_each(|day| usage.spend(day, cent));
        assert_eq!(usage.spent(Period::Month, 30).cost, MicroUsd(310_000));
        usage.spend(31, cent);
        assert_eq!(usage.spent(Period::Month, 31).cost, MicroUsd(10_000));
    }
}
