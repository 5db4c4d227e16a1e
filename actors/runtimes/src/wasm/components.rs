//! The compiled components, by name and by content.
//!
//! A component is compiled when it is called first. That takes about half a second of processor time for each megabyte, or
//! milliseconds if the cache on disk has it. One is compiled at a time, on a thread that may block, and its compilation ends
//! also if the caller stops waiting. A file is compared with what was compiled once a second at most, so that an execution
//! costs no system call.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use greenroom_actors::concurrency::spawn_blocking;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use tokio::time::Instant;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Cache, Engine};

use super::component_file::{self, Fingerprint, unavailable};
use super::interface::find_execute;
use super::store_state::StoreState;

/// How long a file is taken to be what it was when it was compared last.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(1);
/// Names whose components are in memory; beyond it, the one that was compared longest ago is removed.
const NAMES_MAX: usize = 256;
/// Bytes of a message of the compiler.
const MESSAGE_BYTES_MAX: usize = 512;

/// A component that can be executed.
pub(super) struct CompiledComponent {
    /// The component with its imports.
    pub(super) instance: InstancePre<StoreState>,
    /// The function `execute`.
    pub(super) execute: ComponentExportIndex,
}

/// What a name means at present: a component, or why its file is none.
type Compilation = Result<Arc<CompiledComponent>, Cause>;

struct NamedComponent {
    fingerprint: Fingerprint,
    compared_at: Instant,
    compilation: Compilation,
}

/// The components of one folder.
pub(super) struct Components {
    folder: PathBuf,
    engine: Engine,
    linker: Linker<StoreState>,
    cache: Option<Cache>,
    names: Mutex<HashMap<String, NamedComponent>>,
    contents: Mutex<HashMap<ContentHash, Weak<CompiledComponent>>>,
    /// Locked by what compiles.
    compiler: Arc<tokio::sync::Mutex<()>>,
}

impl Components {
    /// The components of a folder; the cache is that of the engine.
    pub(super) fn new(folder: PathBuf, engine: Engine, linker: Linker<StoreState>, cache: Option<Cache>) -> Self {
        let (names, contents, compiler) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { folder, engine, linker, cache, names, contents, compiler }
    }

    /// The number of components that the cache on disk had.
    pub(super) fn cache_hits(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_hits)
    }

    /// The component with this name, compiled from what its file contains.
    ///
    /// # Errors
    /// [`ErrorCode::RuntimeUnavailable`] if the folder has no such file, or it is no component that fits the world.
    pub(super) async fn get(self: &Arc<Self>, name: &str) -> Compilation {
        if let Some(compilation) = self.find_recent(name) {
            return compilation;
        }
        let path = component_file::path(&self.folder, name)?;
        let fingerprint = component_file::fingerprint(&path, name).await?;
        if let Some(compilation) = self.find_unchanged(name, fingerprint) {
            return compilation;
        }
        let lock = Arc::clone(&self.compiler).lock_owned().await;
        // Another caller may have compiled it meanwhile.
        if let Some(compilation) = self.find_unchanged(name, fingerprint) {
            return compilation;
        }
        let (components, name) = (Arc::clone(self), name.to_owned());
        let compiling = spawn_blocking(move || {
            let _lock = lock;
            let (bytes, fingerprint) = component_file::read(&components.folder, &path, &name)?;
            let compilation = components.compile(&bytes, &name);
            components.store(name, fingerprint, compilation.clone());
            compilation
        });
        let failed = || Cause::new(ErrorCode::Internal, "the compilation of the component has panicked");
        compiling.await.unwrap_or_else(|_| Err(failed()))
    }

    fn lock_names(&self) -> MutexGuard<'_, HashMap<String, NamedComponent>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_recent(&self, name: &str) -> Option<Compilation> {
        let names = self.lock_names();
        let found = names.get(name).filter(|found| found.compared_at.elapsed() < COMPARISON_INTERVAL)?;
        Some(found.compilation.clone())
    }

    fn find_unchanged(&self, name: &str, fingerprint: Fingerprint) -> Option<Compilation> {
        let mut names = self.lock_names();
        let found = names.get_mut(name).filter(|found| found.fingerprint == fingerprint)?;
        found.compared_at = Instant::now();
        Some(found.compilation.clone())
    }

    fn store(&self, name: String, fingerprint: Fingerprint, compilation: Compilation) {
        let mut names = self.lock_names();
        if names.len() >= NAMES_MAX && !names.contains_key(&name) {
            let oldest = names.iter().min_by_key(|(_, found)| found.compared_at).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| names.remove(&oldest));
        }
        names.insert(name, NamedComponent { fingerprint, compared_at: Instant::now(), compilation });
    }

    /// Compiles the bytes, unless a component with this content is in memory.
    fn compile(&self, bytes: &[u8], name: &str) -> Compilation {
        let hash = ContentHash::from_content(bytes);
        let found = self.lock_contents().get(&hash).and_then(Weak::upgrade);
        if let Some(found) = found {
            return Ok(found);
        }
        let started_at = Instant::now();
        let component = self.try_compile(bytes).map_err(|problem| {
            tracing::warn!(component.name = name, error.message = problem, "a component cannot be executed");
            unavailable(&format!("the component `{name}` cannot be executed: {problem}"))
        })?;
        let elapsed_ms = u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let cache_hits = self.cache_hits();
        tracing::info!(
            component.name = name,
            component.hash = hash.short(),
            component.cache_hits = cache_hits,
            elapsed_ms,
            "component compiled"
        );
        let component = Arc::new(component);
        let mut contents = self.lock_contents();
        contents.retain(|_, component| component.strong_count() > 0);
        contents.insert(hash, Arc::downgrade(&component));
        Ok(component)
    }

    fn lock_contents(&self) -> MutexGuard<'_, HashMap<ContentHash, Weak<CompiledComponent>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_compile(&self, bytes: &[u8]) -> Result<CompiledComponent, String> {
        let describe = |error: &wasmtime::Error| truncate_utf8(&format!("{error:#}"), MESSAGE_BYTES_MAX).to_owned();
        let component = Component::from_binary(&self.engine, bytes).map_err(|error| describe(&error))?;
        let execute = find_execute(&component)?;
        let instance = self.linker.instantiate_pre(&component).map_err(|error| describe(&error))?;
        Ok(CompiledComponent { instance, execute })
    }
}
