//! The audit: entries, reading, verification, pruning.

use protocol::audit::Event;

use super::*;
use crate::audit::{AuditScope, AuditSeq, PruneReport};

#[tokio::test]
async fn an_entry_is_opened_and_closed_and_the_chain_is_valid() {
    for stores in TestStores::each().await {
        let audit = &stores.stores.audit;
        let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
        assert_eq!((entry.opened(), entry.request()), (AuditSeq(1), &RequestId::from_u128(1)));
        assert_eq!(stores.stores.core.record_system_event("policy", "a new bundle", NOW).await.unwrap(), AuditSeq(2));
        stores.stores.core.close_entry(entry, closing(), NOW).await;
        let records = audit.find(&AuditScope::All, RequestId::from_u128(1).as_str()).await.unwrap();
        assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(records[0].event, Event::Opened(opening(1)));
        assert_eq!(records[1].event, Event::Closed { opened: 1, closing: closing() });
        assert_eq!(audit.find(&AuditScope::All, "2").await.unwrap().len(), 1);
        assert_eq!(audit.find(&AuditScope::All, "99").await.unwrap(), []);
        let report = audit.verify().await.unwrap();
        assert!(report.is_valid(), "{report:?}");
        assert_eq!(report.records, 3);
    }
}

#[tokio::test]
async fn an_entry_that_is_dropped_is_closed_as_interrupted() {
    for stores in TestStores::each().await {
        drop(stores.stores.core.open_entry(opening(1), NOW).await.unwrap());
        let records = stores.stores.audit.find(&AuditScope::All, RequestId::from_u128(1).as_str()).await.unwrap();
        assert_eq!(records[1].event, Event::Interrupted { opened: 1 });
    }
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest() {
    for stores in TestStores::each().await {
        let audit = &stores.stores.audit;
        for number in 1..=5 {
            stores.stores.core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
        }
        let first = audit.read(&AuditScope::All, None, 3).await.unwrap();
        assert_eq!(first.records.iter().map(|record| record.number).collect::<Vec<_>>(), [5, 4, 3]);
        let rest = audit.read(&AuditScope::All, first.next, 3).await.unwrap();
        assert_eq!(rest.records.iter().map(|record| record.number).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(rest.next, None);
    }
}

#[tokio::test]
async fn a_tenant_reads_its_own_entries_and_the_pods_own_tenant_also_the_events_of_the_platform() {
    for stores in TestStores::each().await {
        let audit = &stores.stores.audit;
        for (number, name) in [(1, "acme"), (2, "globex"), (3, "default"), (4, "acme")] {
            let entry =
                stores.stores.core.open_entry(Opening { tenant: tenant(name), ..opening(number) }, NOW).await.unwrap();
            stores.stores.core.close_entry(entry, closing(), NOW).await;
        }
        drop(stores.stores.core.open_entry(Opening { tenant: tenant("globex"), ..opening(5) }, NOW).await.unwrap());
        stores.stores.core.record_system_event("policy", "a new bundle", NOW).await.unwrap();
        for (name, expected) in
            [("acme", vec![8, 7, 2, 1]), ("globex", vec![10, 9, 4, 3]), ("default", vec![11, 6, 5]), ("nobody", vec![])]
        {
            let scope = AuditScope::for_tenant(&tenant(name));
            let mut numbers = Vec::new();
            let mut page = audit.read(&scope, None, 2).await.unwrap();
            loop {
                numbers.extend(page.records.iter().map(|record| record.number));
                if page.next.is_none() {
                    break;
                }
                page = audit.read(&scope, page.next, 2).await.unwrap();
            }
            assert_eq!(numbers, expected, "{name}");
            for number in 1..=11 {
                let is_own = !audit.find(&scope, &number.to_string()).await.unwrap().is_empty();
                assert_eq!(is_own, expected.contains(&number), "{name}: {number}");
            }
            let of_globex = audit.find(&scope, RequestId::from_u128(5).as_str()).await.unwrap();
            assert_eq!(of_globex.len(), if name == "globex" { 2 } else { 0 }, "{name}");
        }
    }
}

#[tokio::test]
async fn concurrent_entries_share_one_chain() {
    for stores in TestStores::each().await {
        let call = |number: u128| {
            let core = stores.stores.core.clone();
            async move {
                let entry = core.open_entry(opening(number), NOW).await.unwrap();
                core.close_entry(entry, closing(), NOW).await;
            }
        };
        futures::future::join_all((0..500).map(call)).await;
        let report = stores.stores.audit.verify().await.unwrap();
        assert!(report.is_valid(), "{report:?}");
        assert_eq!(report.records, 1_000);
    }
}

#[tokio::test]
async fn pruning_stops_before_an_open_entry_and_leaves_an_anchor() {
    for stores in TestStores::each().await {
        let audit = &stores.stores.audit;
        for number in 1..=4 {
            stores.stores.core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
        }
        let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
        stores.stores.core.record_system_event("test", "later", NOW).await.unwrap();
        let later = NOW.saturating_add(MINUTE);
        assert_eq!(stores.stores.maintenance.prune_audit(NOW, later).await.unwrap(), PruneReport::default());
        let pruned = stores.stores.maintenance.prune_audit(later, later).await.unwrap();
        assert_eq!(pruned, PruneReport { records: 4, through: AuditSeq(4) });
        stores.stores.core.close_entry(entry, closing(), later).await;
        let report = audit.verify().await.unwrap();
        assert!(report.is_valid(), "{report:?}");
        assert_eq!((report.anchor, report.records), (4, 4));
        assert_eq!(
            stores.stores.maintenance.prune_audit(later.saturating_add(MINUTE), later).await.unwrap().through,
            AuditSeq(8)
        );
        let report = audit.verify().await.unwrap();
        assert!(report.is_valid(), "{report:?}");
        assert_eq!((report.anchor, report.records), (8, 1));
    }
}
