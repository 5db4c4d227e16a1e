//! Values that do not fit their types, by their paths.

/// Mismatches of one value that are reported; further ones are only counted.
const MISMATCHES_MAX: usize = 20;

/// One value that does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The path of the value below the validated one, such as `[2].amount`; empty for that one itself.
    pub path: String,
    /// The message, without its subject.
    pub message: String,
}

/// The values that do not fit, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatches {
    reported: Vec<Mismatch>,
    omitted: usize,
}

impl Mismatches {
    pub(super) fn push(&mut self, path: &str, message: String) {
        if self.reported.len() < MISMATCHES_MAX {
            self.reported.push(Mismatch { path: path.to_owned(), message });
        } else {
            self.omitted += 1;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    /// The first ones, in the order of the value.
    #[must_use]
    pub fn reported(&self) -> &[Mismatch] {
        &self.reported
    }

    /// One sentence for each mismatch; `subject` is the path of the validated value.
    #[must_use]
    pub fn describe(&self, subject: &str) -> Vec<String> {
        let sentence = |mismatch: &Mismatch| format!("`{subject}{}` {}", mismatch.path, mismatch.message);
        let omitted =
            (self.omitted > 0).then(|| format!("`{subject}` has {} more values that do not fit", self.omitted));
        self.reported.iter().map(sentence).chain(omitted).collect()
    }
}
