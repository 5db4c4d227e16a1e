//! `greenroom artifacts get`: the content of an artifact, in parts through the pipeline, into a new file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_client::Client;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, Json};

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
            let bytes = fetch(&session.client(), hash).await?;
            write_new(&out, &bytes)?;
            let path = std::path::absolute(&out).map_err(|error| unwritable(&out, &error))?;
            let document = serde_json::json!({ "hash": hash, "bytes": bytes.len(), "file": path });
            output.document(&document, || format!("{} bytes: {}", bytes.len(), path.display()));
            Ok(0)
        }
    }
}

/// The content of an artifact.
///
/// # Errors
/// [`ErrorCode::UnknownRecord`]; those of the guard and of the store.
pub(super) async fn fetch(client: &Client, hash: ContentHash) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    loop {
        let reply = client.artifact(hash, bytes.len() as u64).await?;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        let content = reply.outputs.get("content").and_then(Json::as_str);
        let part = content.and_then(|content| STANDARD.decode(content).ok()).ok_or_else(|| unreadable(hash))?;
        bytes.extend_from_slice(&part);
        let is_last = reply.outputs.get("next").is_none_or(Json::is_null);
        if is_last && ContentHash::from_content(&bytes) == hash {
            return Ok(bytes);
        }
        if is_last || part.is_empty() {
            return Err(unreadable(hash));
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

/// Writes a new file. One that cannot be written completely is removed.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    let mut file = File::create_new(path).map_err(|error| unwritable(path, &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // The error of the write is reported; a partial file that cannot be removed changes nothing about it.
        let _ = std::fs::remove_file(path);
        unwritable(path, &error)
    })
}

/// The cause of a file that cannot be written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Cause {
    Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be written: {error}", path.display()))
}
