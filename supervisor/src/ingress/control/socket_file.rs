//! The file of the control socket: who listens on it, and its removal. A file is removed only if its listener
//! is dead, or is the one that is being dropped.
//!
//! The path of a socket has at most 107 bytes (103 on some systems). A socket whose path in the data directory would
//! be longer is in the runtime directory, and its name in the data directory is a link to it: whoever knows the data
//! directory finds it.

use std::fs::{DirBuilder, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use greenroom_protocol::ContentHash;
use tokio::net::{UnixListener, UnixStream};

/// The file of a bound socket; dropping it removes the file.
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
    /// The link to the file in the data directory, if the file is not there.
    link: Option<PathBuf>,
}

/// A process that listens on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its id, if the system shows it.
    pub process: Option<i32>,
}

/// The path of the socket: that to which a link at `path` leads, else `path`. The link in a copy of a data directory,
/// or in one that was moved, leads to the socket of another one and is ignored.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let target = std::fs::read_link(path).ok();
    let target = target.filter(|target| target.file_name().is_some_and(|name| *name == *short_name(path)));
    target.unwrap_or_else(|| path.to_owned())
}

/// The process that listens on a socket; `None` if no process does.
pub async fn find_listener(path: &Path) -> Option<Listener> {
    let path = resolve(path);
    if !is_addressable(&path) {
        return None;
    }
    match UnixStream::connect(&path).await {
        Ok(stream) => Some(Listener { process: stream.peer_cred().ok().and_then(|peer| peer.pid()) }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => None,
        // Its queue is full, or this user may not connect: a process listens, as far as this one can know.
        Err(_) => path.symlink_metadata().ok().map(|_| Listener { process: None }),
    }
}

impl SocketFile {
    /// Binds a socket that only this user may open. The file of a dead listener is replaced. A path that is too long
    /// becomes a link to a socket below `runtime_dir`.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if a process listens on it; those of the operating system.
    pub(super) async fn bind(path: &Path, runtime_dir: &Path) -> Result<(UnixListener, Self)> {
        if find_listener(path).await.is_some() {
            return Err(Error::new(ErrorKind::AddrInUse, "another process listens on the control socket"));
        }
        let link = (!is_addressable(path)).then(|| path.to_owned());
        let path = match &link {
            Some(link) => short_path(link, runtime_dir)?,
            None => path.to_owned(),
        };
        // The files of a listener that was killed.
        for file in link.iter().chain([&path]) {
            remove_if_present(file)?;
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let file = Self { id: file_id(&path.symlink_metadata()?), path, link };
        if let Some(link) = &file.link {
            std::os::unix::fs::symlink(&file.path, link)?;
        }
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have bound the path since, if the file was removed by hand.
        if self.path.symlink_metadata().is_ok_and(|metadata| file_id(&metadata) == self.id) {
            let _ = std::fs::remove_file(&self.path);
            if let Some(link) = self.link.as_ref().filter(|link| resolve(link) == self.path) {
                let _ = std::fs::remove_file(link);
            }
        }
    }
}

/// True if the operating system takes the path as the address of a socket.
fn is_addressable(path: &Path) -> bool {
    std::os::unix::net::SocketAddr::from_pathname(path).is_ok()
}

/// The path of the socket whose path in the data directory is too long, in a directory of this user alone.
fn short_path(long: &Path, runtime_dir: &Path) -> Result<PathBuf> {
    // The peer of a socket pair that is created here runs as this user.
    let user = UnixStream::pair()?.0.peer_cred()?.uid();
    let dir = runtime_dir.join(format!("greenroom-{user}"));
    let unusable = |problem: String| {
        let advice = "set runtime_dir (GREENROOM_RUNTIME_DIR) to a directory with a short path";
        Error::other(format!("its path is too long for a socket, and {} {problem}; {advice}", dir.display()))
    };
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(unusable(format!("cannot be created: {error}")));
        }
        Ok(()) | Err(_) => {}
    }
    let metadata = dir.symlink_metadata()?;
    if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
        return Err(unusable("is not a directory of this user alone".to_owned()));
    }
    let path = dir.join(short_name(long));
    if is_addressable(&path) { Ok(path) } else { Err(unusable("is too long too".to_owned())) }
}

/// The name of a socket whose path in the data directory is too long. Every name of the directory leads to it.
fn short_name(long: &Path) -> String {
    let dir = long.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
    let hash = ContentHash::from_content(dir.as_deref().unwrap_or(long).as_os_str().as_encoded_bytes()).to_string();
    format!("{}.sock", hash.get(..32).unwrap_or(&hash))
}

fn remove_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
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
        let (listener, file) = SocketFile::bind(&path, dir.path()).await.unwrap();
        assert_eq!(find_listener(&path).await.unwrap().process, i32::try_from(std::process::id()).ok());
        assert_eq!(SocketFile::bind(&path, dir.path()).await.err().unwrap().kind(), ErrorKind::AddrInUse);

        // The file was removed by hand, and another listener has bound the path.
        std::fs::remove_file(&path).unwrap();
        let (second, second_file) = SocketFile::bind(&path, dir.path()).await.unwrap();
        drop((listener, file));
        assert!(find_listener(&path).await.is_some());

        // A killed process leaves its file.
        std::mem::forget(second_file);
        drop(second);
        assert!(path.exists() && find_listener(&path).await.is_none());
        let (_listener, file) = SocketFile::bind(&path, dir.path()).await.unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_a_link_to_a_socket_in_the_runtime_directory() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let path = long.join("control.sock");
        let (listener, file) = SocketFile::bind(&path, dir.path()).await.unwrap();
        let target = std::fs::read_link(&path).unwrap();
        assert!(target.starts_with(dir.path()) && is_addressable(&target), "{}", target.display());
        assert_eq!(find_listener(&path).await.unwrap().process, i32::try_from(std::process::id()).ok());
        assert_eq!(SocketFile::bind(&path, dir.path()).await.err().unwrap().kind(), ErrorKind::AddrInUse);

        // A killed process leaves both; the data directory may have been moved meanwhile.
        std::mem::forget(file);
        drop(listener);
        let moved = dir.path().join("e".repeat(120));
        std::fs::rename(&long, &moved).unwrap();
        let (_listener, file) = SocketFile::bind(&moved.join("control.sock"), dir.path()).await.unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(&moved).unwrap().count(), 0);

        // The runtime directory must be one of this user alone, with a short path.
        std::fs::set_permissions(target.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = SocketFile::bind(&moved.join("control.sock"), dir.path()).await.err().unwrap();
        assert!(error.to_string().contains("this user alone"), "{error}");
        let error = SocketFile::bind(&moved.join("control.sock"), &moved).await.err().unwrap();
        assert!(error.to_string().contains("too long too") && error.to_string().contains("runtime_dir"), "{error}");
    }
}
