//! Usage counters: by minute for the last hour of a user, by day and in total for a budget.

use std::collections::{BTreeMap, VecDeque};

use greenroom_protocol as protocol;
use protocol::{MicroUsd, PriceBasis, Timestamp};

use crate::ledger::{
    Amount, Charged, ChargedModels, Exceeded, Limit, PERIOD_DAYS_MAX, Period, USAGE_WINDOW, UsageSummary,
};

const MICROS_PER_MINUTE: i64 = 60 * 1_000_000;
const MICROS_PER_DAY: i64 = 24 * 60 * MICROS_PER_MINUTE;

/// The minute of a time, counted from the epoch.
pub(crate) const fn minute_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MICROS_PER_MINUTE)
}

/// The day of a time, counted from the epoch, UTC.
pub(crate) const fn day_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MICROS_PER_DAY)
}

/// The start of a day.
pub(crate) const fn day_start(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY))
}

/// The first day of a day's month, both counted from the epoch, UTC.
const fn month_start(day: i64) -> i64 {
    // Years start in March and are counted in eras of 400 years, so that the leap day is the last day
    // of a year.
    const DAYS_BEFORE_EPOCH: i64 = 719_468;
    const ERA_DAYS: i64 = 146_097;
    let since = day.saturating_add(DAYS_BEFORE_EPOCH).rem_euclid(ERA_DAYS);
    let year = (since - since / 1_460 + since / 36_524 - since / 146_096) / 365;
    let of_year = since - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    day - (of_year - (153 * month + 2) / 5)
}

/// The first day of a period that ends today; none for all time.
pub(crate) const fn first_day(period: Period, today: i64) -> Option<i64> {
    match period {
        Period::AllTime => None,
        Period::Days(days) => Some(today.saturating_sub(days as i64).saturating_add(1)),
        Period::Month => Some(month_start(today)),
    }
}

/// The usage within one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UsageCounts {
    pub(crate) calls: u64,
    pub(crate) queries: u64,
    pub(crate) tokens: u64,
    pub(crate) cost: MicroUsd,
}

impl UsageCounts {
    /// The usage of a call that was settled.
    pub(crate) fn of_amount(amount: Amount) -> Self {
        Self { tokens: amount.tokens.total(), cost: amount.cost, ..Self::default() }
    }

    /// The usage of a user: of the last hour, which this is, and what the user and the tenant have spent in their periods.
    pub(crate) const fn summary(self, user: Amount, tenant: Amount) -> UsageSummary {
        UsageSummary {
            calls_hour: self.calls,
            queries_hour: self.queries,
            tokens_hour: self.tokens,
            cost_hour: self.cost,
            tokens_spent: user.tokens.total(),
            cost_spent: user.cost,
            tenant_tokens_spent: tenant.tokens.total(),
            tenant_cost_spent: tenant.cost,
        }
    }
}

impl std::ops::AddAssign for UsageCounts {
    fn add_assign(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.queries = self.queries.saturating_add(other.queries);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost += other.cost;
    }
}

/// The usage of one user in the last hour, minute by minute. A minute counts until it is a whole hour
/// old, so a request counts for 60 to 61 minutes.
#[derive(Debug, Default)]
pub(crate) struct Window {
    minutes: VecDeque<(i64, UsageCounts)>,
}

impl Window {
    /// Adds to a minute, and removes the minutes before the window.
    pub(crate) fn add(&mut self, minute: i64, counts: UsageCounts) {
        let index = self.minutes.partition_point(|(at, _)| *at < minute);
        match self.minutes.get_mut(index) {
            Some((at, sum)) if *at == minute => *sum += counts,
            Some(_) | None => self.minutes.insert(index, (minute, counts)),
        }
        while self.minutes.front().is_some_and(|(at, _)| *at <= minute.saturating_sub(window_minutes())) {
            self.minutes.pop_front();
        }
    }

    /// Returns the usage in this minute and in the hour before it.
    pub(crate) fn sum(&self, minute: i64) -> UsageCounts {
        let oldest = minute.saturating_sub(window_minutes());
        let mut sum = UsageCounts::default();
        self.minutes.iter().filter(|(at, _)| *at > oldest).for_each(|(_, counts)| sum += *counts);
        sum
    }
}

/// Minutes in the window, including the current one.
pub(crate) const fn window_minutes() -> i64 {
    (USAGE_WINDOW.as_secs() / 60) as i64 + 1
}

/// The spending and the open reservations of one budget.
#[derive(Debug, Default)]
pub(crate) struct BudgetUsage {
    days: BTreeMap<i64, Amount>,
    total: Amount,
    reserved: Amount,
    models: ChargedModels,
    last_change_day: i64,
}

impl BudgetUsage {
    /// The day of the last change.
    pub(crate) const fn last_change_day(&self) -> i64 {
        self.last_change_day
    }

    /// True if no call in flight has a reservation.
    pub(crate) fn is_settled(&self) -> bool {
        self.reserved == Amount::default()
    }

    /// Adds to the spending.
    pub(crate) fn spend(&mut self, day: i64, amount: Amount) {
        self.total += amount;
        *self.days.entry(day).or_default() += amount;
        self.last_change_day = self.last_change_day.max(day);
        let oldest = self.last_change_day.saturating_sub(i64::from(PERIOD_DAYS_MAX));
        while self.days.first_key_value().is_some_and(|(first, _)| *first <= oldest) {
            self.days.pop_first();
        }
    }

    /// Adds the model of a settled call.
    pub(crate) fn add_model(&mut self, name: &str, price: PriceBasis) {
        self.models.add(name, price);
    }

    /// Restores the models of the settled calls.
    pub(crate) fn restore_models(&mut self, models: ChargedModels) {
        self.models = models;
    }

    /// The models of the settled calls.
    pub(crate) const fn models(&self) -> &ChargedModels {
        &self.models
    }

    /// Adds a reservation.
    pub(crate) fn reserve(&mut self, day: i64, upper_bound: Amount) {
        self.reserved += upper_bound;
        self.last_change_day = self.last_change_day.max(day);
    }

    /// Removes a reservation.
    pub(crate) fn release(&mut self, upper_bound: Amount) {
        self.reserved.cost = self.reserved.cost.saturating_sub(upper_bound.cost);
        self.reserved.tokens.input = self.reserved.tokens.input.saturating_sub(upper_bound.tokens.input);
        self.reserved.tokens.output = self.reserved.tokens.output.saturating_sub(upper_bound.tokens.output);
    }

    /// Returns how the limit would be exceeded if `upper_bound` were reserved too.
    pub(crate) fn exceeded(&self, limit: &Limit, upper_bound: Amount, today: i64) -> Option<Exceeded> {
        let spent = self.spent(limit.period, today);
        let cost = limit.cost_max.map(|max| self.cost(max, spent, upper_bound));
        let tokens = limit.tokens_max.map(|max| self.tokens(max, spent, upper_bound));
        [cost, tokens].into_iter().flatten().find(Exceeded::is_exceeded)
    }

    /// Compares the limit with what is spent, reserved and requested: the cost if that is limited, else the tokens.
    pub(crate) fn compare(&self, limit: &Limit, upper_bound: Amount, today: i64) -> Exceeded {
        let spent = self.spent(limit.period, today);
        match limit.cost_max {
            Some(max) => self.cost(max, spent, upper_bound),
            None => self.tokens(limit.tokens_max.unwrap_or(u64::MAX), spent, upper_bound),
        }
    }

    const fn cost(&self, max: MicroUsd, spent: Amount, upper_bound: Amount) -> Exceeded {
        Exceeded::Cost { max, spent: spent.cost, reserved: self.reserved.cost, requested: upper_bound.cost }
    }

    const fn tokens(&self, max: u64, spent: Amount, upper_bound: Amount) -> Exceeded {
        let (spent, reserved) = (spent.tokens.total(), self.reserved.tokens.total());
        Exceeded::Tokens { max, spent, reserved, requested: upper_bound.tokens.total() }
    }

    /// Returns what was charged in all, with the models of the settled calls.
    pub(crate) fn charged(&self) -> Charged {
        Charged { settled: self.total, reserved: self.reserved, models: self.models.clone() }
    }

    /// Returns the spending in this period.
    pub(crate) fn spent(&self, period: Period, today: i64) -> Amount {
        let Some(first) = first_day(period, today) else { return self.total };
        let mut sum = Amount::default();
        self.days.range(first..).for_each(|(_, amount)| sum += *amount);
        sum
    }
}

impl Exceeded {
    pub(crate) fn is_exceeded(&self) -> bool {
        match *self {
            Self::Cost { max, spent, reserved, requested } => spent + reserved + requested > max,
            Self::Tokens { max, spent, reserved, requested } => {
                spent.saturating_add(reserved).saturating_add(requested) > max
            }
        }
    }

    /// True if the call would fit once the calls in flight are settled for nothing.
    #[must_use]
    pub fn may_fit_later(&self) -> bool {
        match *self {
            Self::Cost { max, spent, requested, .. } => spent + requested <= max,
            Self::Tokens { max, spent, requested, .. } => spent.saturating_add(requested) <= max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_does_not_count_after_an_hour() {
        let mut window = Window::default();
        let one = UsageCounts { calls: 1, ..UsageCounts::default() };
        window.add(100, one);
        window.add(130, one);
        assert_eq!(window.sum(160).calls, 2);
        assert_eq!(window.sum(161).calls, 1);
        window.add(500, one);
        assert_eq!(window.sum(500).calls, 1);
        assert_eq!(window.minutes.len(), 1);
    }

    #[test]
    fn a_sliding_period_excludes_old_days_and_all_time_does_not() {
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
    fn a_month_starts_on_its_first_day() {
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
    fn every_day_of_the_longest_month_counts() {
        let mut usage = BudgetUsage::default();
        let cent = Amount { cost: MicroUsd(10_000), ..Amount::default() };
        // January 1970, and the first of February.
        (0..31).for_each(|day| usage.spend(day, cent));
        assert_eq!(usage.spent(Period::Month, 30).cost, MicroUsd(310_000));
        usage.spend(31, cent);
        assert_eq!(usage.spent(Period::Month, 31).cost, MicroUsd(10_000));
    }
}
