//! A reference in token trees: a name, and what follows it without a blank: `.name`, `["name"]`, an index
//! that is computed, or the arguments of a call.

use super::token_tree::{Delimiter, Node, Tree};

/// A part of a reference after its head.
pub(super) enum Segment<'t, 's> {
    /// `.name` or `["name"]`
    Name(&'t str),
    /// `[expression]`
    Index(&'t [Node<'s>]),
    /// `(arguments)`
    Call(&'t [Node<'s>]),
}

/// A reference.
pub(super) struct Reference<'t, 's> {
    pub(super) head: &'s str,
    pub(super) segments: Vec<Segment<'t, 's>>,
    pub(super) line: u32,
}

impl<'t, 's> Reference<'t, 's> {
    /// Reads the reference that the nodes begin with, and returns it with the nodes after it; `None` if they
    /// begin with something else.
    pub(super) fn read(nodes: &'t [Node<'s>]) -> Option<(Self, &'t [Node<'s>])> {
        let (first, mut rest) = nodes.split_first()?;
        let Tree::Word(head) = first.tree else { return None };
        let mut segments = Vec::new();
        while let Some((next, after)) = rest.split_first().filter(|(next, _)| !next.is_spaced) {
            let (segment, remaining) = match (&next.tree, after.split_first()) {
                (Tree::Symbol("."), Some((Node { tree: Tree::Word(name), is_spaced: false, .. }, after))) => {
                    (Segment::Name(name), after)
                }
                (Tree::Group(Delimiter::Square, inner), _) => (Self::index(inner), after),
                (Tree::Group(Delimiter::Round, inner), _) => (Segment::Call(inner), after),
                _ => break,
            };
            segments.push(segment);
            rest = remaining;
        }
        Some((Self { head, segments, line: first.line }, rest))
    }

    fn index(inner: &'t [Node<'s>]) -> Segment<'t, 's> {
        match inner {
            [Node { tree: Tree::Text(name), .. }] => Segment::Name(name),
            _ => Segment::Index(inner),
        }
    }

    /// The names up to the first part that is computed.
    pub(super) fn names(&self) -> Vec<&'t str> {
        let names = self.segments.iter().map_while(|segment| match segment {
            Segment::Name(name) => Some(*name),
            Segment::Index(_) | Segment::Call(_) => None,
        });
        names.collect()
    }

    /// The parts from the first one that is computed.
    pub(super) fn computed(&self) -> &[Segment<'t, 's>] {
        self.segments.get(self.names().len()..).unwrap_or_default()
    }
}
