//! The handler of a Python agent: the path of a module and the name of a function in it, such as
//! `agents.business_ops.executive_summary.execute`.

use std::path::{Path, PathBuf};

/// The name of a handler in Python.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonHandler {
    module: String,
    function: String,
}

impl PythonHandler {
    /// Reads the name; `None` if it is not a module and a function, each part of it an identifier.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (module, function) = name.rsplit_once('.')?;
        let is_valid = module.split('.').chain([function]).all(is_identifier);
        is_valid.then(|| Self { module: module.to_owned(), function: function.to_owned() })
    }

    /// The path of the module, with dots.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The name of the function.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The file of the module below the folder of the handlers, if the module is no package.
    #[must_use]
    pub fn file(&self, folder: &Path) -> PathBuf {
        self.path(folder).with_extension("py")
    }

    /// The file of the module, if it exists: a file, or that of a package.
    #[must_use]
    pub fn existing_file(&self, folder: &Path) -> Option<PathBuf> {
        let package = self.path(folder).join("__init__.py");
        [self.file(folder), package].into_iter().find(|file| file.is_file())
    }

    fn path(&self, folder: &Path) -> PathBuf {
        self.module.split('.').fold(folder.to_owned(), |path, part| path.join(part))
    }
}

fn is_identifier(part: &str) -> bool {
    let mut characters = part.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|other| other.is_alphanumeric() || other == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_requirements_is_a_file_and_a_function() {
        let handler = PythonHandler::parse("agents.business_ops.executive_summary.execute").unwrap();
        assert_eq!((handler.module(), handler.function()), ("agents.business_ops.executive_summary", "execute"));
        let file = Path::new("/srv/agents/business_ops/executive_summary.py");
        assert_eq!(handler.file(Path::new("/srv")), file);
        assert_eq!(handler.existing_file(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_handler() {
        for name in ["execute", "", ".", "a.", ".a", "a..b", "../a.b", "a/b.c", "a.b c", "1a.b", "a.b()", "a.b;c"] {
            assert_eq!(PythonHandler::parse(name), None, "{name:?}");
        }
    }
}
