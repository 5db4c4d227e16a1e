//! Where definitions or a policy are: in a directory of this machine, or in a bucket.

use std::fmt;
use std::path::{Path, PathBuf};

/// What the URL of a bucket begins with.
const SCHEME: &str = "s3://";

/// Where definitions or a policy are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceLocation {
    /// A directory; for a policy also a bundle.
    Path(PathBuf),
    /// The objects of a bucket below a prefix; for a policy also a bundle.
    Bucket(BucketLocation),
}

/// The objects of a bucket whose keys begin with a prefix and `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLocation {
    /// The name of the bucket.
    pub bucket: String,
    /// The prefix, without a `/` at its end.
    pub prefix: String,
}

impl SourceLocation {
    /// Reads a path, or a URL such as `s3://ai-agents/definitions`.
    ///
    /// # Errors
    /// A problem if the URL has no bucket, or no prefix: a bucket may have other objects too.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(location) = text.strip_prefix(SCHEME) else { return Ok(Self::Path(PathBuf::from(text))) };
        let (bucket, prefix) = location.trim_end_matches('/').split_once('/').unwrap_or_default();
        let is_bucket = bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if bucket.is_empty() || !is_bucket || !prefix.split('/').all(is_part) {
            return Err(format!("{text:?} is not a location such as `s3://BUCKET/PREFIX`"));
        }
        Ok(Self::Bucket(BucketLocation { bucket: bucket.to_owned(), prefix: prefix.to_owned() }))
    }

    /// The path; `None` for a bucket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Bucket(_) => None,
        }
    }

    /// The location for any working directory: an absolute path, or the URL.
    #[must_use]
    pub fn absolute(&self) -> String {
        match self {
            Self::Path(path) => {
                std::path::absolute(path).unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned()
            }
            Self::Bucket(_) => self.to_string(),
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Bucket(BucketLocation { bucket, prefix }) => write!(f, "{SCHEME}{bucket}/{prefix}"),
        }
    }
}

impl From<PathBuf> for SourceLocation {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_bucket_has_a_prefix_and_anything_else_is_a_path() {
        for text in ["s3://ai-agents/definitions", "s3://ai-agents/a/b/"] {
            let location = SourceLocation::parse(text).unwrap();
            assert_eq!(location.to_string(), text.trim_end_matches('/'));
            assert_eq!((location.path(), location.absolute()), (None, location.to_string()));
        }
        for text in
            ["s3://", "s3://ai-agents", "s3://ai-agents/", "s3:///x", "s3://a b/x", "s3://a/x//y", "s3://a/../y"]
        {
            assert!(SourceLocation::parse(text).is_err_and(|problem| problem.contains(text)), "{text}");
        }
        let path = SourceLocation::parse("definitions/mine").unwrap();
        assert_eq!(path.path(), Some(Path::new("definitions/mine")));
        assert!(path.absolute().ends_with("/definitions/mine"));
    }
}
