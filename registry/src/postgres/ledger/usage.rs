//! The usage of users as the policy reads it: at most [`USAGE_AGE_MAX`] old for what other pods have counted, and that of
//! this pod at once: what it counts and settles is added to what it has read, which needs no commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PrincipalId, Timestamp};
use tokio::time::Instant;

use crate::ledger::reservation::SettlementRecord;
use crate::ledger::usage::{BudgetUsage, UsageCounts, Window, day_of, minute_of, window_minutes};
use crate::ledger::{Amount, Periods, RequestKind, UsageSummary};
use crate::postgres::lock::lock;

/// How long the usage that was read may be used.
const USAGE_AGE_MAX: Duration = Duration::from_secs(1);
/// How long the usage of a user without requests is remembered.
const USAGE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Counts of requests by minute.
pub(in crate::postgres) type Minutes = BTreeMap<i64, UsageCounts>;

/// The usage of one user, as it was read.
#[derive(Debug, Default)]
pub(in crate::postgres) struct UserUsage {
    pub(in crate::postgres) window: Window,
    pub(in crate::postgres) user: BudgetUsage,
    pub(in crate::postgres) tenant: BudgetUsage,
}

impl UserUsage {
    /// Adds what a call has cost: to the usage of this user if it is the user's own, and to that of the tenant if a user of
    /// the same tenant has made it.
    fn settle(&mut self, principal: &PrincipalId, record: &SettlementRecord) {
        let payer = &record.reservation.account.principal;
        let (amount, day) = (record.amount(), day_of(record.at));
        if payer == principal {
            self.window.add(minute_of(record.at), UsageCounts::of_amount(amount));
            self.user.spend(day, amount);
        }
        if payer.tenant == principal.tenant {
            self.tenant.spend(day, amount);
        }
    }
}

#[derive(Debug)]
struct ReadUsage {
    usage: UserUsage,
    read_at: Instant,
}

#[derive(Debug, Default)]
struct UserCounts {
    read: Option<ReadUsage>,
    /// Counted, and not sent to the database.
    counted: Minutes,
    /// In the batch that is being written.
    sent: Minutes,
}

impl UserCounts {
    /// The usage in the hour before this minute, and what is spent in each period.
    fn summary(&self, usage: &UserUsage, periods: Periods, now: Timestamp) -> UsageSummary {
        let (minute, day) = (minute_of(now), day_of(now));
        let mut hour = usage.window.sum(minute);
        let oldest = minute.saturating_sub(window_minutes());
        self.counted.range(oldest + 1..).chain(self.sent.range(oldest + 1..)).for_each(|(_, counts)| hour += *counts);
        let (user, tenant): (Amount, Amount) =
            (usage.user.spent(periods.user, day), usage.tenant.spent(periods.tenant, day));
        UsageSummary {
            calls_hour: hour.calls,
            queries_hour: hour.queries,
            tokens_hour: hour.tokens,
            cost_hour: hour.cost,
            tokens_spent: user.tokens.total(),
            cost_spent: user.cost,
            tenant_tokens_spent: tenant.tokens.total(),
            tenant_cost_spent: tenant.cost,
        }
    }
}

/// The usage of the users of this pod.
#[derive(Debug, Default)]
pub(in crate::postgres) struct UsageCache(Mutex<HashMap<PrincipalId, UserCounts>>);

impl UsageCache {
    /// Counts one request.
    pub(in crate::postgres) fn count(&self, principal: &PrincipalId, kind: RequestKind, now: Timestamp) {
        let one = match kind {
            RequestKind::Call => UsageCounts { calls: 1, ..UsageCounts::default() },
            RequestKind::Query => UsageCounts { queries: 1, ..UsageCounts::default() },
        };
        let mut users = lock(&self.0);
        *users.entry(principal.clone()).or_default().counted.entry(minute_of(now)).or_default() += one;
    }

    /// The usage, if it was read recently.
    pub(in crate::postgres) fn recent(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Option<UsageSummary> {
        let users = lock(&self.0);
        let counts = users.get(principal)?;
        let read = counts.read.as_ref().filter(|read| read.read_at.elapsed() < USAGE_AGE_MAX)?;
        Some(counts.summary(&read.usage, periods, now))
    }

    /// The usage as it was read last, with what was counted since.
    pub(in crate::postgres) fn newest(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> UsageSummary {
        let (users, unused, none) = (lock(&self.0), UserUsage::default(), UserCounts::default());
        let counts = users.get(principal).unwrap_or(&none);
        counts.summary(counts.read.as_ref().map_or(&unused, |read| &read.usage), periods, now)
    }

    /// Adds a call that was settled to what was read of its user, and of the others of the tenant.
    pub(in crate::postgres) fn settle(&self, record: &SettlementRecord) {
        for (principal, counts) in lock(&self.0).iter_mut() {
            if let Some(read) = &mut counts.read {
                read.usage.settle(principal, record);
            }
        }
    }

    /// True if something was counted that is not in the database.
    pub(in crate::postgres) fn has_counted(&self) -> bool {
        lock(&self.0).values().any(|counts| !counts.counted.is_empty())
    }

    /// Takes what was counted, for a batch.
    pub(in crate::postgres) fn send(&self) -> Vec<(PrincipalId, Minutes)> {
        let mut users = lock(&self.0);
        let is_used = |counts: &UserCounts| {
            !counts.counted.is_empty()
                || counts.read.as_ref().is_some_and(|read| read.read_at.elapsed() < USAGE_IDLE_MAX)
        };
        users.retain(|_, counts| is_used(counts));
        let counted = users.iter_mut().filter(|(_, counts)| !counts.counted.is_empty());
        counted
            .map(|(principal, counts)| {
                counts.sent = std::mem::take(&mut counts.counted);
                (principal.clone(), counts.sent.clone())
            })
            .collect()
    }

    /// What was sent is in the database.
    pub(in crate::postgres) fn on_written(&self) {
        for counts in lock(&self.0).values_mut() {
            let sent = std::mem::take(&mut counts.sent);
            if let Some(read) = &mut counts.read {
                sent.iter().for_each(|(minute, counts)| read.usage.window.add(*minute, *counts));
            }
        }
    }

    /// What was sent is not in the database.
    pub(in crate::postgres) fn on_failed(&self) {
        for counts in lock(&self.0).values_mut() {
            for (minute, sent) in std::mem::take(&mut counts.sent) {
                *counts.counted.entry(minute).or_default() += sent;
            }
        }
    }

    /// Replaces what was read of a user. It has everything that was written before, but not the settlements that are not
    /// durable yet.
    pub(in crate::postgres) fn on_read(
        &self,
        principal: PrincipalId,
        mut usage: UserUsage,
        settling: &[SettlementRecord],
    ) {
        settling.iter().for_each(|record| usage.settle(&principal, record));
        let read = ReadUsage { usage, read_at: Instant::now() };
        lock(&self.0).entry(principal).or_default().read = Some(read);
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AgentId, CallKey, MicroUsd, PriceBasis};

    use super::*;
    use crate::ledger::reservation::{ReservationId, ReservationRecord};
    use crate::ledger::{Account, Settlement};
    use crate::suite::{NOW, principal};

    fn settled(micros: u64) -> SettlementRecord {
        let account = Account {
            principal: principal("alice"),
            agent: AgentId::new("writer").unwrap(),
            workflow: None,
            run: None,
            model: "play.one".into(),
            price: PriceBasis::Listed,
        };
        let (id, key, upper_bound) = (ReservationId(1), CallKey::new("call").unwrap(), Amount::of_cost(MicroUsd(100)));
        let reservation = ReservationRecord { id, key, account, budgets: Vec::new(), upper_bound, at: NOW };
        let settlement = Settlement::Actual(Amount::of_cost(MicroUsd(micros)));
        SettlementRecord { reservation, settlement, at: NOW }
    }

    #[test]
    fn what_a_call_has_cost_is_in_the_usage_of_its_user_without_a_reading() {
        let cache = UsageCache::default();
        let alice = principal("alice");
        cache.settle(&settled(1));
        assert!(cache.recent(&alice, Periods::default(), NOW).is_none(), "nothing was read yet");
        cache.on_read(alice.clone(), UserUsage::default(), &[settled(20)]);
        cache.settle(&settled(300));
        let usage = cache.recent(&alice, Periods::default(), NOW).unwrap();
        let costs = [usage.cost_spent, usage.tenant_cost_spent, usage.cost_hour];
        assert_eq!(costs, [MicroUsd(320); 3]);
    }

    #[test]
    fn requests_count_once_while_they_are_counted_sent_and_written() {
        let cache = UsageCache::default();
        let alice = principal("alice");
        let calls = || cache.newest(&alice, Periods::default(), NOW).calls_hour;
        cache.on_read(alice.clone(), UserUsage::default(), &[]);
        for _ in 0..2 {
            cache.count(&alice, RequestKind::Call, NOW);
        }
        assert_eq!((calls(), cache.has_counted()), (2, true));
        assert_eq!(cache.send().len(), 1);
        cache.count(&alice, RequestKind::Call, NOW);
        assert_eq!(calls(), 3);
        cache.on_failed();
        assert_eq!(calls(), 3);
        cache.send();
        cache.on_written();
        assert_eq!((calls(), cache.has_counted()), (3, false));
    }
}
