//! Generations: numbered within their kind, decided against what is current, notified, and removed when they are old.

use super::*;
use crate::generation_store::{
    GENERATION_BYTES_MAX, GENERATIONS_STORED_MAX, Generation, GenerationFiles, GenerationKind, Generations,
    NewGeneration, hash_files,
};

use GenerationKind::{Catalogue, Policy};

fn files(contents: &[(&str, &str)]) -> GenerationFiles {
    contents.iter().map(|(name, text)| ((*name).to_owned(), Arc::<[u8]>::from(text.as_bytes()))).collect()
}

fn new(kind: GenerationKind, contents: &[(&str, &str)]) -> NewGeneration {
    NewGeneration { kind, files: files(contents), source: "s3://bucket/x".into(), by: principal("alice"), at: NOW }
}

impl TestStores {
    /// Applies files against what is current.
    async fn apply(&self, kind: GenerationKind, contents: &[(&str, &str)]) -> Option<u64> {
        let store = &self.stores.generations;
        let checked = store.current_generations().await.unwrap();
        store.apply(new(kind, contents), checked).await.unwrap()
    }

    async fn generation(&self, kind: GenerationKind, number: u64) -> Option<Generation> {
        self.stores.generations.get(kind, number).await.unwrap()
    }
}

#[tokio::test]
async fn each_kind_has_numbers_of_its_own_and_the_last_one_is_current() {
    for stores in TestStores::each().await {
        let store = &stores.stores.generations;
        assert_eq!(store.current_generations().await.unwrap(), Generations::default());
        assert_eq!(stores.generation(Catalogue, 1).await, None);
        let (first, second) = ([("a/x.yaml", "1"), ("b.yaml", "1")], [("a/x.yaml", "2")]);
        assert_eq!(stores.apply(Catalogue, &first).await, Some(1));
        assert_eq!(stores.apply(Policy, &[("guard.tar.gz", "\u{0}\u{ff}")]).await, Some(1));
        assert_eq!(stores.apply(Catalogue, &second).await, Some(2));
        // A rollback has a number of its own.
        assert_eq!(stores.apply(Catalogue, &first).await, Some(3));
        assert_eq!(store.current_generations().await.unwrap(), Generations { catalogue: 3, policy: 1 });
        let stored = stores.generation(Catalogue, 3).await.unwrap();
        assert_eq!((&stored.files, stored.info.hash), (&files(&first), hash_files(&files(&first))));
        assert_eq!((stored.info.number, stored.info.source.as_str()), (3, "s3://bucket/x"));
        assert_eq!((stored.info.by, stored.info.at), (principal("alice"), NOW));
        assert_eq!(stores.generation(Catalogue, 2).await.unwrap().files, files(&second));
        let numbers: Vec<u64> = store.list(Catalogue).await.unwrap().iter().map(|info| info.number).collect();
        assert_eq!(numbers, [3, 2, 1]);
        assert_eq!(store.list(Policy).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn files_that_were_checked_against_something_else_are_not_applied() {
    for stores in TestStores::each().await {
        let store = &stores.stores.generations;
        let checked = Generations::default();
        assert_eq!(store.apply(new(Policy, &[("guard.tar.gz", "1")]), checked).await.unwrap(), Some(1));
        // The catalogue was checked against the names of the policy before.
        assert_eq!(store.apply(new(Catalogue, &[("a.yaml", "1")]), checked).await.unwrap(), None);
        assert_eq!(store.current_generations().await.unwrap(), Generations { catalogue: 0, policy: 1 });
        assert_eq!(stores.generation(Catalogue, 1).await, None);
        // Of several at the same time, one is taken.
        let checked = Generations { catalogue: 0, policy: 1 };
        let apply = |text| store.apply(new(Catalogue, &[("a.yaml", text)]), checked);
        let results = futures::future::join_all(["1", "2", "3", "4"].map(apply)).await;
        let taken: Vec<u64> = results.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(taken, [1]);
        assert_eq!(store.current_generations().await.unwrap(), Generations { catalogue: 1, policy: 1 });
    }
}

#[tokio::test]
async fn an_application_is_notified() {
    for stores in TestStores::each().await {
        let mut current = stores.stores.generations.watch();
        stores.apply(Policy, &[("guard.tar.gz", "1")]).await;
        let notified = tokio::time::timeout(MINUTE, current.wait_for(|current| current.policy == 1)).await;
        assert_eq!(*notified.unwrap().unwrap(), Generations { catalogue: 0, policy: 1 });
    }
}

#[tokio::test]
async fn old_generations_are_removed_and_what_another_one_shares_with_them_is_not() {
    for stores in TestStores::each().await {
        for number in 1..=GENERATIONS_STORED_MAX + 2 {
            let text = number.to_string();
            assert_eq!(stores.apply(Catalogue, &[("a.yaml", "same"), ("b.yaml", &text)]).await, Some(number));
        }
        assert_eq!(stores.generation(Catalogue, 2).await, None);
        let oldest = stores.generation(Catalogue, 3).await.unwrap();
        assert_eq!(oldest.files, files(&[("a.yaml", "same"), ("b.yaml", "3")]));
        let count = stores.stores.generations.list(Catalogue).await.unwrap().len();
        assert_eq!(count as u64, GENERATIONS_STORED_MAX);
    }
}

#[tokio::test]
async fn a_generation_without_files_or_above_the_limit_is_not_stored() {
    for stores in TestStores::each().await {
        let store = &stores.stores.generations;
        let large = Arc::<[u8]>::from(vec![0; GENERATION_BYTES_MAX / 2 + 1]);
        let large = ["a", "b"].map(|name| (name.to_owned(), Arc::clone(&large)));
        for files in [GenerationFiles::new(), GenerationFiles::from(large)] {
            let refused = NewGeneration { files, ..new(Catalogue, &[]) };
            assert!(store.apply(refused, Generations::default()).await.is_err());
        }
        assert_eq!(store.current_generations().await.unwrap(), Generations::default());
    }
}

#[tokio::test]
async fn generations_survive_the_process() {
    let stores = TestStores::sqlite().await;
    stores.apply(Catalogue, &[("a.yaml", "1")]).await;
    let stores = stores.crash_and_reopen().await;
    assert_eq!(*stores.stores.generations.watch().borrow(), Generations { catalogue: 1, policy: 0 });
    assert_eq!(stores.generation(Catalogue, 1).await.unwrap().files, files(&[("a.yaml", "1")]));
    assert_eq!(stores.apply(Catalogue, &[("a.yaml", "2")]).await, Some(2));
}
