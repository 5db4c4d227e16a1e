//! From the configuration to the active policy: the bundle is read, compiled and validated.

use std::sync::Arc;

use greenroom_actors::guard::GuardHandle;
use greenroom_protocol::Cause;
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, CacheDir, PolicySnapshot, SnapshotError};

use super::blocking::run_blocking;
use crate::config::{self, Config, StoreConfig};
use crate::sources::OwnSources;

/// Reads the configured bundle, or the embedded one.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidPolicy`]; those of a bucket.
pub async fn open_bundle(config: &Config) -> Result<Bundle, Cause> {
    OwnSources::open(config)?.bundle().await
}

/// Compiles and validates the configured policy, for commands that only evaluate it.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidPolicy`].
pub async fn load_snapshot(config: &Config) -> Result<Arc<PolicySnapshot>, Cause> {
    Ok(compile(config, open_bundle(config).await?).await?.0)
}

/// Compiles and validates a bundle. The compiler is returned too: a reload uses it again.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidPolicy`].
pub async fn compile(config: &Config, bundle: Bundle) -> Result<(Arc<PolicySnapshot>, Compiler), Cause> {
    let cache = match config.store {
        StoreConfig::Memory | StoreConfig::Unsupported { .. } => CacheDir::Off,
        StoreConfig::Sqlite { .. } | StoreConfig::Postgres { .. } => CacheDir::At(config.cache_dir()),
    };
    let (compiler, compiled) = run_blocking(move || {
        let compiler = Compiler::new(&cache)?;
        let compiled = compiler.compile(&bundle)?;
        Ok::<_, SnapshotError>((compiler, compiled))
    })
    .await??;
    Ok((PolicySnapshot::validate(compiled).await?, compiler))
}

/// A guard with one engine for each configured worker, deciding by this snapshot.
#[must_use]
pub fn guard(config: &Config, (snapshot, compiler): (Arc<PolicySnapshot>, Compiler)) -> GuardHandle {
    GuardHandle::new(snapshot, compiler, config::guard::resolve_workers(config.guard_workers))
}
