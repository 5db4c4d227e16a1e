//! The tokens of a Rego file, with what brackets enclose as one node. No meaning is given to any of them.

/// A token, or what a pair of brackets encloses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tree<'s> {
    /// A name or a keyword.
    Word(&'s str),
    /// A string without its quotes and escapes.
    Text(String),
    /// A number as it is written.
    Number(&'s str),
    /// An operator or a separator.
    Symbol(&'s str),
    /// A pair of brackets.
    Group(Delimiter, Vec<Node<'s>>),
    /// The expressions that a template string contains.
    Template(Vec<Node<'s>>),
}

/// A kind of brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Delimiter {
    /// `(…)`
    Round,
    /// `[…]`
    Square,
    /// `{…}`
    Curly,
}

impl Delimiter {
    pub(super) const fn close(self) -> char {
        match self {
            Self::Round => ')',
            Self::Square => ']',
            Self::Curly => '}',
        }
    }
}

/// A tree and its position.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node<'s> {
    pub(super) tree: Tree<'s>,
    pub(super) line: u32,
    /// True if a blank, a line break or a comment precedes it. Rego has none within a reference.
    pub(super) is_spaced: bool,
}

impl Node<'_> {
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.tree, Tree::Word(found) if found == word)
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.tree, Tree::Symbol(found) if found == symbol)
    }
}

/// A text that is not Rego, or not the Rego that this module knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: u32,
    pub(super) problem: String,
}
