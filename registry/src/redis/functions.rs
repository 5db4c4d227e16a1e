//! The library of functions that the product calls in Redis: its name, its text, and the names of its functions.

use greenroom_protocol::ContentHash;

/// The text of the library, with [`PLACEHOLDER`] instead of its name.
const TEXT: &str = include_str!("functions.lua");
/// Stands for the name of the library.
const PLACEHOLDER: &str = "LIBRARY";

/// A function of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// Creates the view of a context.
    Claim,
    /// Writes changes to a view.
    Apply,
    /// Reads a view.
    Read,
    /// Removes a view.
    Remove,
    /// Counts a request in a window.
    Count,
}

impl Function {
    /// True if a replica, or a server without free memory, executes it too.
    pub(super) const fn is_read_only(self) -> bool {
        matches!(self, Self::Read)
    }

    /// True if only a server that also writes and has memory executes it.
    pub(super) const fn needs_whole_service(self) -> bool {
        match self {
            Self::Claim | Self::Apply | Self::Count => true,
            Self::Read | Self::Remove => false,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Apply => "apply",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::Count => "count",
        }
    }
}

/// The library. It is named after the hash of its text, so that releases with other functions do not replace each
/// other's.
pub(super) struct FunctionLibrary {
    name: String,
    text: String,
}

impl FunctionLibrary {
    pub(super) fn new() -> Self {
        let name = format!("greenroom_{}", ContentHash::from_content(TEXT.as_bytes()).short());
        let text = TEXT.replace(PLACEHOLDER, &name);
        Self { name, text }
    }

    /// What FUNCTION LOAD receives.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The name of a function.
    pub(super) fn name_of(&self, function: Function) -> String {
        format!("{}_{}", self.name, function.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_registers_each_function_under_its_name() {
        let library = FunctionLibrary::new();
        assert!(library.text().starts_with(&format!("#!lua name={}\n", library.name)));
        for function in [Function::Claim, Function::Apply, Function::Read, Function::Remove, Function::Count] {
            let registered = format!("'{}'", library.name_of(function));
            assert_eq!(library.text().matches(&registered).count(), 1, "{registered}");
        }
        assert!(!library.text().contains(PLACEHOLDER));
    }
}
