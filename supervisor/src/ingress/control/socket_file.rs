//! The file of the control socket: who listens on it, and its removal. A file is removed only if its listener
//! is dead, or is the one that is being dropped.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The file of a bound socket; dropping it removes the file.
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

/// A process that listens on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its id, if the system shows it.
    pub process: Option<i32>,
}

/// The process that listens on a socket; `None` if no process does.
pub async fn find_listener(path: &Path) -> Option<Listener> {
    match UnixStream::connect(path).await {
        Ok(stream) => Some(Listener { process: stream.peer_cred().ok().and_then(|peer| peer.pid()) }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => None,
        // Its queue is full, or this user may not connect: a process listens, as far as this one can know.
        Err(_) => path.symlink_metadata().ok().map(|_| Listener { process: None }),
    }
}

impl SocketFile {
    /// Binds a socket that only this user may open. The file of a dead listener is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if a process listens on it; those of the operating system.
    pub(super) async fn bind(path: &Path) -> Result<(UnixListener, Self)> {
        if find_listener(path).await.is_some() {
            return Err(Error::new(ErrorKind::AddrInUse, "another process listens on the control socket"));
        }
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let id = file_id(&path.symlink_metadata()?);
        Ok((listener, Self { path: path.to_owned(), id }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have bound the path since, if the file was removed by hand.
        if self.path.symlink_metadata().is_ok_and(|metadata| file_id(&metadata) == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_living_listener_is_never_replaced_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (listener, file) = SocketFile::bind(&path).await.unwrap();
        assert_eq!(find_listener(&path).await.unwrap().process, i32::try_from(std::process::id()).ok());
        assert_eq!(SocketFile::bind(&path).await.err().unwrap().kind(), ErrorKind::AddrInUse);

        // The file was removed by hand, and another listener has bound the path.
        std::fs::remove_file(&path).unwrap();
        let (second, second_file) = SocketFile::bind(&path).await.unwrap();
        drop((listener, file));
        assert!(find_listener(&path).await.is_some());

        // A killed process leaves its file.
        std::mem::forget(second_file);
        drop(second);
        assert!(path.exists() && find_listener(&path).await.is_none());
        let (_listener, file) = SocketFile::bind(&path).await.unwrap();
        drop(file);
        assert!(!path.exists());
    }
}
