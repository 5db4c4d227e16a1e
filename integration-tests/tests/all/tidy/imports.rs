//! The paths by which the files of a crate refer to each other, read from their syntax; tests are left out.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::tree::{File, Tree};

/// A module as the segments of its path below the crate; the crate's root has none.
pub(super) type Module = Vec<String>;

/// A reference to an item of the same crate.
pub(super) struct Reference {
    pub(super) line: usize,
    /// The path from the crate's root.
    pub(super) path: Module,
    /// It is a re-export: `pub use`, also with a restricted visibility.
    is_reexport: bool,
}

/// The modules of one crate with their files and references.
pub(super) struct Crate {
    pub(super) modules: BTreeMap<Module, (&'static File, Vec<Reference>)>,
}

/// Re-exports are followed at most this often.
const REEXPORTS_MAX: usize = 8;

impl Crate {
    /// Every library crate of the tree.
    pub(super) fn all(tree: &'static Tree) -> Vec<Self> {
        let roots = tree.ending("/src/lib.rs").filter_map(|file| file.path.strip_suffix("src/lib.rs"));
        roots.map(|folder| Self::read(tree, folder)).collect()
    }

    fn read(tree: &'static Tree, folder: &str) -> Self {
        let source = format!("{folder}src/");
        let files = tree.files.iter().filter(|file| file.path.starts_with(&source));
        let named = files.filter_map(|file| Some((module_of(file.path.strip_prefix(&source)?)?, file)));
        let files: BTreeMap<Module, &'static File> = named.collect();
        let modules = files.iter().map(|(module, file)| {
            let mut visitor = PathVisitor { module, files: &files, references: Vec::new() };
            let text = file.text.as_deref().unwrap_or_default();
            visitor.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.path)));
            (module.clone(), (*file, visitor.references))
        });
        Self { modules: modules.collect() }
    }

    /// The modules that this one refers to, each with the first line that does so. Its own ancestors do not
    /// count, and neither do its re-exports.
    pub(super) fn edges(&self, module: &Module) -> BTreeMap<&Module, usize> {
        let mut edges = BTreeMap::new();
        let references = self.modules.get(module).map(|(_, references)| references.as_slice()).unwrap_or_default();
        for reference in references.iter().filter(|reference| !reference.is_reexport) {
            if let Some(target) = self.module_of_item(&reference.path, 0)
                && !module.starts_with(target)
            {
                edges.entry(target).or_insert(reference.line);
            }
        }
        edges
    }

    /// The module that defines the item at this path, after following re-exports.
    fn module_of_item(&self, path: &[String], depth: usize) -> Option<&Module> {
        let length = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let (module, (_, references)) = self.modules.get_key_value(&path[..length])?;
        let item = path.get(length);
        let reexport = references.iter().find(|reference| reference.is_reexport && reference.path.last() == item);
        match reexport.filter(|reexport| item.is_some() && depth < REEXPORTS_MAX && reexport.path != path[..=length]) {
            Some(reexport) => self.module_of_item(&[&reexport.path, &path[length + 1..]].concat(), depth + 1),
            None => Some(module),
        }
    }
}

/// The module of a file below `src/`; `None` for programs and tests.
fn module_of(path: &str) -> Option<Module> {
    let stem = path.strip_suffix(".rs")?;
    let is_test = stem.split('/').any(|part| part == "tests");
    match stem {
        "lib" => Some(Module::new()),
        _ if stem == "main" || stem.starts_with("bin/") || is_test => None,
        _ => Some(stem.split('/').map(ToOwned::to_owned).collect()),
    }
}

struct PathVisitor<'a> {
    module: &'a Module,
    files: &'a BTreeMap<Module, &'static File>,
    references: Vec<Reference>,
}

impl PathVisitor<'_> {
    /// Records a path that begins with `crate`, `self`, `super` or a child module of this file.
    fn record(&mut self, line: usize, segments: &[String], is_reexport: bool) {
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let (base, rest) = match segments.first().map(String::as_str) {
            Some("crate") => (&[][..], &segments[1..]),
            Some("self") => (self.module.as_slice(), &segments[1..]),
            Some("super") => (&self.module[..self.module.len().saturating_sub(supers)], &segments[supers..]),
            Some(_) if self.files.contains_key(&[self.module, &segments[..1]].concat()) => {
                (self.module.as_slice(), segments)
            }
            Some(_) | None => return,
        };
        self.references.push(Reference { line, path: [base, rest].concat(), is_reexport });
    }

    fn record_tree(&mut self, tree: &syn::UseTree, prefix: &[String], is_reexport: bool) {
        let extended = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.record_tree(&path.tree, &extended(&path.ident), is_reexport),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.record_tree(item, prefix, is_reexport));
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.record(name.span().start().line, prefix, is_reexport);
            }
            syn::UseTree::Name(name) => self.record(name.span().start().line, &extended(&name.ident), is_reexport),
            syn::UseTree::Rename(name) => self.record(name.span().start().line, &extended(&name.ident), is_reexport),
            syn::UseTree::Glob(glob) => self.record(glob.span().start().line, prefix, is_reexport),
        }
    }

    /// Records the paths inside a macro call, whose tokens syn does not parse.
    fn record_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.record_if_path(line, &path);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => self.record_tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => colons = 0,
            }
        }
        self.record_if_path(line, &path);
    }

    fn record_if_path(&mut self, line: usize, path: &[String]) {
        if path.len() > 1 {
            self.record(line, path, false);
        }
    }
}

impl<'ast> Visit<'ast> for PathVisitor<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.record_tree(&import.tree, &[], !matches!(import.vis, syn::Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.record_if_path(path.span().start().line, &segments);
        visit::visit_path(self, path);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.record_tokens(call.tokens.clone());
    }
}
