//! One traversal of the syntax of every Rust file; the rules in `source.rs` read the facts that it collects.

use std::sync::OnceLock;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::tree::{File, Tree};

/// A function with a body.
pub(super) struct Function {
    pub(super) line: usize,
    /// Lines from `fn` to the closing brace.
    pub(super) lines: usize,
    pub(super) name: String,
    /// It has an attribute such as `#[test]` or `#[tokio::test]`.
    pub(super) is_test: bool,
}

/// A finding at a line.
pub(super) struct At {
    pub(super) line: usize,
    pub(super) found: String,
}

/// The facts of one file that the rules need.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) functions: Vec<Function>,
    /// `#[allow]`, and `#[expect]` without a reason.
    pub(super) lints: Vec<At>,
    pub(super) globs: Vec<At>,
    pub(super) ignored: Vec<At>,
    /// Calls of `sleep` by which a test waits: in a test or in a free function of a test file.
    pub(super) sleeps: Vec<At>,
    /// `mod tests { … }` with its lines.
    pub(super) inline_tests: Vec<(usize, usize)>,
    /// Names of types and traits.
    pub(super) types: Vec<At>,
}

/// The facts of every `.rs` file, in the order of the tree.
pub(super) fn all(tree: &'static Tree) -> &'static [(&'static File, Facts)] {
    static FACTS: OnceLock<Vec<(&'static File, Facts)>> = OnceLock::new();
    FACTS.get_or_init(|| tree.ending(".rs").filter(|file| !is_sample(&file.path)).map(read).collect())
}

/// True for files that must not compile or that no build includes; the rules do not apply to them.
pub(super) fn is_sample(path: &str) -> bool {
    path.contains("/compile_fail/") || path.contains("/corpus/")
}

fn read(file: &'static File) -> (&'static File, Facts) {
    match facts_of(&file.path, file.text.as_deref().unwrap_or_default()) {
        Ok(facts) => (file, facts),
        Err(error) => panic!("{}:{}: cannot be parsed: {error}", file.path, error.span().start().line),
    }
}

fn facts_of(path: &str, text: &str) -> syn::Result<Facts> {
    let mut visitor = SyntaxVisitor { in_tests: is_test_file(path), ..SyntaxVisitor::default() };
    visitor.visit_file(&syn::parse_file(text)?);
    Ok(visitor.facts)
}

fn is_test_file(path: &str) -> bool {
    // A suite has the tests that several implementations share.
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/suite/")
}

#[derive(Default)]
struct SyntaxVisitor {
    facts: Facts,
    /// Inside `#[cfg(test)]`, or in a test file.
    in_tests: bool,
    /// Inside a method, where a slow fake may sleep; a test may not.
    in_method: bool,
    /// Inside a test with a paused clock, where a sleep takes no time.
    on_paused_clock: bool,
}

fn line_of(span: proc_macro2::Span) -> usize {
    span.start().line
}

fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "test")
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
}

fn tokens_of(attribute: &syn::Attribute) -> String {
    match &attribute.meta {
        syn::Meta::Path(_) => String::new(),
        syn::Meta::List(list) => list.tokens.to_string(),
        syn::Meta::NameValue(_) => String::new(),
    }
}

impl SyntaxVisitor {
    fn function(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature, block: &syn::Block) {
        let line = line_of(signature.fn_token.span);
        let end = block.brace_token.span.close().end().line;
        self.facts.functions.push(Function {
            line,
            lines: end + 1 - line,
            name: signature.ident.to_string(),
            is_test: attributes.iter().any(is_test_attribute),
        });
    }

    fn named(&mut self, name: &syn::Ident) {
        self.facts.types.push(At { line: line_of(name.span()), found: name.to_string() });
    }
}

impl<'ast> Visit<'ast> for SyntaxVisitor {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = line_of(attribute.span());
        let tokens = tokens_of(attribute);
        let path = attribute.path();
        if path.is_ident("allow") || (path.is_ident("cfg_attr") && tokens.contains("allow (")) {
            self.facts.lints.push(At { line, found: format!("allow({tokens})") });
        }
        if path.is_ident("expect") && !tokens.contains("reason =") {
            self.facts.lints.push(At { line, found: format!("expect({tokens}) without a reason") });
        }
        if path.is_ident("ignore") {
            self.facts.ignored.push(At { line, found: "#[ignore]".into() });
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let before = self.in_tests;
        if module.attrs.iter().any(is_cfg_test) {
            self.in_tests = true;
            if let Some((brace, _)) = &module.content {
                let line = line_of(brace.span.open());
                self.facts.inline_tests.push((line, brace.span.close().end().line + 1 - line));
            }
        }
        visit::visit_item_mod(self, module);
        self.in_tests = before;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.attrs, &function.sig, &function.block);
        let before = (self.in_method, self.on_paused_clock);
        let paused = function.attrs.iter().any(|a| is_test_attribute(a) && tokens_of(a).contains("start_paused"));
        (self.in_method, self.on_paused_clock) = (false, before.1 || paused);
        visit::visit_item_fn(self, function);
        (self.in_method, self.on_paused_clock) = before;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.attrs, &function.sig, &function.block);
        let before = std::mem::replace(&mut self.in_method, true);
        visit::visit_impl_item_fn(self, function);
        self.in_method = before;
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.attrs, &function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        let mut paths = Vec::new();
        globs_of(&import.tree, String::new(), &mut paths);
        // A test module imports its subject with `use super::*`, and a prelude is meant to be imported whole.
        paths.retain(|path| !(self.in_tests && (path == "super::*" || path.ends_with("::prelude::*"))));
        let line = line_of(import.use_token.span);
        self.facts.globs.extend(paths.into_iter().map(|found| At { line, found }));
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(callee) = &*call.func
            && let Some(last) = callee.path.segments.last()
            && self.in_tests
            && !self.in_method
            && !self.on_paused_clock
            && (last.ident == "sleep" || last.ident == "sleep_until")
        {
            self.facts.sleeps.push(At { line: line_of(last.ident.span()), found: format!("{}()", last.ident) });
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.named(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.named(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.named(&item.ident);
        visit::visit_item_trait(self, item);
    }
}

fn globs_of(tree: &syn::UseTree, path: String, found: &mut Vec<String>) {
    match tree {
        syn::UseTree::Path(inner) => globs_of(&inner.tree, format!("{path}{}::", inner.ident), found),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| globs_of(item, path.clone(), found)),
        syn::UseTree::Glob(_) => found.push(format!("{path}*")),
        syn::UseTree::Name(_) | syn::UseTree::Rename(_) => {}
    }
}

#[test]
fn the_visitor_finds_violations_of_the_rules() {
    let text = r#"
        use super::*;
        #[allow(dead_code)]
        #[expect(dead_code)]
        struct TaskManager;
        async fn wait() { tokio::time::sleep(second()).await }
        #[test]
        #[ignore]
        fn test_of_nothing() {
            std::thread::sleep(second());
        }
        #[tokio::test(start_paused = true)]
        async fn time_passes_at_once() { sleep(second()).await }
        impl Model for SlowFake { fn answer(&self) { sleep(second()) } }
    "#;
    let facts = facts_of("supervisor/tests/x.rs", text).expect("it parses");
    assert_eq!(facts.globs.len(), 0, "a test module may import its subject");
    assert_eq!(facts_of("supervisor/src/x.rs", text).expect("it parses").globs.len(), 1);
    assert_eq!(facts.lints.len(), 2);
    assert_eq!(facts.ignored.len(), 1);
    assert_eq!(facts.sleeps.iter().map(|at| at.line).collect::<Vec<_>>(), [6, 10]);
    assert_eq!(facts.types.first().map(|at| at.found.as_str()), Some("TaskManager"));
    let tests: Vec<&str> = facts.functions.iter().filter(|f| f.is_test).map(|f| f.name.as_str()).collect();
    assert_eq!(tests, ["test_of_nothing", "time_passes_at_once"]);
    assert_eq!(facts.functions.iter().find(|f| f.name == "test_of_nothing").map(|f| f.lines), Some(3));
}
