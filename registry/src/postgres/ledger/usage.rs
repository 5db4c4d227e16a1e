//! The usage of users as the policy reads it: at most [`USAGE_AGE_MAX`] old for what other pods have counted, and that of
//! this pod at once: what it counts and settles is added to what it has read, which needs no commit. That of a tenant is
//! here once for all its users, so a settlement changes one user and one tenant, whatever the number of users.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, Timestamp};
use tokio::time::Instant;

use crate::ledger::reservation::SettlementRecord;
use crate::ledger::usage::{BudgetUsage, UsageCounts, Window, day_of, minute_of, window_minutes};
use crate::ledger::{Periods, RequestKind, UsageSummary};
use crate::postgres::lock::lock;

/// How long the usage that was read may be used.
const USAGE_AGE_MAX: Duration = Duration::from_secs(1);
/// How long the usage of a user without requests is remembered, and that of a tenant without them.
const USAGE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Counts of requests by minute.
pub(in crate::postgres) type Minutes = BTreeMap<i64, UsageCounts>;

/// The usage of one user and of the user's tenant, as a batch has read it.
#[derive(Debug, Default)]
pub(in crate::postgres) struct UserUsage {
    pub(in crate::postgres) window: Window,
    pub(in crate::postgres) user: BudgetUsage,
    pub(in crate::postgres) tenant: BudgetUsage,
}

/// What was read of one user.
#[derive(Debug)]
struct ReadUser {
    window: Window,
    spending: BudgetUsage,
    read_at: Instant,
}

impl ReadUser {
    /// Adds what a call of this user has cost.
    fn settle(&mut self, record: &SettlementRecord) {
        self.window.add(minute_of(record.at), UsageCounts::of_amount(record.amount()));
        self.spending.spend(day_of(record.at), record.amount());
    }
}

/// What was read of one tenant, with any of its users.
#[derive(Debug)]
struct ReadTenant {
    spending: BudgetUsage,
    read_at: Instant,
}

impl ReadTenant {
    /// Adds what a call of a user of this tenant has cost.
    fn settle(&mut self, record: &SettlementRecord) {
        self.spending.spend(day_of(record.at), record.amount());
    }
}

#[derive(Debug, Default)]
struct Usages {
    users: HashMap<PrincipalId, ReadUser>,
    tenants: HashMap<TenantId, ReadTenant>,
    /// Counted, and not sent to the database.
    counted: HashMap<PrincipalId, Minutes>,
    /// In the batch that is being written.
    sent: HashMap<PrincipalId, Minutes>,
    swept_at: Option<Instant>,
}

impl Usages {
    /// The usage in the hour before this minute, and what is spent in each period.
    fn summary(&self, principal: &PrincipalId, periods: Periods, now: Timestamp) -> UsageSummary {
        let (minute, day) = (minute_of(now), day_of(now));
        let oldest = minute.saturating_sub(window_minutes());
        let read = self.users.get(principal);
        let mut hour = read.map(|read| read.window.sum(minute)).unwrap_or_default();
        let unwritten = [&self.counted, &self.sent].into_iter().filter_map(|counts| counts.get(principal));
        unwritten.for_each(|minutes| minutes.range(oldest + 1..).for_each(|(_, counts)| hour += *counts));
        let user = read.map(|read| read.spending.spent(periods.user, day));
        let tenant = self.tenants.get(&principal.tenant).map(|read| read.spending.spent(periods.tenant, day));
        hour.summary(user.unwrap_or_default(), tenant.unwrap_or_default())
    }

    /// Removes what was read of users and tenants that have had no request since, at most once in [`USAGE_AGE_MAX`].
    fn sweep(&mut self) {
        if self.swept_at.is_some_and(|at| at.elapsed() < USAGE_AGE_MAX) {
            return;
        }
        self.swept_at = Some(Instant::now());
        self.users.retain(|_, read| read.read_at.elapsed() < USAGE_IDLE_MAX);
        self.tenants.retain(|_, read| read.read_at.elapsed() < USAGE_IDLE_MAX);
    }
}

/// The usage of the users of this pod.
#[derive(Debug, Default)]
pub(in crate::postgres) struct UsageCache(Mutex<Usages>);

impl UsageCache {
    /// Counts one request.
    pub(in crate::postgres) fn count(&self, principal: &PrincipalId, kind: RequestKind, now: Timestamp) {
        let one = match kind {
            RequestKind::Call => UsageCounts { calls: 1, ..UsageCounts::default() },
            RequestKind::Query => UsageCounts { queries: 1, ..UsageCounts::default() },
        };
        let mut usages = lock(&self.0);
        *usages.counted.entry(principal.clone()).or_default().entry(minute_of(now)).or_default() += one;
    }

    /// The usage, if it was read recently.
    pub(in crate::postgres) fn recent(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Option<UsageSummary> {
        let usages = lock(&self.0);
        let is_recent = usages.users.get(principal).is_some_and(|read| read.read_at.elapsed() < USAGE_AGE_MAX);
        is_recent.then(|| usages.summary(principal, periods, now))
    }

    /// The usage as it was read last, with what was counted since.
    pub(in crate::postgres) fn newest(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> UsageSummary {
        lock(&self.0).summary(principal, periods, now)
    }

    /// Adds a call that was settled to what was read of its user and of the user's tenant.
    pub(in crate::postgres) fn settle(&self, record: &SettlementRecord) {
        let payer = &record.reservation.account.principal;
        let mut usages = lock(&self.0);
        if let Some(read) = usages.users.get_mut(payer) {
            read.settle(record);
        }
        if let Some(read) = usages.tenants.get_mut(&payer.tenant) {
            read.settle(record);
        }
    }

    /// True if something was counted that is not in the database.
    pub(in crate::postgres) fn has_counted(&self) -> bool {
        !lock(&self.0).counted.is_empty()
    }

    /// Takes what was counted, for a batch.
    pub(in crate::postgres) fn send(&self) -> Vec<(PrincipalId, Minutes)> {
        let mut usages = lock(&self.0);
        usages.sweep();
        usages.sent = std::mem::take(&mut usages.counted);
        usages.sent.iter().map(|(principal, minutes)| (principal.clone(), minutes.clone())).collect()
    }

    /// What was sent is in the database.
    pub(in crate::postgres) fn on_written(&self) {
        let mut usages = lock(&self.0);
        for (principal, minutes) in std::mem::take(&mut usages.sent) {
            if let Some(read) = usages.users.get_mut(&principal) {
                minutes.into_iter().for_each(|(minute, counts)| read.window.add(minute, counts));
            }
        }
    }

    /// What was sent is not in the database.
    pub(in crate::postgres) fn on_failed(&self) {
        let mut usages = lock(&self.0);
        for (principal, minutes) in std::mem::take(&mut usages.sent) {
            let counted = usages.counted.entry(principal).or_default();
            minutes.into_iter().for_each(|(minute, sent)| *counted.entry(minute).or_default() += sent);
        }
    }

    /// Replaces what was read of a user and of the user's tenant. It has everything that was written before, but not the
    /// settlements of the tenant that are not durable yet.
    pub(in crate::postgres) fn on_read(&self, principal: PrincipalId, usage: UserUsage, settling: &[SettlementRecord]) {
        let read_at = Instant::now();
        let mut user = ReadUser { window: usage.window, spending: usage.user, read_at };
        let mut tenant = ReadTenant { spending: usage.tenant, read_at };
        for record in settling {
            let payer = &record.reservation.account.principal;
            if *payer == principal {
                user.settle(record);
            }
            if payer.tenant == principal.tenant {
                tenant.settle(record);
            }
        }
        let mut usages = lock(&self.0);
        usages.tenants.insert(principal.tenant.clone(), tenant);
        usages.users.insert(principal, user);
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AgentId, CallKey, MicroUsd, PriceBasis};

    use super::*;
    use crate::ledger::reservation::{ReservationId, ReservationRecord};
    use crate::ledger::{Account, Amount, Settlement};
    use crate::suite::{NOW, principal};

    fn settled(micros: u64) -> SettlementRecord {
        settled_by(principal("alice"), micros)
    }

    fn settled_by(principal: PrincipalId, micros: u64) -> SettlementRecord {
        let account = Account {
            principal,
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
    fn what_a_user_has_spent_is_in_the_usage_of_the_tenant_once_for_all_its_users() {
        let cache = UsageCache::default();
        let others: Vec<PrincipalId> = (0..3).map(|user| principal(&format!("user-{user}"))).collect();
        others.iter().for_each(|user| cache.on_read(user.clone(), UserUsage::default(), &[settled(20)]));
        let stranger = PrincipalId { tenant: TenantId::new("globex").unwrap(), ..principal("user-0") };
        cache.on_read(stranger.clone(), UserUsage::default(), &[]);
        cache.settle(&settled_by(others[0].clone(), 300));
        let costs = |user: &PrincipalId| {
            let usage = cache.recent(user, Periods::default(), NOW).unwrap();
            (usage.cost_spent.0, usage.tenant_cost_spent.0)
        };
        assert_eq!(others.iter().map(costs).collect::<Vec<_>>(), [(300, 320), (0, 320), (0, 320)]);
        assert_eq!(costs(&stranger), (0, 0));
        assert_eq!(lock(&cache.0).tenants.len(), 2, "a tenant is remembered once");
    }

    #[test]
    fn what_other_pods_have_spent_for_a_tenant_is_read_with_any_of_its_users() {
        let cache = UsageCache::default();
        let (alice, bob) = (principal("alice"), principal("bob"));
        cache.on_read(alice.clone(), UserUsage::default(), &[]);
        let mut usage = UserUsage::default();
        usage.tenant.spend(day_of(NOW), Amount::of_cost(MicroUsd(7)));
        cache.on_read(bob, usage, &[]);
        let usage = cache.recent(&alice, Periods::default(), NOW).unwrap();
        assert_eq!((usage.cost_spent, usage.tenant_cost_spent), (MicroUsd(0), MicroUsd(7)));
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
