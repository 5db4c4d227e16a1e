//! The tokens of a rule in a form that `opa fmt` does not change, so that a source can be compared with the text that
//! OPA packs. Line breaks, brackets around an operand, and other ways of writing the same rule make no difference.

use super::token_tree::{Delimiter, Node, Tree};

/// Words before an operand: brackets after one of them are neither arguments nor an index.
const KEYWORDS: [&str; 10] = ["as", "contains", "default", "else", "every", "if", "in", "not", "some", "with"];

/// A token of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token<'t> {
    Word(&'t str),
    Text(&'t str),
    Number(&'t str),
    Symbol(&'t str),
    Open(Delimiter),
    Close(Delimiter),
    /// The beginning or the end of the expressions of a template string.
    Template,
}

/// The tokens of a rule in this form.
pub(super) fn normal_form<'t>(nodes: &'t [Node<'_>]) -> Vec<Token<'t>> {
    let mut tokens = Vec::new();
    add(nodes, &mut tokens);
    without_true(&tokens)
}

fn add<'t>(nodes: &'t [Node<'_>], tokens: &mut Vec<Token<'t>>) {
    let last = nodes.len().saturating_sub(1);
    let mut previous: Option<&Node<'_>> = None;
    for (index, node) in nodes.iter().enumerate() {
        let is_suffix = !node.is_spaced && previous.is_some_and(is_operand);
        let is_body = previous.is_some_and(|node| node.is_word("if"));
        match &node.tree {
            Tree::Word(word) => tokens.push(Token::Word(word)),
            Tree::Text(text) => tokens.push(Token::Text(text)),
            Tree::Number(number) => tokens.push(Token::Number(number)),
            // A line break separates expressions too, and a list of several lines ends in a comma.
            Tree::Symbol(";") => {}
            Tree::Symbol(",") if index == last => {}
            // The value of a rule is assigned by both.
            Tree::Symbol("=") => tokens.push(Token::Symbol(":=")),
            Tree::Symbol(symbol) => tokens.push(Token::Symbol(symbol)),
            Tree::Template(inner) => {
                tokens.push(Token::Template);
                add(inner, tokens);
                tokens.push(Token::Template);
            }
            Tree::Group(delimiter, inner) => match (delimiter, inner.as_slice()) {
                (Delimiter::Square, [Node { tree: Tree::Text(name), .. }]) if is_suffix => {
                    tokens.extend([Token::Symbol("."), Token::Word(name)]);
                }
                (Delimiter::Round, inner) if !is_suffix => add(inner, tokens),
                (Delimiter::Curly, inner) if is_body => add(inner, tokens),
                (delimiter, inner) => {
                    tokens.push(Token::Open(*delimiter));
                    add(inner, tokens);
                    tokens.push(Token::Close(*delimiter));
                }
            },
        }
        previous = Some(node);
    }
}

/// True for the end of what an index or arguments may follow.
fn is_operand(node: &Node<'_>) -> bool {
    match &node.tree {
        Tree::Word(word) => !KEYWORDS.contains(word),
        Tree::Group(..) => true,
        Tree::Text(_) | Tree::Number(_) | Tree::Symbol(_) | Tree::Template(_) => false,
    }
}

/// Omits a value and a body that are `true`.
fn without_true<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    let mut result = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let [first, after @ ..] = rest {
        rest = match rest {
            [Token::Symbol(":="), Token::Word("true"), body @ ..] if body.first() == Some(&Token::Word("if")) => body,
            _ => {
                result.push(*first);
                after
            }
        };
    }
    while let [before @ .., Token::Word("if") | Token::Symbol(":="), Token::Word("true")] = result.as_slice() {
        let length = before.len();
        result.truncate(length);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rego_text::lexer;

    fn are_equal(one: &str, other: &str) -> bool {
        let (one, other) = (lexer::read(one).unwrap(), lexer::read(other).unwrap());
        normal_form(&one) == normal_form(&other)
    }

    #[test]
    fn a_rule_and_its_form_after_opa_fmt_are_equal() {
        for (source, formatted) in [
            ("p if { input.a; input.b } # both", "p if {\n\tinput.a\n\tinput.b\n}"),
            ("p if { input.x }", "p if input.x"),
            ("p = true if { input.x }", "p if input.x"),
            ("p := true if { x := true }", "p if x := true"),
            ("p if true", "p := true"),
            ("p contains 1 if { true }", "p contains 1"),
            ("default p = false", "default p := false"),
            ("p := 1 if { x } else = 2 if { y }", "p := 1 if x\n\nelse := 2 if y"),
            ("p if input[\"user\"][`roles`].a == 1", "p if input.user.roles.a == 1"),
            ("p[\"a\"] := 1", "p.a := 1"),
            ("p := [1,\n2,\n]", "p := [1, 2]"),
            ("p := a * b + (c)", "p := (a * b) + c"),
            ("p if not(input.x)", "p if not input.x"),
            ("p contains(1) if(input.a)", "p contains 1 if input.a"),
            ("p if some x in[\"a\"]", "p if some x in [\"a\"]"),
            ("p if `a` == input.x", "p if \"a\" == input.x"),
            ("p := $\"{ input.a }\"", "p := $\"{input.a}\""),
        ] {
            assert!(are_equal(source, formatted), "{source}");
        }
    }

    #[test]
    fn rules_that_differ_are_not_equal() {
        for (one, other) in [
            ("p if input.x", "p if input.y"),
            ("p if not x", "p if x"),
            ("p if x == 1", "p if x != 1"),
            ("p if x == \"y\"", "p if x == y"),
            ("p if x.y", "p if x[y]"),
            ("p if f(x)", "p if f(y)"),
            ("p if f(x, y)", "p if f(x)"),
            ("p := [a, -1]", "p := [a - 1]"),
            ("p := {1}", "p := [1]"),
            ("p := 1", "p := 2"),
            ("p := $\"{a}\"", "p := $\"{b}\""),
            ("p := false if x", "p if x"),
            ("default p := 1", "p := 1"),
            ("p if x with input.y as 1", "p if x with input.z as 1"),
        ] {
            assert!(!are_equal(one, other), "{one}, {other}");
        }
    }
}
