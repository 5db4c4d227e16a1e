//! `greenroom artifacts get`: the content of an artifact, in parts through the pipeline, into a new file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_client::Client;
use greenroom_protocol::{Cause, ContentHash, ContentHasher, ErrorCode, Json};

use super::args::ArtifactsCommand;
use super::output::Output;
use super::session::Session;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request, its reply or the file.
pub async fn artifacts(session: &Session, command: ArtifactsCommand, output: Output) -> Result<u8, Cause> {
    match command {
        ArtifactsCommand::Get { hash, out } => {
            require_new(&out)?;
            let bytes = save(&session.client(), hash, &out).await?;
            let path = std::path::absolute(&out).map_err(|error| unwritable(&out, &error))?;
            let document = serde_json::json!({ "hash": hash, "bytes": bytes, "file": path });
            output.document(&document, || format!("{bytes} bytes: {}", path.display()));
            Ok(0)
        }
    }
}

/// Writes an artifact to a new file, part by part, and returns its size. The file is created with the first part, so a
/// rejected request creates none.
async fn save(client: &Client, hash: ContentHash, out: &Path) -> Result<u64, Cause> {
    let mut file = None;
    let write = |part: &[u8]| {
        if file.is_none() {
            file = Some(NewFile::create(out)?);
        }
        file.as_mut().map_or(Ok(()), |file| file.write(part))
    };
    let bytes = fetch_parts(client, hash, write).await?;
    // The reply for an artifact without bytes has one part, so there is a file.
    if let Some(file) = file {
        file.finish()?;
    }
    Ok(bytes)
}

/// The content of an artifact of at most `bytes_max` bytes.
///
/// # Errors
/// [`ErrorCode::UnknownRecord`]; [`ErrorCode::PayloadTooLarge`]; those of the guard and of the store.
pub(super) async fn fetch(client: &Client, hash: ContentHash, bytes_max: u64) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    let add = |part: &[u8]| {
        bytes.extend_from_slice(part);
        if bytes.len() as u64 > bytes_max {
            let message = format!("the artifact {hash} has more than {bytes_max} bytes");
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        Ok(())
    };
    fetch_parts(client, hash, add).await?;
    Ok(bytes)
}

/// Requests the parts of an artifact one after the other, and returns its size once all of them have its hash.
async fn fetch_parts(
    client: &Client,
    hash: ContentHash,
    mut add: impl FnMut(&[u8]) -> Result<(), Cause>,
) -> Result<u64, Cause> {
    let (mut hasher, mut bytes) = (ContentHasher::default(), 0_u64);
    loop {
        let reply = client.artifact(hash, bytes).await?;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        let content = reply.outputs.get("content").and_then(Json::as_str);
        let part = content.and_then(|content| STANDARD.decode(content).ok()).ok_or_else(|| unreadable(hash))?;
        hasher.update(&part);
        bytes = bytes.saturating_add(part.len() as u64);
        add(&part)?;
        let is_last = reply.outputs.get("next").is_none_or(Json::is_null);
        if is_last {
            return if hasher.finish() == hash { Ok(bytes) } else { Err(unreadable(hash)) };
        }
        if part.is_empty() {
            return Err(unreadable(hash));
        }
    }
}

/// A file that is being written. One that is not complete is removed, also if the command is interrupted.
struct NewFile {
    path: PathBuf,
    file: File,
    is_complete: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, Cause> {
        let file = File::create_new(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), file, is_complete: false })
    }

    fn write(&mut self, part: &[u8]) -> Result<(), Cause> {
        self.file.write_all(part).map_err(|error| unwritable(&self.path, &error))
    }

    fn finish(mut self) -> Result<(), Cause> {
        self.file.sync_all().map_err(|error| unwritable(&self.path, &error))?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // The error of the write is reported; a partial file that cannot be removed changes nothing about it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn unreadable(hash: ContentHash) -> Cause {
    Cause::new(ErrorCode::Internal, format!("the reply does not have the content of the artifact {hash}"))
}

/// Rejects a file that exists, and one whose directory does not.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] or [`ErrorCode::PathNotAllowed`].
pub(super) fn require_new(path: &Path) -> Result<(), Cause> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{} exists already; name a new file, or remove it", path.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() && !dir.is_dir() => {
            let message = format!("{} is not a directory; create it first", dir.display());
            Err(Cause::new(ErrorCode::PathNotAllowed, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// The cause of a file that cannot be written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Cause {
    Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be written: {error}", path.display()))
}
