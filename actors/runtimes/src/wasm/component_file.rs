//! The files of components: what a name means, and whether a file has changed.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use greenroom_definitions::agent::is_component_name;
use greenroom_protocol::{Cause, ErrorCode};

/// Bytes of a component. One that contains Python has about 18 MB.
pub const COMPONENT_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// What tells two contents of a file apart without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    bytes: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Fingerprint {
    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }
}

/// The path of a component in the folder.
///
/// # Errors
/// [`ErrorCode::RuntimeUnavailable`] for a text that is no name, and so may point out of the folder.
pub(super) fn path(folder: &Path, name: &str) -> Result<PathBuf, Cause> {
    if is_component_name(name) {
        return Ok(folder.join(name));
    }
    Err(unavailable("the handler of the agent is no name of a component, such as `summary.wasm`"))
}

/// The fingerprint of a file. A link is followed; [`read`] refuses one that points out of the folder.
///
/// # Errors
/// [`ErrorCode::RuntimeUnavailable`] if there is no such file.
pub(super) async fn fingerprint(path: &Path, name: &str) -> Result<Fingerprint, Cause> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| unreadable(name, &error))?;
    Ok(Fingerprint::from_metadata(&metadata))
}

/// Reads a file. The fingerprint is that of the content which was read.
///
/// # Errors
/// [`ErrorCode::RuntimeUnavailable`] if there is no such file in the folder, or it is too large.
pub(super) fn read(folder: &Path, path: &Path, name: &str) -> Result<(Vec<u8>, Fingerprint), Cause> {
    let found = path.canonicalize().map_err(|error| unreadable(name, &error))?;
    let root = folder.canonicalize().map_err(|error| unreadable(name, &error))?;
    if !found.starts_with(&root) {
        return Err(unavailable(&format!("the component `{name}` is a link out of the folder of components")));
    }
    let file = File::open(&found).map_err(|error| unreadable(name, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
    if !metadata.is_file() {
        return Err(unavailable(&format!("the component `{name}` is no file")));
    }
    let mut bytes = Vec::new();
    file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        let message = format!("the component `{name}` has more than {COMPONENT_BYTES_MAX} bytes");
        return Err(unavailable(&message));
    }
    Ok((bytes, Fingerprint::from_metadata(&metadata)))
}

/// The cause for a component that cannot be executed.
pub(super) fn unavailable(message: &str) -> Cause {
    Cause::new(ErrorCode::RuntimeUnavailable, message)
}

fn unreadable(name: &str, error: &std::io::Error) -> Cause {
    if error.kind() == std::io::ErrorKind::NotFound {
        return unavailable(&format!("the folder of components of this pod has no file `{name}`"));
    }
    unavailable(&format!("the component `{name}` cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_points_into_the_folder_only() {
        let folder = Path::new("components");
        assert_eq!(path(folder, "a.wasm").unwrap(), Path::new("components/a.wasm"));
        for name in ["../a.wasm", "/a.wasm", "a/b.wasm", "a\\b.wasm", "..wasm", "a.wat", "", "a\0.wasm"] {
            assert_eq!(path(folder, name).unwrap_err().code, ErrorCode::RuntimeUnavailable, "{name:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "content").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("a.wasm")).unwrap();
        let cause = read(folder.path(), &folder.path().join("a.wasm"), "a.wasm").unwrap_err();
        assert!(cause.message.contains("a link out of the folder"), "{cause}");
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/b"), "content").unwrap();
        std::os::unix::fs::symlink("data/b", folder.path().join("b.wasm")).unwrap();
        assert_eq!(read(folder.path(), &folder.path().join("b.wasm"), "b.wasm").unwrap().0, b"content");
    }

    #[test]
    fn a_folder_is_no_component() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a.wasm")).unwrap();
        let cause = read(folder.path(), &folder.path().join("a.wasm"), "a.wasm").unwrap_err();
        assert_eq!(cause.message, "the component `a.wasm` is no file");
        let cause = read(folder.path(), &folder.path().join("b.wasm"), "b.wasm").unwrap_err();
        assert_eq!(cause.message, "the folder of components of this pod has no file `b.wasm`");
    }
}
