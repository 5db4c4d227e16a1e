//! A file that is being written: under another name until it is complete. A small one is written at its end, with one
//! call to a thread that may block.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::blocking::run_blocking;
use super::durable;
use crate::artifacts::objects::Upload;
use crate::error::StoreError;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1024 * 1024;

pub(super) struct FolderUpload {
    root: Arc<Path>,
    staging: StagingFile,
    file: Option<fs::File>,
    buffer: BytesMut,
}

/// The path of an unfinished file, which is removed with this value.
struct StagingFile(PathBuf);

impl Drop for StagingFile {
    fn drop(&mut self) {
        // It does not exist if it was renamed or never created. What cannot be removed now is removed by a sweep.
        let _ = fs::remove_file(&self.0);
    }
}

impl FolderUpload {
    pub(super) fn new(root: Arc<Path>, staging_path: PathBuf) -> Self {
        Self { root, staging: StagingFile(staging_path), file: None, buffer: BytesMut::new() }
    }

    /// Writes the buffer, after the file was created if it has not been yet.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let (root, path, file) = (Arc::clone(&self.root), self.staging.0.clone(), self.file.take());
        let bytes = self.buffer.split().freeze();
        self.file = Some(run_blocking(move || Ok(write(&root, &path, file, &bytes)?)).await?);
        Ok(())
    }
}

fn write(root: &Path, path: &Path, file: Option<fs::File>, bytes: &[u8]) -> io::Result<fs::File> {
    let mut file = match file {
        Some(file) => file,
        None => {
            durable::in_folder(root, path, || fs::File::create_new(path).map(drop))?;
            fs::File::options().append(true).open(path)?
        }
    };
    file.write_all(bytes)?;
    Ok(file)
}

/// Flushes the file and its folders, and gives it its name in between.
fn publish(root: &Path, staging_path: &Path, file: &fs::File, path: &Path) -> io::Result<()> {
    file.sync_data()?;
    durable::in_folder(root, path, || fs::rename(staging_path, path))?;
    durable::flush_folders(root, path)
}

#[async_trait]
impl Upload for FolderUpload {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(&chunk);
        if self.buffer.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn finish(mut self: Box<Self>, key: &str) -> Result<(), StoreError> {
        let (root, path, file) = (Arc::clone(&self.root), self.root.join(key), self.file.take());
        let (staging_path, bytes) = (self.staging.0.clone(), self.buffer.split().freeze());
        run_blocking(move || {
            let file = write(&root, &staging_path, file, &bytes)?;
            Ok(publish(&root, &staging_path, &file, &path)?)
        })
        .await
    }

    async fn abort(self: Box<Self>) {
        // One file is removed faster than a thread is found for it.
        drop(self);
    }
}
