//! Generations in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::generation_store::{
    Generation, GenerationInfo, GenerationKind, GenerationStore, Generations, NewGeneration, check_files, hash_files,
    newest_removed,
};
use crate::in_memory::shared::lock;

/// The generations by kind and number.
type Stored = BTreeMap<(GenerationKind, u64), Generation>;

/// The generations.
#[derive(Debug, Default)]
pub(super) struct InMemoryGenerations {
    stored: Mutex<Stored>,
    current: watch::Sender<Generations>,
}

#[async_trait]
impl GenerationStore for InMemoryGenerations {
    async fn current_generations(&self) -> Result<Generations, StoreError> {
        Ok(*self.current.borrow())
    }

    fn watch(&self) -> watch::Receiver<Generations> {
        self.current.subscribe()
    }

    async fn get(&self, kind: GenerationKind, number: u64) -> Result<Option<Generation>, StoreError> {
        Ok(lock(&self.stored).get(&(kind, number)).cloned())
    }

    async fn list(&self, kind: GenerationKind) -> Result<Vec<GenerationInfo>, StoreError> {
        let stored = lock(&self.stored);
        let of_kind = stored.iter().filter(|((found, _), _)| *found == kind).rev();
        Ok(of_kind.map(|(_, generation)| generation.info.clone()).collect())
    }

    async fn apply(&self, new: NewGeneration, checked: Generations) -> Result<Option<u64>, StoreError> {
        check_files(&new.files)?;
        let mut stored = lock(&self.stored);
        if *self.current.borrow() != checked {
            return Ok(None);
        }
        let NewGeneration { kind, files, source, by, at } = new;
        let number = checked.number(kind).saturating_add(1);
        let info = GenerationInfo { number, hash: hash_files(&files), source, by, at };
        stored.retain(|(found, number_found), _| *found != kind || *number_found > newest_removed(number));
        stored.insert((kind, number), Generation { info, files });
        self.current.send_replace(checked.with_number(kind, number));
        Ok(Some(number))
    }
}
