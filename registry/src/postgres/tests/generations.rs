//! What one pod has applied, another one of the same database learns from its tick.

use std::sync::Arc;

use crate::generation_store::{GenerationFiles, GenerationKind, Generations, NewGeneration};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, principal};

fn new(text: &str) -> NewGeneration {
    let file = ("a.yaml".to_owned(), Arc::<[u8]>::from(text.as_bytes()));
    let files = GenerationFiles::from([file]);
    NewGeneration { kind: GenerationKind::Catalogue, files, source: "/a".into(), by: principal("alice"), at: NOW }
}

#[tokio::test]
async fn the_tick_of_every_pod_finds_what_one_has_applied() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let (first, second) = (&a.stores.generations, &b.stores.generations);
    let mut current = second.watch();
    let (of_first, of_second) = (a.stores.cluster.watch_announcements(), b.stores.cluster.watch_announcements());
    assert_eq!(first.apply(new("1"), Generations::default()).await.unwrap(), Some(1));
    assert_eq!(of_first.borrow().generations, 1, "it is announced to the other pods");
    let found = tokio::time::timeout(MINUTE, current.wait_for(|current| current.catalogue == 1)).await;
    assert_eq!(*found.unwrap().unwrap(), Generations { catalogue: 1, policy: 0 });
    let read = second.get(GenerationKind::Catalogue, 1).await.unwrap().unwrap();
    assert_eq!(read.files, new("1").files);
    // The other one was checked against nothing.
    assert_eq!(second.apply(new("2"), Generations::default()).await.unwrap(), None);
    assert_eq!(of_second.borrow().generations, 0);
    // A pod that starts later reads it before its first tick.
    let c = open_pod(&database.url(), "pod_c", 1).await.unwrap();
    assert_eq!(c.stores.generations.current_generations().await.unwrap().catalogue, 1);
}

#[tokio::test]
async fn a_dead_pod_applies_nothing() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    database.execute("UPDATE pods SET dead = true").await;
    assert!(a.stores.generations.apply(new("1"), Generations::default()).await.is_err());
    assert_eq!(database.count("SELECT catalogue FROM current_generations").await, 0);
}

#[tokio::test]
async fn files_that_were_changed_in_the_database_are_not_served() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    a.stores.generations.apply(new("1"), Generations::default()).await.unwrap();
    database.execute("UPDATE generation_files SET content = 'changed'").await;
    let read = a.stores.generations.get(GenerationKind::Catalogue, 1).await;
    assert!(read.is_err_and(|error| error.to_string().contains("do not have its hash")));
}
