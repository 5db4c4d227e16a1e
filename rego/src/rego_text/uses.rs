//! What the token trees of one rule use: paths below `input`, other rules, data, and constants.
//!
//! Everything that cannot be decided is the smallest prefix that is certainly enough: `input.user[x]` reads
//! `input.user`, and `f(input)` reads the whole input.

use super::module::{Module, Rule};
use super::reference::{Reference, Segment};
use super::rule_index::RuleIndex;
use super::token_tree::{Delimiter, Node, Tree};

/// Built-ins whose result depends on the type of their argument only.
const TYPE_TESTS: [&str; 8] =
    ["is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name"];

/// How much of a value a rule reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Its type only.
    Type,
    /// The member that is named like the category of the agent.
    AgentCategory,
    /// The value and everything below it.
    Value,
}

/// Something that a rule uses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A path below `input`.
    Input {
        path: Vec<String>,
        extent: Extent,
        line: u32,
    },
    /// A path below `data`, of rules or of the bundle's data.
    Data {
        path: Vec<String>,
        line: u32,
    },
    /// A name that means a rule of the same package if there is one, else a variable or a built-in.
    Name {
        path: Vec<String>,
    },
    /// `with` replaces the input, or a built-in that is treated specially here.
    Replacement {
        line: u32,
    },
    Text(String),
    Number(u64),
}

/// Lists what a rule uses.
pub(super) fn list_uses(index: &RuleIndex<'_, '_>, module: &Module<'_>, rule: &Rule) -> Vec<Use> {
    let mut scan = Scan { index, module, uses: Vec::new() };
    scan.nodes(module.nodes(rule));
    scan.uses
}

struct Scan<'m, 's> {
    index: &'m RuleIndex<'m, 's>,
    module: &'m Module<'s>,
    uses: Vec<Use>,
}

impl Scan<'_, '_> {
    fn nodes(&mut self, mut rest: &[Node<'_>]) {
        let mut is_target = false;
        while let [first, after @ ..] = rest {
            rest = match Reference::read(rest) {
                Some((reference, after)) if is_target => {
                    self.target(&reference);
                    after
                }
                Some((reference, after)) => {
                    self.reference(&reference);
                    after
                }
                None => {
                    self.operand(&first.tree);
                    after
                }
            };
            is_target = first.is_word("with");
        }
    }

    fn operand(&mut self, tree: &Tree<'_>) {
        match tree {
            Tree::Group(_, inner) | Tree::Template(inner) => self.nodes(inner),
            Tree::Text(text) => self.uses.push(Use::Text(text.clone())),
            Tree::Number(number) => self.uses.extend(number.parse().map(Use::Number)),
            Tree::Word(_) | Tree::Symbol(_) => {}
        }
    }

    /// Records what `with` replaces.
    fn target(&mut self, reference: &Reference<'_, '_>) {
        let path = self.resolve(reference);
        let is_special = || is_type_test(reference) || is_object_get(reference);
        if path.as_ref().map_or_else(is_special, |path| path.first().is_some_and(|root| root == "input")) {
            self.uses.push(Use::Replacement { line: reference.line });
        }
    }

    fn reference(&mut self, reference: &Reference<'_, '_>) {
        let mut computed = reference.computed();
        if let [Segment::Call(arguments), after @ ..] = computed
            && self.is_builtin(reference)
        {
            computed = after;
            match arguments.split(|node| node.is_symbol(",")).collect::<Vec<_>>().as_slice() {
                [value] if is_type_test(reference) => self.value(value, &[], Extent::Type),
                [value, key, default] if is_object_get(reference) => {
                    match keys(key) {
                        Some(keys) => self.value(value, &keys, Extent::Value),
                        None => self.nodes(value),
                    }
                    self.nodes(key);
                    self.nodes(default);
                }
                _ => self.nodes(arguments),
            }
        }
        for segment in computed {
            match segment {
                Segment::Name(_) => {}
                Segment::Index(inner) | Segment::Call(inner) => self.nodes(inner),
            }
        }
        self.head(reference);
    }

    /// Records a value of which a built-in reads only a part. If it is no path, all of it is read.
    fn value(&mut self, nodes: &[Node<'_>], keys: &[String], extent: Extent) {
        match self.input_path(nodes) {
            Some(path) => {
                let line = nodes.first().map_or(0, |node| node.line);
                let path = path.into_iter().chain(keys.iter().cloned()).collect();
                self.uses.push(Use::Input { path, extent, line });
            }
            None => self.nodes(nodes),
        }
    }

    /// Records the path that a reference begins with.
    fn head(&mut self, reference: &Reference<'_, '_>) {
        let line = reference.line;
        if let Some(mut path) = self.resolve(reference).filter(|path| !path.is_empty()) {
            let root = path.remove(0);
            match root.as_str() {
                "input" => {
                    let extent = match reference.computed() {
                        [Segment::Index(index), ..] if self.is_agent_category(index) => Extent::AgentCategory,
                        _ => Extent::Value,
                    };
                    self.uses.push(Use::Input { path, extent, line });
                }
                "data" => self.uses.push(Use::Data { path, line }),
                _ => {}
            }
        }
        let names = std::iter::once(reference.head).chain(reference.names()).map(str::to_owned);
        self.uses.push(Use::Name { path: self.module.package.iter().cloned().chain(names).collect() });
    }

    /// The path of a reference to `input`, to `data` or to an import, with its root; `None` for any other name.
    fn resolve(&self, reference: &Reference<'_, '_>) -> Option<Vec<String>> {
        let root = match self.module.imports.get(reference.head) {
            Some(path) => path.clone(),
            None if matches!(reference.head, "input" | "data") => vec![reference.head.to_owned()],
            None => return None,
        };
        Some(root.into_iter().chain(reference.names().into_iter().map(str::to_owned)).collect())
    }

    /// True if the head of the reference is neither an import nor a rule of the package.
    fn is_builtin(&self, reference: &Reference<'_, '_>) -> bool {
        let mut path = self.module.package.clone();
        path.push(reference.head.to_owned());
        !self.module.imports.contains_key(reference.head) && self.index.matches(&path).is_empty()
    }

    /// The path below `input` that the nodes are, without a computed part; `None` if they are anything else.
    fn input_path(&self, nodes: &[Node<'_>]) -> Option<Vec<String>> {
        let (reference, after) = Reference::read(nodes)?;
        let mut path = self.resolve(&reference)?.into_iter();
        let is_whole = after.is_empty() && reference.computed().is_empty();
        (is_whole && path.next()? == "input").then(|| path.collect())
    }

    fn is_agent_category(&self, nodes: &[Node<'_>]) -> bool {
        self.input_path(nodes).is_some_and(|path| path == ["agent", "category"])
    }
}

fn is_type_test(reference: &Reference<'_, '_>) -> bool {
    TYPE_TESTS.contains(&reference.head) && reference.names().is_empty()
}

fn is_object_get(reference: &Reference<'_, '_>) -> bool {
    reference.head == "object" && reference.names() == ["get"]
}

/// The constant keys of `object.get`: one, or a list of them.
fn keys(nodes: &[Node<'_>]) -> Option<Vec<String>> {
    let key = |node: &Node<'_>| match &node.tree {
        Tree::Text(text) => Some(text.clone()),
        _ => None,
    };
    match nodes {
        [Node { tree: Tree::Group(Delimiter::Square, inner), .. }] => {
            inner.iter().filter(|node| !node.is_symbol(",")).map(key).collect()
        }
        [node] => Some(vec![key(node)?]),
        _ => None,
    }
}
