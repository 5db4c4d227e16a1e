//! The package, the imports and the rules of one Rego file. Only where a rule begins and ends is decided
//! here, by the grammar of Rego v1: a rule ends where no operator and no keyword continues it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::lexer;
use super::reference::Reference;
use super::token_tree::{Delimiter, Node, SyntaxError, Tree};

/// Operators, after which an operand follows.
const OPERATORS: [&str; 16] = [":=", "=", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&", "|", ","];
/// Keywords inside a rule, after which an operand follows.
const CONTINUATIONS: [&str; 5] = ["as", "contains", "if", "in", "with"];
/// Keywords before an operand.
const PREFIXES: [&str; 3] = ["every", "not", "some"];

/// A Rego file.
pub(super) struct Module<'s> {
    pub(super) file: &'s str,
    pub(super) package: Vec<String>,
    /// The path that each imported name stands for.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    pub(super) rules: Vec<Rule>,
    nodes: Vec<Node<'s>>,
}

/// A rule, or one of several that define the same value.
pub(super) struct Rule {
    /// Its path below `data`, up to the first part that is computed.
    pub(super) path: Vec<String>,
    nodes: Range<usize>,
}

impl Rule {
    /// Its position among the rules of its file.
    pub(super) const fn position(&self) -> usize {
        self.nodes.start
    }
}

impl<'s> Module<'s> {
    /// Reads a file.
    pub(super) fn read(file: &'s str, text: &'s str) -> Result<Self, SyntaxError> {
        let nodes = lexer::read(text)?;
        let mut cursor = Cursor { nodes: &nodes, at: 0 };
        let mut package = Vec::new();
        let mut imports = BTreeMap::new();
        let mut rules = Vec::new();
        while let Some(next) = cursor.peek() {
            if next.is_word("package") {
                cursor.at += 1;
                package = cursor.path()?;
            } else if next.is_word("import") {
                cursor.at += 1;
                let path = cursor.path()?;
                let alias = if cursor.skip_word("as") { cursor.path()? } else { path.clone() };
                if let Some(alias) = alias.last() {
                    imports.insert(alias.clone(), path);
                }
            } else {
                rules.push(cursor.rule(&package)?);
            }
        }
        Ok(Self { file, package, imports, rules, nodes })
    }

    /// The token trees of a rule of this file.
    pub(super) fn nodes(&self, rule: &Rule) -> &[Node<'s>] {
        self.nodes.get(rule.nodes.clone()).unwrap_or_default()
    }
}

struct Cursor<'t, 's> {
    nodes: &'t [Node<'s>],
    at: usize,
}

impl<'t, 's> Cursor<'t, 's> {
    fn peek(&self) -> Option<&'t Node<'s>> {
        self.nodes.get(self.at)
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let is_next = self.peek().is_some_and(|node| node.is_word(word));
        self.at += usize::from(is_next);
        is_next
    }

    fn reference(&mut self) -> Result<Reference<'t, 's>, SyntaxError> {
        let rest = self.nodes.get(self.at..).unwrap_or_default();
        let (reference, after) = Reference::read(rest).ok_or_else(|| self.unexpected())?;
        self.at = self.nodes.len() - after.len();
        Ok(reference)
    }

    /// Reads a path of names.
    fn path(&mut self) -> Result<Vec<String>, SyntaxError> {
        let reference = self.reference()?;
        if !reference.computed().is_empty() {
            return Err(SyntaxError { line: reference.line, problem: "a path has a computed part".to_owned() });
        }
        Ok(std::iter::once(reference.head).chain(reference.names()).map(str::to_owned).collect())
    }

    fn rule(&mut self, package: &[String]) -> Result<Rule, SyntaxError> {
        let start = self.at;
        self.skip_word("default");
        let is_keyword = |word: &str| word == "else" || CONTINUATIONS.contains(&word) || PREFIXES.contains(&word);
        if self.peek().is_some_and(|node| matches!(node.tree, Tree::Word(word) if is_keyword(word))) {
            return Err(self.unexpected());
        }
        let head = self.reference()?;
        let path = package.iter().cloned().chain(std::iter::once(head.head.to_owned()));
        let path = path.chain(head.names().into_iter().map(str::to_owned)).collect();
        self.skip_definition()?;
        Ok(Rule { path, nodes: start..self.at })
    }

    /// Skips what follows the head of a rule: its value, its bodies, and its `else`.
    fn skip_definition(&mut self) -> Result<(), SyntaxError> {
        let mut needs_operand = false;
        while let Some(next) = self.peek() {
            match &next.tree {
                Tree::Word(word) if needs_operand && PREFIXES.contains(word) => self.at += 1,
                Tree::Symbol("-") if needs_operand => self.at += 1,
                Tree::Word(_) if needs_operand => {
                    self.reference()?;
                    needs_operand = false;
                }
                Tree::Text(_) | Tree::Number(_) | Tree::Template(_) | Tree::Group(..) if needs_operand => {
                    self.at += 1;
                    needs_operand = false;
                }
                Tree::Symbol(_) if needs_operand => return Err(self.unexpected()),
                Tree::Symbol(symbol) if OPERATORS.contains(symbol) => {
                    self.at += 1;
                    needs_operand = true;
                }
                Tree::Word(word) if CONTINUATIONS.contains(word) => {
                    self.at += 1;
                    needs_operand = true;
                }
                // The body of `every`, or an index of a list or an object.
                Tree::Group(Delimiter::Curly, _) => self.at += 1,
                Tree::Group(Delimiter::Square, _) if !next.is_spaced => self.at += 1,
                Tree::Symbol(".") if !next.is_spaced => {
                    self.at += 1;
                    self.reference()?;
                }
                Tree::Word("else") => self.at += 1,
                Tree::Word(_) => return Ok(()),
                Tree::Symbol(_) | Tree::Text(_) | Tree::Number(_) | Tree::Template(_) | Tree::Group(..) => {
                    return Err(self.unexpected());
                }
            }
        }
        if needs_operand { Err(self.unexpected()) } else { Ok(()) }
    }

    fn unexpected(&self) -> SyntaxError {
        let last = || self.nodes.last().map_or(1, |node| node.line);
        let line = self.peek().map_or_else(last, |node| node.line);
        let problem = match self.peek().map(|node| &node.tree) {
            None => "the text ends within a rule".to_owned(),
            Some(Tree::Word(text) | Tree::Number(text) | Tree::Symbol(text)) => format!("`{text}` is not expected"),
            Some(Tree::Text(_) | Tree::Template(_)) => "a string is not expected".to_owned(),
            Some(Tree::Group(delimiter, _)) => format!("brackets with `{}` are not expected", delimiter.close()),
        };
        SyntaxError { line, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let module = Module::read("x.rego", text).unwrap();
        module.rules.iter().map(|rule| rule.path.join(".")).collect()
    }

    #[test]
    fn rules_end_where_nothing_continues_them() {
        let text = r#"package a.b
            import rego.v1
            import data.lib.names as n
            default p := false
            p := x if { x := 1 } else := 2 if input.y
            q contains x if some x in [1, 2]
            r := input.z |
                {1}
            s.t["u"][v] := 1 if v := 2
            f(x) := -x if not x == 1 with input as {"a": 1}
            g if every k, v in input.o { k == v }
            h if {"a": 1} == input.o
            i if contains(input.w, "x") j := 1 k := [y | y := 1]
            l contains(1) if(input.a)
            m := $"{input.a}" if not(input.b)
            n if {"a": input.x}["a"]
            o := {"a": {"b": [1, 2]}}.a.b[0]
        "#;
        assert_eq!(
            paths(text),
            [
                "a.b.p",
                "a.b.p",
                "a.b.q",
                "a.b.r",
                "a.b.s.t.u",
                "a.b.f",
                "a.b.g",
                "a.b.h",
                "a.b.i",
                "a.b.j",
                "a.b.k",
                "a.b.l",
                "a.b.m",
                "a.b.n",
                "a.b.o"
            ]
        );
        let module = Module::read("x.rego", text).unwrap();
        assert_eq!(module.imports["n"], ["data", "lib", "names"]);
    }

    #[test]
    fn what_is_no_rule_is_an_error_with_its_line() {
        for (text, line) in [
            ("package a\n\"b\" := 1", 2),
            ("package a\nif := 1", 2),
            ("package a\nb := ", 2),
            ("package a\nb := := 1", 2),
            ("package a\nb := input .c", 2),
            ("package a[b]", 1),
            ("package a\nb := 1;", 2),
        ] {
            let error = Module::read("x.rego", text).map(|module| module.rules.len()).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error:?}");
        }
    }
}
