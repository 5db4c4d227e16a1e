//! Reads files by path, within the folders that the configuration allows. Symbolic links are resolved before
//! paths are compared, so a link cannot lead out of a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::handler::{File, FileReader};
use greenroom_protocol::{Cause, ErrorCode};
use tokio::io::AsyncReadExt;

/// Maximum size of a path.
const PATH_BYTES_MAX: usize = 4096;

/// Creates a reader of these folders. A folder that does not exist allows nothing; a relative path is
/// resolved against each folder in order.
#[must_use]
pub fn open(roots: Vec<PathBuf>) -> Arc<dyn FileReader> {
    Arc::new(Folders { roots })
}

struct Folders {
    roots: Vec<PathBuf>,
}

fn rejected(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::PathNotAllowed, message)
}

impl Folders {
    /// Resolves every link of the path and returns the real path, if it is within an allowed folder.
    async fn resolve(&self, path: &str) -> Result<PathBuf, Cause> {
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err(rejected("the path is empty, too long, or has a zero byte"));
        }
        let mut roots = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            if let Ok(root) = tokio::fs::canonicalize(root).await {
                roots.push(root);
            }
        }
        if roots.is_empty() {
            return Err(rejected("no folder is allowed for reading; set `files.roots`"));
        }
        let requested = Path::new(path);
        let candidates: Vec<PathBuf> = if requested.is_absolute() {
            vec![requested.to_owned()]
        } else {
            roots.iter().map(|root| root.join(requested)).collect()
        };
        for candidate in candidates {
            // A file outside the folders and a missing file cause the same error, so that a caller cannot
            // find out which files exist.
            let Ok(real) = tokio::fs::canonicalize(&candidate).await else { continue };
            if roots.iter().any(|root| real.starts_with(root)) {
                return Ok(real);
            }
        }
        Err(rejected("the file does not exist within the folders that may be read"))
    }
}

#[async_trait]
impl FileReader for Folders {
    async fn read(&self, path: &str, bytes_max: u64) -> Result<File, Cause> {
        let real = self.resolve(path).await?;
        let unreadable = |_| rejected("the file cannot be read");
        let file = tokio::fs::File::open(&real).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        // A pipe or a device may have no end.
        if !metadata.is_file() {
            return Err(rejected("the path is not a file"));
        }
        let too_large = |bytes: u64| {
            let message = format!("the file has {bytes} bytes, at most {bytes_max} are read");
            Cause::new(ErrorCode::PayloadTooLarge, message)
        };
        if metadata.len() > bytes_max {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // The file may grow while it is read.
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).await.map_err(unreadable)?;
        let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if read > bytes_max {
            return Err(too_large(read));
        }
        let name = real.file_name().map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(File { bytes: Arc::from(bytes), media_type: media_type(&name).to_owned(), name })
    }
}

/// The media type of a file, by the extension of its name.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsm" => "application/vnd.ms-excel.sheet.macroEnabled.12",
        "gz" => "application/gzip",
        "md" => "text/markdown",
        "txt" => "text/plain",
        "html" => "text/html",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::open;

    #[tokio::test]
    async fn a_path_outside_its_folder_is_rejected() {
        let allowed = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(allowed.path().join("a.csv"), "a,b\n1,2\n").unwrap();
        std::fs::write(other.path().join("secret.csv"), "x").unwrap();
        std::os::unix::fs::symlink(other.path().join("secret.csv"), allowed.path().join("link.csv")).unwrap();
        std::os::unix::fs::symlink(other.path(), allowed.path().join("folder")).unwrap();
        let files = open(vec![allowed.path().to_owned()]);

        let file = files.read("a.csv", 100).await.unwrap();
        assert_eq!((file.name.as_str(), file.media_type.as_str(), file.bytes.len()), ("a.csv", "text/csv", 8));
        assert!(files.read(allowed.path().join("a.csv").to_str().unwrap(), 100).await.is_ok());
        let outside = other.path().join("secret.csv");
        for path in [
            "link.csv",
            "folder/secret.csv",
            "../secret.csv",
            "/etc/passwd",
            outside.to_str().unwrap(),
            "",
            "none.csv",
            "a\0b",
            ".",
        ] {
            assert_eq!(files.read(path, 100).await.unwrap_err().code, ErrorCode::PathNotAllowed, "{path:?}");
        }
        assert_eq!(files.read("a.csv", 7).await.unwrap_err().code, ErrorCode::PayloadTooLarge);
        assert_eq!(open(Vec::new()).read("a.csv", 7).await.unwrap_err().code, ErrorCode::PathNotAllowed);
    }

    #[tokio::test]
    async fn a_file_outside_the_folders_and_a_missing_file_look_the_same() {
        let allowed = tempfile::tempdir().unwrap();
        let files = open(vec![allowed.path().to_owned()]);
        let (outside, missing) =
            (files.read("/etc/passwd", 9).await.unwrap_err(), files.read("/etc/nothing", 9).await.unwrap_err());
        assert_eq!(outside, missing);
    }
}
