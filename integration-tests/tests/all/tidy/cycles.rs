//! No two files of a crate import each other, directly or through other files: such files can only be
//! understood, tested and moved together.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Crate, Module};
use super::tree::{Problem, Tree};

type Edges<'a> = BTreeMap<&'a Module, BTreeMap<&'a Module, usize>>;

/// Every import that is part of a cycle.
pub(super) fn of_files(tree: &'static Tree) -> Vec<Problem> {
    Crate::all(tree).iter().flat_map(cycles_in).collect()
}

fn cycles_in(krate: &Crate) -> Vec<Problem> {
    let edges: Edges<'_> = krate.modules.keys().map(|module| (module, krate.edges(module))).collect();
    let mut problems = Vec::new();
    for (module, (file, _)) in &krate.modules {
        for (target, line) in edges.get(module).into_iter().flatten() {
            if reachable(&edges, target).contains(module)
                && let Some((other, _)) = krate.modules.get(*target)
            {
                let found = format!("imports from {}, which imports this file back", other.path);
                problems.push(file.problem(*line, found, "move the items that both need to a file below both"));
            }
        }
    }
    problems
}

/// The module and every module that it imports, directly or through others.
fn reachable<'a>(edges: &Edges<'a>, from: &'a Module) -> BTreeSet<&'a Module> {
    let mut visited = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(module) = pending.pop() {
        if visited.insert(module) {
            pending.extend(edges.get(module).into_iter().flat_map(BTreeMap::keys).copied());
        }
    }
    visited
}

#[test]
fn imports_that_form_a_cycle_are_found_and_others_are_not() {
    use super::tree::File;

    let problems = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: Some((*text).into()) });
        let tree = Tree { root: "/".into(), files: files.collect() };
        of_files(Box::leak(Box::new(tree))).len()
    };
    let root = ("x/src/lib.rs", "pub mod a; pub mod b; pub use a::A;");
    let uses_a = ("x/src/b.rs", "use crate::A; pub struct B(A);");
    assert_eq!(problems(&[("x/src/a.rs", "pub struct A;"), uses_a, root]), 0);
    assert_eq!(problems(&[("x/src/a.rs", "pub struct A(crate::b::B);"), uses_a, root]), 2, "through a re-export");
    assert_eq!(problems(&[("x/src/a.rs", "fn f() { vec![super::b::B]; }"), uses_a, root]), 2, "inside a macro");
    assert_eq!(problems(&[("x/src/a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"), uses_a, root]), 0);
    let child = ("x/src/a/c.rs", "use super::A; pub fn f(_: A) {}");
    assert_eq!(problems(&[("x/src/a.rs", "mod c; pub struct A;"), child, root]), 0, "a child uses its parent");
}
